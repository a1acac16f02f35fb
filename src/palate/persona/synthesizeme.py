"""synthesizeme: reason about a user's choices, keep what proves right, write a persona, pick demonstrations.

With a user's decided choices in time order, the first ``share`` of them for training (T pairs), the rest for
validation (V pairs), and d(S, p) the judge's success on validation when it is shown demonstrations S beside
persona p (:mod:`palate.persona.bootstrap` has both subroutines and the rule for what is better):

    1. R_0 = traces of T without a persona              S_0 = best of C random subsets of R_0 by d(S, none)
    2. p   = Theta(S_0)                                 one call; statements, one a line
    3. R_1 = traces of T beside p                       S_1 = best of C random subsets of R_1, of labelled
                                                              pairs alone, and of nothing, by d(S, p)

and (p, S_1) is kept. Reasoning is the writer's, success is that of the judge who will be shown the result.

Calls: at most 2 T + (2 C + 2) V + 1, and by the race far fewer. Tracing the statements to choices
(``evidence``) comes on top.

Small users: with one or two choices there is nothing to validate on, so nothing is searched: the persona
rests on all traces, and all of them are the demonstrations. Where no reasoning proved right the persona is
written from the choices without reasoning, and the demonstrations are labelled pairs or none. Where the
persona's call failed there is none, and step 3 goes on without. A choice among n answers counts as n - 1
pairs, the chosen answer against each other one, all on the same side of the split.

Source: "SynthesizeMe!", 3.2, 5.2 and appendix B. Departs: T holds at most 70 % by time; step 1 does not weigh
sets without reasoning, which no persona could rest on; statements stand one a line, and none that names a
protected attribute (:mod:`palate.persona.protected`); what :mod:`palate.persona.bootstrap` departs in.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from palate.core import ConfigError, Conversation, History, Persona, Population
from palate.judge import as_example
from palate.models.llm.session import current_session
from palate.models.llm.wire import Asking, Reply, Request
from palate.persona.base import ReadMethod, Shown, Written
from palate.persona.bootstrap import (
    Candidate,
    Pair,
    best,
    draw,
    labelled_only,
    no_demonstrations,
    reason,
    split,
    with_reasons,
)
from palate.persona.protected import Cleaned, clean, told
from palate.persona.theta import Theta, load_theta

__all__ = ["SynthesizeMe"]

_FEW = (
    "users with one or two decided choices have nothing to validate on: their persona and demonstrations "
    "rest on all reasoning that proved right, without a search"
)
_SEVERAL = (
    "a choice among n answers counts as n - 1 pairs, the chosen answer against each other one, all on the "
    "same side of the split"
)
_WRONG = (
    "for some users no reasoning proved right: their persona is written from choices without reasoning, and "
    "their demonstrations are such choices, or none"
)


@dataclass(kw_only=True, eq=False)
class SynthesizeMe(ReadMethod):
    """A persona written from reasoning that proved right, and the past choices that predict best beside it.

    Args:
        variant: ``both``; ``personas`` (steps 1 and 2); ``demos`` (step 3 alone, without a persona).
        theta: Name or file of the prompt that writes personas; ``palate optimize`` makes others. One that was
            made with a larger model is the paper's "distill".
        candidates: Sets of demonstrations that are drawn in a search (C).
        labelled: Most pairs without reasoning in a set.
        bootstrapped: Most pairs with reasoning in a set; None for as many as proved right.
        share: Share of the choices that are reasoned about, by time; the rest validates.
        race: Whether sets that cannot win any more are no longer asked about; the result is the same.
        stop: Share of the validation pairs right with which the leading set ends a search at once, at the
            risk that a better one is missed (0.8 in the source); None waits until the winner is certain.
        screen: Whether statements that name protected attributes are left out of the persona.
        temperature: Of reasoning and of the persona; the judge is always greedy.

    Raises:
        ConfigError: If a field is impossible.
    """

    name: ClassVar[str] = "synthesizeme"
    paper: ClassVar[str] = "SynthesizeMe, 3.2"
    variant: Literal["both", "personas", "demos"] = "both"
    theta: str = "starting"
    candidates: int = 10
    labelled: int = 4
    bootstrapped: int | None = None
    share: float = 0.7
    race: bool = True
    stop: float | None = None
    screen: bool = True
    temperature: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant not in ("both", "personas", "demos"):
            raise _impossible("variant", self.variant, "both, personas or demos")
        if self.candidates < 1:
            raise _impossible("candidates", self.candidates, "1 or more")
        if self.labelled < 0:
            raise _impossible("labelled", self.labelled, "0 or more")
        if self.bootstrapped is not None and self.bootstrapped < 0:
            raise _impossible("bootstrapped", self.bootstrapped, "0 or more, or None for no limit")
        if not 0 < self.share < 1:
            raise _impossible("share", self.share, "a share between 0 and 1, such as 0.7")
        if self.stop is not None and not 0 < self.stop <= 1:
            raise _impossible("stop", self.stop, "a share of right answers such as 0.8, or None")
        warmth: object = self.temperature  # a configuration from outside may hold None
        if not isinstance(warmth, int | float) or not 0 <= warmth <= 2:
            raise _impossible("temperature", self.temperature, "a number from 0 (greedy) to 2")

    # ---- the hooks of ReadMethod ----------------------------------------------------------------

    def _study(self, population: Population) -> None:
        """Take the prompt up, so that a saved model writes with the words it was fitted with."""
        theta = load_theta(self.theta)
        self.theta_: dict[str, Any] = {
            "name": theta.name,
            "instruction": theta.instruction,
            "demos": theta.demos,
        }

    def _write(self, history: History) -> Asking[Written]:
        """Run the three steps on one user's choices."""
        train, validation = split(history.feedback, self.share)
        if not train:
            return Written()
        if not validation:
            self._tell(_FEW)
        if any(len({*choice.responses}) > 2 for choice in history.feedback):
            self._tell(_SEVERAL)
        persona, demos = Cleaned(""), Candidate()
        if self.variant != "demos":
            chosen = yield from self._search(train, validation)
            persona = yield from self._persona(chosen)
        if self.variant != "personas":
            demos = yield from self._search(train, validation, persona.text or None, last=True)
        held = tuple(dict.fromkeys(pair.feedback.id for pair in validation))
        # the base traces the statements to choices, those that are held among them
        return Written(persona.text or None, demos.examples, told(persona.removed), held)

    def _shown(self, persona: Persona, conversation: Conversation) -> Shown:
        """Show the persona, and the demonstrations with the reasoning about them."""
        return Shown(persona.text, *with_reasons(persona.examples))

    # ---- the steps ------------------------------------------------------------------------------

    def reasoning(self, history: History) -> Asking[list[str]]:
        """Return what a persona is written from (step 1): past choices, and the reasoning kept about them."""
        train, validation = split(history.feedback, self.share)
        chosen = (yield from self._search(train, validation)) if train else Candidate()
        return _told(chosen)

    def _search(
        self, train: list[Pair], validation: list[Pair], text: str | None = None, last: bool = False
    ) -> Asking[Candidate]:
        """Reason, draw candidates and return the best; ``last`` weighs those without reasoning too."""
        writer = replace(self._judge, lm="")
        reasons = yield from reason(writer, train, text, self.temperature, self._sampling_seed)
        drawn = draw(
            train,
            reasons,
            candidates=self.candidates,
            labelled=self.labelled,
            most=self.bootstrapped,
            seed=self.seed,
        )
        if not drawn:
            self._tell(_WRONG)
        if last:
            drawn += [labelled_only(train, self.labelled), no_demonstrations()]
        elif not drawn:
            drawn = [labelled_only(train, len(train))]
        return (
            yield from best(
                list(dict.fromkeys(drawn)),
                validation,
                self._judge,
                text,
                race=self.race,
                stop=self.stop,
            )
        )

    def _persona(self, chosen: Candidate) -> Asking[Cleaned]:
        """Write the persona from choices and the reasoning about them; it is empty where the call failed."""
        theta = Theta(**{**self.theta_, "demos": tuple((why, said) for why, said in self.theta_["demos"])})
        request = Request(
            theta.program(),
            theta.sections(_told(chosen)),
            temperature=self.temperature,
            seed=self._sampling_seed,
        )
        (answer,) = yield [request]
        text = "\n".join(answer.value) if isinstance(answer, Reply) else ""
        return clean(text) if self.screen else Cleaned(text)

    def _tell(self, what: str) -> None:
        """Leave a sentence for the reader of the costs; said of many users it stands once."""
        current_session().ledger.note(f"{self.label}: {what}")

    @property
    def _sampling_seed(self) -> int | None:
        """The seed of words that are drawn; greedy ones carry none, so that other methods share the calls."""
        return self.seed if self.temperature else None


def _told(chosen: Candidate) -> list[str]:
    return [as_example(example, example.reason or "") for example in chosen.examples]


def _impossible(field: str, seen: object, expected: str) -> ConfigError:
    return ConfigError(f"synthesizeme has {field}={seen!r}, expected {expected}")
