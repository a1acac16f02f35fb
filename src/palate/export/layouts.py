"""The columns that trainers and tools read: TRL's, OpenRLHF's and those of inverse constitutional AI (icai).

    kind         trl                        openrlhf, openrlhf-text    icai
    preference   prompt, chosen, rejected   prompt, chosen, rejected   index, text_a, text_b, preferred_text
    implicit     chosen, rejected           chosen, rejected           -
    sft          messages                   input, output              -

In ``trl`` and ``openrlhf`` columns are lists of messages (``{"role": ..., "content": ...}``), the persona in
the system message. OpenRLHF is to be told ``--apply_chat_template`` and the keys: ``--prompt_key prompt``
for ``preference``, none for ``implicit``, ``--input_key input --output_key output`` for ``sft``.
``openrlhf-text`` has strings, for use without a chat template: the persona stands before the question.

``icai`` is a CSV with ``index``, ``text_a``, ``text_b``, ``preferred_text`` (``text_a`` or ``text_b``) and
``prompt``, which its loader puts before both texts. Which answer is ``text_a`` is drawn from a hash of user,
choice and text, so the place says nothing. The persona stands in ``system``, a column that icai carries and
does not read: it looks for what sets the two texts apart, and the persona is the same in both.

Source: TRL's page on data set formats; OpenRLHF's common options, and its code of reward and SFT data sets;
icai's page on processed data and its standard loader.
"""

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

from palate.core import ConfigError, Conversation

__all__ = ["KINDS", "LAYOUTS", "Kind", "Layout", "Pair", "as_csv", "columns"]

Kind = Literal["preference", "implicit", "sft"]
Layout = Literal["trl", "openrlhf", "openrlhf-text", "icai"]
KINDS: tuple[str, ...] = get_args(Kind)
LAYOUTS: tuple[str, ...] = get_args(Layout)
Messages = list[dict[str, str]]
_TORN = re.compile("[\ud800-\udfff]")


class Pair(NamedTuple):
    """What a row is made of.

    Attributes:
        user: Who chose.
        id: Of the choice.
        words: The persona's system message, "" for none.
        conversation: What was answered.
        chosen: The answer that was chosen.
        rejected: One that was not.
    """

    user: str
    id: str
    words: str
    conversation: Conversation
    chosen: str
    rejected: str


def columns(kind: str, layout: str) -> Callable[[Pair, int], dict[str, Any]]:
    """Return what makes the columns of a row from a pair and the row's number.

    Raises:
        ConfigError: If there is no such kind or layout, or the layout has no rows of the kind.

    >>> from palate.core import as_conversation
    >>> pair = Pair("ann", "a", "", as_conversation("Hi"), "Yes.", "No.")
    >>> columns("sft", "openrlhf-text")(pair, 0)
    {'input': 'Hi', 'output': 'Yes.'}
    """
    if kind not in KINDS:
        raise ConfigError(f"there is no kind of rows {kind!r}; there are {', '.join(KINDS)}")
    if layout not in LAYOUTS:
        raise ConfigError(f"there is no layout {layout!r}; there are {', '.join(LAYOUTS)}")
    if layout == "icai" and kind != "preference":
        raise ConfigError(f"the layout icai has pairs alone, no {kind!r} rows: export it as preference")
    if layout == "icai":
        return _icai
    if layout == "openrlhf-text":
        return lambda pair, _: _texts(kind, pair)
    return lambda pair, _: _messages(kind, layout, pair)


def _messages(kind: str, layout: str, pair: Pair) -> dict[str, Any]:
    prompt = _prompt(pair)
    good, bad = ([{"role": "assistant", "content": text}] for text in (pair.chosen, pair.rejected))
    if kind == "preference":
        return {"prompt": prompt, "chosen": good, "rejected": bad}
    if kind == "implicit":
        return {"chosen": prompt + good, "rejected": prompt + bad}
    return {"messages": prompt + good} if layout == "trl" else {"input": prompt, "output": good}


def _prompt(pair: Pair) -> Messages:
    """Return the conversation as messages, the persona before its own system message."""
    turns = [{"role": turn.role, "content": turn.content} for turn in pair.conversation]
    if not pair.words:
        return turns
    if turns and turns[0]["role"] == "system":
        return [{"role": "system", "content": f"{pair.words}\n\n{turns[0]['content']}"}, *turns[1:]]
    return [{"role": "system", "content": pair.words}, *turns]


def _texts(kind: str, pair: Pair) -> dict[str, Any]:
    prompt = "\n\n".join(filter(None, (pair.words, _asked(pair.conversation))))
    if kind == "preference":
        return {"prompt": prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    if kind == "implicit":
        return {"chosen": f"{prompt}\n\n{pair.chosen}", "rejected": f"{prompt}\n\n{pair.rejected}"}
    return {"input": prompt, "output": pair.chosen}


def _asked(conversation: Conversation) -> str:
    """Return a conversation as one text: a single question as it is, several turns each with who spoke."""
    if len(conversation) == 1:
        return conversation[0].content
    return "\n".join(f"{turn.role}: {turn.content}" for turn in conversation)


def _icai(pair: Pair, number: int) -> dict[str, Any]:
    drawn = hashlib.sha256("\0".join((pair.user, pair.id, pair.rejected)).encode("utf-8", "surrogatepass"))
    second = bool(drawn.digest()[0] & 1)
    texts = (pair.rejected, pair.chosen) if second else (pair.chosen, pair.rejected)
    return {
        "index": number,
        "text_a": texts[0],
        "text_b": texts[1],
        "preferred_text": "text_b" if second else "text_a",
        "prompt": _asked(pair.conversation),
        "system": pair.words,
    }


def as_csv(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield rows as records of a CSV, the names of the columns first; a record may hold line ends.

    Half of a pair of surrogates, which no file of text can hold, becomes U+FFFD.

    >>> list(as_csv([{"text_a": "yes, and no", "seen": False}]))
    ['text_a,seen', '"yes, and no",False']
    """
    for number, row in enumerate(rows):
        if number == 0:
            yield _record(row)
        yield _record(row.values())


def _record(values: Iterable[Any]) -> str:
    held = io.StringIO()
    csv.writer(held).writerow(values)
    return _TORN.sub("\ufffd", held.getvalue().removesuffix("\r\n"))
