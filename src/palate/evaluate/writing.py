"""Settings of the evaluation of what methods write: who judges, for how many prompts, and beside what."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from palate.core import ConfigError
from palate.evaluate.versus import ASPECTS, ProfileJudge, VersusJudge, check_format
from palate.feedback.world_answers import AXES

__all__ = ["Writing", "taste_words"]

_SAID = 0.75  # log-odds per unit of an axis that a description speaks of


@dataclass(frozen=True)
class Writing:
    """Settings of the evaluation of what methods write; a study without them does not write.

    Attributes:
        judge: Spec of the language model that judges.
        lm: Spec of the one that writes for methods that keep words and do not write themselves; "" leaves
            these methods out.
        format: ``palate`` or ``prometheus``.
        reason: Whether the judge reasons first.
        answers: Most target prompts that are written for, dealt one a user a turn.
        temperature: Of the writing; 0 takes the likeliest words.
        base: What answers are compared with: the same method without a ``persona``, or the untuned ``model``
            of a method that has one.
        longest: Most tokens of an answer; 0 takes the method's own limit.
        seed: Of the writing.
        templates: The second set of prompt templates, for methods that have a field ``templates``; "" runs
            one set alone.
        control: Name of the method that each one is compared with on personas of choices and of swapped
            choices, both given the same words, such as ``pt``; "" compares with none.
        control_fields: Its fields; models and seed are those of the method that is compared.
        profiles: True profiles in words by user, in the place of those in the data.
        judges: Judges in the place of ``judge``, by aspect.

    Raises:
        ConfigError: If a setting cannot work.
    """

    judge: str = ""
    lm: str = ""
    format: str = "palate"
    reason: bool = True
    answers: int = 100
    temperature: float = 1.0
    base: str = "persona"
    longest: int = 0
    seed: int = 0
    templates: str = ""
    control: str = ""
    control_fields: Mapping[str, Any] = field(default_factory=dict)
    profiles: Mapping[str, str] = field(default_factory=dict)
    judges: Mapping[str, VersusJudge] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_format(self.format)
        unknown = sorted(set(self.judges) - set(ASPECTS))
        if unknown:
            raise ConfigError(f"writing: judges for {unknown}; there are the aspects {list(ASPECTS)}")
        if not self.judge and set(self.judges) != set(ASPECTS):
            raise ConfigError(
                "writing: nobody judges what is written; name a language model in judge (or, in Python, give "
                f"judges for {list(ASPECTS)})"
            )
        if self.base not in ("persona", "model"):
            raise ConfigError(f"writing: base is {self.base!r}; expected 'persona' or 'model'")
        if self.answers < 1 or self.temperature < 0 or self.longest < 0:
            raise ConfigError(
                f"writing: answers={self.answers}, temperature={self.temperature}, longest={self.longest}; "
                "expected answers of 1 or more, and the others not below 0"
            )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Read settings as a study's file holds them.

        Raises:
            ConfigError: If there is no such setting, or one cannot work.

        >>> Writing.of({"judge": "fake:world", "answers": 20}).answers
        20
        """
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"writing: {unknown} is no setting of it; there are {known}")
        return cls(**values)

    def judge_of(self, aspect: str) -> VersusJudge:
        """Return who judges an aspect."""
        found = self.judges.get(aspect)
        return found or ProfileJudge(self.judge, self.reason, aspect, self.format)

    @property
    def key(self) -> str:
        """All that figures depend on, as text: a part of a cell's key."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "judges"}
        values["judges"] = [self.judge_of(aspect).name for aspect in ASPECTS]
        return json.dumps(values, sort_keys=True, default=str)


def taste_words(theta: NDArray[np.floating[Any]]) -> str:
    """Put a taste of the simulated world into words, the strongest likings first: a judge's true profile.

    Args:
        theta: float [8], log-odds per unit of each axis.

    >>> taste_words(np.array([-2.0, 0.1, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]))
    'Prefers answers that are short; warm and kind.'
    """
    order = [i for i in np.argsort(-np.abs(theta)).tolist() if abs(theta[i]) >= _SAID]
    said = [AXES[i].high if theta[i] > 0 else AXES[i].low for i in order]
    return f"Prefers answers that are {'; '.join(said)}." if said else "Has no strong wishes."
