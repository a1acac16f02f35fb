"""Descriptions of what a user would want in an episode, by a teacher: what EpiPersona-A is trained to say.

    d_i = teacher(past choices of the user, conversation x_i, answers y_c over y_r)

A teacher sees the choice that it explains, as a student never does. A source is named by a text:

    ""               a language model, asked through our client: calls are kept, budgets hold
    file:PATH        JSON lines with ``id`` (of the choice) and ``description`` (words, or the object itself)
    method:FOLDER    the persona text that a saved method writes of the past choices alone

A description is a JSON object with the keys of :data:`KEYS` (``json``), or words in any form (``plain``). One
that cannot be read is counted and left out. So is one that quotes an answer, which would teach the student
to guess answers and not people: a run of :data:`RUN` words (of a shorter answer all, but four at least) that
stands in the description and in an answer and not in the conversation.

Source: EpiPersona A.5 (a larger model's descriptions, as a JSON dictionary). The wording is ours.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from palate.core import ConfigError, DataError, History, Population, StorageError
from palate.judge import as_example, as_text
from palate.models.llm.client import Task
from palate.models.llm.program import Malformed, Program, Section, read_text
from palate.models.llm.session import connect
from palate.models.llm.wire import Answer, Asking, Reply, Request
from palate.tune.examples import Example

__all__ = [
    "DESCRIBE",
    "FORMS",
    "KEYS",
    "RUN",
    "STATE",
    "Form",
    "Taught",
    "as_lines",
    "check_teacher",
    "describe_request",
    "quotes",
    "read_fields",
    "salvaged",
    "taught",
]

Form = Literal["json", "plain"]
FORMS: tuple[Form, ...] = ("json", "plain")
KEYS = ("persona", "value", "identification", "intent", "style")
"""Who the user seems to be, what they value, what they side with, what they want here, and in which style."""
RUN = 8
"""Words in a row that make a quotation."""
_LEAST = 4  # fewer words in a row are common speech
_WORD = re.compile(r"\w+")
_ENTRY = re.compile(r'"(\w+)"\s*:\s*"((?:[^"\\]|\\.)*)')


def read_fields(text: str) -> dict[str, str]:
    """Read a description in JSON; keys of other names are left out.

    Raises:
        Malformed: If it is no object, or lacks a key.

    >>> read_fields('{"persona": "busy", "value": ["speed", "order"], "identification": "", "intent": "",'
    ...             ' "style": "short"}')["value"]
    'speed, order'
    """
    start, end = text.find("{"), text.rfind("}")
    try:
        found = json.loads(text[start : end + 1])
    except ValueError as error:
        raise Malformed(f"the description must be one JSON object ({error})") from error
    missing = [key for key in KEYS if key not in found]
    if missing:
        raise Malformed(f"the description lacks {', '.join(missing)}")
    fields = {key: _words(found[key]) for key in KEYS}
    if not any(fields.values()):
        raise Malformed("the description says nothing")
    return fields


def _words(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(filter(None, map(_words, value)))
    if value is None or isinstance(value, Mapping):
        return "" if not value else "; ".join(f"{k}: {_words(v)}" for k, v in value.items())
    return " ".join(str(value).split())


def salvaged(text: str) -> dict[str, str]:
    """Return what can be read of a description in JSON, cut off or not; nothing where nothing can be.

    >>> salvaged('{"persona": "busy", "value": "spe')
    {'persona': 'busy', 'value': 'spe'}
    """
    try:
        return read_fields(text)
    except Malformed:
        found = {key: value.replace('\\"', '"') for key, value in _ENTRY.findall(text)}
        return {key: found[key] for key in KEYS if found.get(key, "").strip()}


def as_lines(fields: Mapping[str, str]) -> str:
    """Return a description as words for a reader, a line a key; empty ones are left out.

    >>> as_lines({"persona": "busy", "value": "", "style": "short"})
    'persona: busy\\nstyle: short'
    """
    return "\n".join(f"{key}: {value}" for key, value in fields.items() if value)


_TASK = (
    "You are given past choices of one user, a conversation, and two answers to it, of which the user "
    "preferred the first. Say what this user would want here, so that somebody who knows neither answer "
    "could foresee the choice: who the user seems to be as a reader, what they value, what they side with, "
    "what they want in this conversation, and which style suits them. Put what the past choices show too "
    "before what this one choice shows. Never quote the answers, and do not say which facts they hold. Do "
    "not guess at race, nationality, religion, sex, age, health, family or other protected attributes."
)
DESCRIBE = Program(
    "epipersona-teacher",
    "Describe what a user would want here",
    _TASK,
    "Write one JSON object with the keys "
    + ", ".join(f'"{key}"' for key in KEYS)
    + ", each a short text, and nothing else.",
    '{"persona": "a busy reader who knows the basics", "value": "time and precision", "identification": '
    '"people who work with their hands", "intent": "to get one thing done today", "style": "short, direct, '
    'without an introduction"}',
    read_fields,
    max_tokens=300,
)
"""Asks for a description in JSON."""
STATE = Program(
    "epipersona-teacher-plain",
    "Describe what a user would want here",
    _TASK,
    'Write one to five lines, each one statement that begins with "Prefers" or "Dislikes", and nothing else.',
    "Prefers short answers without an introduction.\nDislikes warnings.",
    read_text,
    max_tokens=200,
)
"""Asks for a description in words."""


def describe_request(row: Example, form: Form = "json") -> Request:
    """Return the request for the description of one choice; past choices may be left out, oldest first."""
    past = [Section("example", as_example(choice), spare=True) for choice in row.past]
    pair = (
        Section("conversation", as_text(row.conversation)),
        Section("preferred", row.chosen),
        Section("other", row.rejected),
    )
    return Request(DESCRIBE if form == "json" else STATE, (*past, *pair))


def quotes(description: str, answers: Sequence[str], conversation: str) -> bool:
    """Whether a description repeats a run of an answer's words that the conversation does not hold.

    >>> quotes("Wants to hear that eight minutes will do.", ["Eight minutes will do."], "How long?")
    True
    >>> quotes("Wants a short answer.", ["Eight minutes will do."], "How long?")
    False
    """
    told, known = (_WORD.findall(text.casefold()) for text in (description, conversation))
    for answer in answers:
        said = _WORD.findall(answer.casefold())
        size = max(_LEAST, min(RUN, len(said)))
        if (_runs(said, size) & _runs(told, size)) - _runs(known, size):
            return True
    return False


def _runs(words: Sequence[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


class Taught(NamedTuple):
    """Descriptions of examples, None where there is none, and how many there are not, by why."""

    texts: list[str | None]
    left_out: Counter[str]


def check_teacher(source: str) -> None:
    """Check the name of a source.

    Raises:
        ConfigError: If it is none.
    """
    if source and source.partition(":")[0] not in ("file", "method"):
        raise ConfigError(
            f"teacher={source!r}; expected file:PATH (JSON lines with id and description), method:FOLDER (a "
            'saved method that writes personas), or "" for the language model of lm'
        )


def taught(
    rows: Sequence[Example], source: str = "", *, form: Form = "json", lm: str = "", method: str = ""
) -> Taught:
    """Return the teacher's description of every example, checked.

    Args:
        rows: The choices, each beside its user's other ones.
        source: Where descriptions come from; see the module's text.
        form: Their form.
        lm: The language model that is asked where no source is named.
        method: What costs are told as.

    Raises:
        ConfigError: If the source is not known.
        DataError: If a line of a file cannot be read.
        StorageError: If a file cannot be opened.
    """
    check_teacher(source)
    left_out: Counter[str] = Counter()
    kind, _, place = source.partition(":")
    if kind == "file":
        found = _from_file(Path(place), rows, form, left_out)
    elif kind == "method":
        found = _from_method(place, rows, form)
    else:
        tasks = (Task(_one(describe_request(row, form)), row.user, method) for row in rows)
        found = [_heard(answer, form, left_out) for answer in connect(lm).run(tasks)]
    left_out["missing"] += found.count(None) - left_out.total()
    for i, row in enumerate(rows):
        text = found[i]
        if text is not None and quotes(text, (row.chosen, row.rejected), as_text(row.conversation)):
            found[i] = None
            left_out["quotes an answer"] += 1
    return Taught(found, +left_out)


def _one(request: Request) -> Asking[Answer]:
    (answer,) = yield [request]
    return answer


def _heard(answer: Answer, form: Form, left_out: Counter[str]) -> str | None:
    if isinstance(answer, Reply):
        return _dumped(answer.value) if form == "json" else str(answer.value)
    left_out[answer.kind] += 1
    return None


def _from_file(path: Path, rows: Sequence[Example], form: Form, left_out: Counter[str]) -> list[str | None]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise StorageError(f"the teacher's file {path} cannot be read: {error}") from error
    given: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line) if line.strip() else None
            if entry is not None:
                told = entry["description"]
                given[str(entry["id"])] = told if isinstance(told, str) else _dumped(told)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f'{path}, line {number}: expected an object such as {{"id": "c1", "description": "..."}}, '
                f"got {line[:60]!r} ({error})"
            ) from error
    return [_read(given.get(row.id), form, left_out) for row in rows]


def _read(text: str | None, form: Form, left_out: Counter[str]) -> str | None:
    if text is None:
        return None
    try:
        return _dumped(read_fields(text)) if form == "json" else read_text(text)
    except Malformed:
        left_out["malformed"] += 1
        return None


def _from_method(folder: str, rows: Sequence[Example], form: Form) -> list[str | None]:
    """Let a saved method write of each example's past choices: every one is a user of its own."""
    from palate.catalogue import load

    histories = []
    for i, row in enumerate(rows):
        name = f"{i}"
        past = tuple(replace(choice, user=name, id=f"{i}-{n}") for n, choice in enumerate(row.past))
        histories.append(History(name, past, row.profile))
    texts = [persona.text for persona in load(folder).adapt_batch(Population.of(histories))]
    if form == "plain":
        return [text or None for text in texts]
    return [_dumped({key: t if key == KEYS[0] else "" for key in KEYS}) if t else None for t in texts]


def _dumped(fields: Mapping[str, str]) -> str:
    return json.dumps(fields, ensure_ascii=False)
