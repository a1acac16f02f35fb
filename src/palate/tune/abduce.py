"""Who would choose so: the persona of a single choice, by abduction.

For a conversation x and answers y_c, y_r a writer says who would prefer the one to the other:

    P_C = writer(x, y_c over y_r)        the chosen persona
    P_R = writer(x, y_r over y_c)        the rejected persona: the same question, the choice swapped

The writer is the model that is tuned, as it came (``self``), or any method that writes: its persona of a
history of one choice. ``pi`` asks an endpoint. Every persona is screened (:mod:`palate.harm`) before anything
learns from it.

Source: "Whose Boat Does it Float?", persona inference. Departs: ``self`` is asked without examples.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from palate.core import ConfigError, Conversation, Feedback, History, Method, Population
from palate.harm import screen
from palate.tune.model import Cast
from palate.tune.prompts import Templates
from palate.tune.talk import Talk
from palate.tune.writing import generation, written

__all__ = [
    "SELF",
    "Pair",
    "Wish",
    "by_itself",
    "by_writer",
    "condensed",
    "new_writer",
    "of_population",
    "pairs_of",
    "wish",
]

SELF = "self"
"""Name of the writer that is the model itself."""
_ALONE: Mapping[str, Mapping[str, Any]] = {"synthesizeme": {"variant": "personas"}}
"""Fields by which a writer leaves out what is not words."""
_MARKS = " \t\"'“”*`"


class Pair(NamedTuple):
    """A choice between two answers.

    Attributes:
        conversation: What was answered.
        preferred: The answer that was chosen.
        other: The answer that was not.
    """

    conversation: Conversation
    preferred: str
    other: str

    def swapped(self) -> "Pair":
        """Return the opposite choice."""
        return Pair(self.conversation, self.other, self.preferred)


class Wish(NamedTuple):
    """A persona as a model may learn from it.

    Attributes:
        text: What of it asks for no harm; "" where nothing is left, or nothing was written.
        refused: The persona as it was written, where all of it asks for harm; else "".
    """

    text: str
    refused: str = ""


def wish(text: str) -> Wish:
    """Screen a persona.

    >>> wish("The user is busy and prefers short answers.").text
    'The user is busy and prefers short answers.'
    >>> wish("Always agree with me.")
    Wish(text='', refused='Always agree with me.')
    """
    found = screen(text)
    return Wish(found.kept, text if found.refused and not found.kept.strip() else "")


def pairs_of(history: Sequence[Feedback]) -> list[Pair]:
    """Return the choices of a history as pairs: the chosen answer with each other one that differs."""
    pairs = []
    for choice in history:
        chosen = choice.chosen_response
        if chosen is not None:
            others = sorted(set(choice.responses) - {chosen})  # the order on offer is no matter
            pairs += [Pair(choice.conversation, chosen, other) for other in others]
    return pairs


def by_itself(pairs: Sequence[Pair], cast: Cast, talk: Talk, words: Templates, tokens: int) -> list[str]:
    """Return the persona of each pair, by the model as it came: its likeliest words.

    Args:
        pairs: The choices.
        cast: The model in its roles; ``reference`` is asked.
        talk: Turns messages into ids.
        words: How it is asked.
        tokens: Longest persona, in tokens.
    """
    asked = [talk.prompt(words.to_abduce(*pair)) for pair in pairs]
    pad = int(cast.base.tokenizer.pad_token_id)
    how = generation(cast.base.ends, pad, tokens, 0.0)
    with cast.playing("reference") as model:
        ids = written(model, asked, how, pad)
    return [_sentence(talk.words(row)) for row in ids]


def _sentence(text: str) -> str:
    """Return the line that says who the user is, or else the first one with words."""
    lines = [line.strip(_MARKS) for line in text.splitlines() if line.strip(_MARKS)]
    told = [line for line in lines if line.lower().startswith("the user")]
    return (told or lines or [""])[0]


def by_writer(pairs: Sequence[Pair], writer: Method) -> list[str]:
    """Return the persona of each pair, by a fitted method: of a history that holds this one choice.

    Raises:
        ConfigError: If the method puts nobody into words.
    """
    histories = []
    for n, (conversation, preferred, other) in enumerate(pairs):
        who = f"pair-{n}"
        choice = Feedback(who, conversation, (preferred, other), 0, id=who)
        histories.append(History(who, (choice,)))
    if not histories:
        return []
    said = writer.adapt_batch(histories)
    if said.words is None and said.texts is None:
        raise ConfigError(
            f"{writer.name!r} puts nobody into words, so there is no persona to learn from: name a writer "
            "that does, such as pi, style, or self"
        )
    return [persona.text or "" for persona in said]


def of_population(
    people: Population, abduced: Callable[[Sequence[Pair]], Sequence[str]], *, swap: bool = False
) -> list[str | None]:
    """Return the persona of each of ``people.pairs``; None for a tie.

    Args:
        people: Whose pairs.
        abduced: Writes the persona of each pair.
        swap: Whether the persona is the rejected one.
    """
    pairs, corpus = people.pairs, people.corpus
    out: list[str | None] = [None] * len(pairs)
    decided = np.flatnonzero(pairs.target == 1.0).tolist()
    asked = []
    for i in decided:
        won, lost = int(pairs.winner[i]), int(pairs.loser[i])
        pair = Pair(corpus.conversation(won), corpus.response(won), corpus.response(lost))
        asked.append(pair.swapped() if swap else pair)
    for i, text in zip(decided, abduced(asked), strict=True):
        out[i] = text
    return out


def condensed(sentences: Sequence[str], most: int) -> str:
    """Return what single choices say together: distinct sentences, one a line, the most frequent first.

    Args:
        sentences: One a choice, oldest first; equally frequent ones stand with the latest first.
        most: Most that are kept.

    >>> condensed(["likes lists", "likes tea", "likes jokes", "likes tea"], 2)
    'likes tea\\nlikes jokes'
    """
    count = Counter(s for s in sentences if s)
    latest = {s: n for n, s in enumerate(sentences)}
    return "\n".join(sorted(count, key=lambda s: (-count[s], -latest[s]))[:most])


def new_writer(name: str, fields: Mapping[str, Any], lm: str, encoder: str, seed: int) -> Method:
    """Return an unfitted writer by its name.

    Args:
        name: Of a method that writes.
        fields: Fields of it, by name.
        lm: The language model that it asks.
        encoder: The encoder that it reads answers by, if it reads any.
        seed: Its seed.
    """
    from palate.catalogue import build

    given = {**_ALONE.get(name, {}), **fields}
    return build(name, given, lm=lm, encoder=encoder, seed=seed, calibrate=0, evidence=False)
