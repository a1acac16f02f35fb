"""Answers that are lists of statements about a user, one a line: how they are read."""

import re

from palate.models.llm.program import Malformed

__all__ = ["read_lines"]

_MARK = re.compile(r"\s*(?:[-*+•–]|\(?\d{1,2}[.):])\s+")
_FENCE = re.compile(r"\s*(?:```.*|---+|#+\s.*|<[^>]*>)?\s*")


def read_lines(text: str, most: int) -> tuple[str, ...]:
    """Read the statements of an answer, at most so many, each once; the first ones are kept.

    Lines with a bullet or a number count; where none has one, every line that announces nothing (ends with
    no colon). Bold marks and quotes round a whole line go.

    Raises:
        Malformed: If there is no statement.

    >>> read_lines("Here is what I see:\\n- Prefers **short** answers.\\n- Likes lists.", 5)
    ('Prefers short answers.', 'Likes lists.')
    """
    lines = [line for line in text.splitlines() if not _FENCE.fullmatch(line)]
    marked = [line[match.end() :] for line in lines if (match := _MARK.match(line))]
    plain = [line for line in lines if not line.rstrip(" *").endswith(":")]
    found: dict[str, str] = {}
    for line in marked or plain:
        words = re.sub(r"[*_]{2,}", "", line).strip(" \t\"'“”")
        if re.search(r"[^\W\d_]", words):
            found.setdefault(words.casefold().rstrip("."), words)
    if not found:
        raise Malformed('no statement was found; each must stand on a line of its own that begins with "- "')
    return tuple(list(found.values())[:most])
