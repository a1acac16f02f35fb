"""The answers of the simulated world: real prose whose place on eight readable axes is known.

Forty-eight prompts on twelve topics have six written answers each. An answer carries a label in
{-1, 0, 1} on every axis; over the six answers of a prompt each axis has two of each, so no axis gives
another one away. Openers and closers, whole sentences that shift axes by half a unit, turn each written
answer into ``VARIANTS`` different texts: plain, with an opener, with a closer, with both.

    axes(text) = clip(label + shift of the opener + shift of the closer, -1.5, 1.5)

A wrapper never contradicts its answer (it shifts no axis towards the other side), and the two wrappers
of a text shift different axes. The catalogue is the same in every world, so encodings are made once.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.core import Corpus, as_conversation

__all__ = ["ANSWERS", "AXES", "VARIANTS", "Axis", "WorldAnswers", "axis_vector", "world_answers"]


class Axis(NamedTuple):
    """A way in which answers differ, with the words for its two ends (-1 and 1)."""

    name: str
    low: str
    high: str


AXES: tuple[Axis, ...] = (
    Axis("length", "short", "long"),
    Axis("structure", "one flowing paragraph", "lists and steps"),
    Axis("formality", "casual", "formal"),
    Axis("warmth", "cool and blunt", "warm and kind"),
    Axis("hedging", "certain", "full of ifs and maybes"),
    Axis("technical", "in plain words", "technical"),
    Axis("examples", "general", "full of examples"),
    Axis("leaning", "cautious", "daring"),
)
"""The axes, in the order of every axis vector."""

ANSWERS = 6
"""Written answers of a prompt."""
VARIANTS = 8
"""Texts made of a written answer; the first is the plain one."""
_WITH_OPENER, _WITH_CLOSER, _WITH_BOTH = 2, 2, 3
_SEED = 20240615
_FILES = tuple(f"prompts_{number}.json" for number in range(1, 5))


@dataclass(frozen=True, eq=False)
class WorldAnswers:
    """Every text that the world shows, and where it stands on the axes.

    Item ``(prompt * ANSWERS + answer) * VARIANTS + variant`` is a variant of a written answer.

    Attributes:
        corpus: The prompts as conversations, the texts as responses; one item a text.
        axes: float64 [items, 8], from -1.5 to 1.5.
        topics: Names of the topics.
        topic_prompts: int64 [topics, prompts of a topic], the prompts of each topic.

    >>> answers = world_answers()
    >>> len(answers.corpus.conversations), len(answers.corpus), len(answers.topics)
    (48, 2304, 12)
    >>> dict(zip([axis.name for axis in AXES], answers.axes[0].tolist()))["warmth"]
    1.0
    """

    corpus: Corpus
    axes: NDArray[np.float64]
    topics: tuple[str, ...]
    topic_prompts: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.float64]:
        """float64 [prompts, ANSWERS, 8]: the axes of the written answers, in {-1, 0, 1}."""
        return self.axes[::VARIANTS].reshape(-1, ANSWERS, len(AXES))


def axis_vector(values: dict[str, float]) -> NDArray[np.float64]:
    """Return float64 [8]: named axis values in the order of ``AXES``, zero where not named.

    >>> axis_vector({"warmth": 1, "length": -0.5}).tolist()
    [-0.5, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    return np.array([float(values.get(axis.name, 0)) for axis in AXES])


@cache
def world_answers() -> WorldAnswers:
    """Return the catalogue; equal in every process, read and composed once."""
    prompts = [prompt for name in _FILES for prompt in _read(name)]
    wrappers = _read("wrappers.json")
    rng = np.random.default_rng(_SEED)
    texts: list[str] = []
    axes: list[NDArray[np.float64]] = []
    for prompt in prompts:
        for answer in prompt["answers"]:
            for opener, closer in _choose(answer, wrappers, rng):
                texts.append(_join(opener, answer["text"], closer))
                parts = [axis_vector(part["axes"]) for part in (opener, answer, closer) if part]
                axes.append(np.clip(np.sum(parts, axis=0), -1.5, 1.5))
    topics = tuple(dict.fromkeys(prompt["topic"] for prompt in prompts))
    corpus = Corpus(
        [as_conversation(prompt["prompt"]) for prompt in prompts],
        texts,
        np.repeat(np.arange(len(prompts)), ANSWERS * VARIANTS),
        np.arange(len(texts)),
    )
    of_topic = [[n for n, prompt in enumerate(prompts) if prompt["topic"] == topic] for topic in topics]
    return WorldAnswers(corpus, np.array(axes), topics, np.array(of_topic))


Piece = dict[str, Any]
Wrapping = tuple[Piece | None, Piece | None]


def _read(name: str) -> Any:
    return json.loads((files("palate.feedback") / "world_texts" / name).read_text("utf-8"))


def _choose(answer: Piece, wrappers: Piece, rng: np.random.Generator) -> list[Wrapping]:
    """Choose the wrappings of one answer: plain first, then ``VARIANTS - 1`` others."""
    openers = [piece for piece in wrappers["openers"] if _suits(piece, answer)]
    closers = [piece for piece in wrappers["closers"] if _suits(piece, answer)]
    both = [(o, c) for o, c in product(openers, closers) if not set(o["axes"]) & set(c["axes"])]
    chosen: list[Wrapping] = [(None, None)]
    chosen += [(piece, None) for piece in _draw(openers, _WITH_OPENER, rng)]
    chosen += [(None, piece) for piece in _draw(closers, _WITH_CLOSER, rng)]
    return chosen + _draw(both, _WITH_BOTH, rng)


def _suits(wrapper: Piece, answer: Piece) -> bool:
    """Whether a wrapper shifts no axis against the side on which its answer stands."""
    return all(shift * answer["axes"][name] >= 0 for name, shift in wrapper["axes"].items())


def _draw(pieces: Sequence[Any], count: int, rng: np.random.Generator) -> list[Any]:
    return [pieces[index] for index in rng.permutation(len(pieces))[:count]]


def _join(opener: Piece | None, text: str, closer: Piece | None) -> str:
    """Put the parts together: within the paragraph where there is one, else as paragraphs of their own."""
    gap = "\n\n" if "\n" in text else " "
    return gap.join(
        part if isinstance(part, str) else part["text"] for part in (opener, text, closer) if part
    )
