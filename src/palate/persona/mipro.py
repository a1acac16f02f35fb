"""MIPROv2 of DSPy, searching for the prompt that writes personas. Imported on use: it needs DSPy and Optuna.

What is searched is the instruction and the demonstrations of a :class:`~palate.persona.theta.Theta`. The
program that DSPy optimises asks for a persona in Theta's own words, so that what is found is what is used,
and its calls are those of the methods that use it: nothing is paid twice.

MIPROv2 draws ``candidates`` sets of demonstrations from training users, has a model propose as many
instructions (it sees the data, this file's program, the demonstrations and a tip), and spends ``trials`` of
Optuna's tree-structured Parzen estimator on their combinations. Of DSPy's own ways, these are mended here:

* a persona that gains nothing, or loses, is no demonstration (DSPy takes any metric but zero for a success);
* a trial that failed scores what it scores and not 0, which would beat a start that loses;
* a proposal without DSPy's marks is read as it stands, and one that failed is the starting instruction:
  neither ends the run;
* proposals with one text are told apart by their rollout, which DSPy keeps from its engines.

Source: Opsahl-Ong et al. (2024), "Optimizing Instructions and Demonstrations for Multi-Stage Language Model
Programs"; "SynthesizeMe!", 3.2 "Optimizing" and appendix F.
"""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import dspy
import dspy.propose.grounded_proposer
import dspy.propose.utils
import dspy.teleprompt.bootstrap
import dspy.teleprompt.utils
import dspy.utils.parallelizer
from dspy import lm15
from dspy.teleprompt import MIPROv2

from palate.core import ModelError
from palate.models.llm.bridge import Bridge, bridged
from palate.persona.gains import LABEL, Gains, Learner, Worth
from palate.persona.theta import Theta

__all__ = ["Search", "Stopped", "search"]

_GAINED = 1e-9  # a threshold of 0 would count as none
_NO_ANSWER = "(no answer)"
_WITH_BARS = (dspy.teleprompt.bootstrap, dspy.utils.parallelizer)
_TALKING = (
    *_WITH_BARS,
    dspy.teleprompt.utils,
    dspy.propose.grounded_proposer,
    dspy.propose.utils,
)
_TQDM = dspy.utils.parallelizer.tqdm


class Stopped(BaseException):
    """The search was ended from outside. No ``Exception``: DSPy would take those for a score of 0."""


@dataclass(frozen=True)
class Search:
    """What is searched with.

    Attributes:
        gains: Who asks and judges.
        start: Where the search begins.
        train: Users whose personas may become demonstrations.
        choose: Users whose gains decide.
        settings: The fields of :class:`~palate.persona.optimize.Optimisation`.
        tell: Told how far it is.
        stop: Set to end the search.
        notes: What went wrong on the way is added here.
        told_of: The prompts that were told of.
        lock: Guards them.
    """

    gains: Gains
    start: Theta
    train: Sequence[Learner]
    choose: Sequence[Learner]
    settings: Any
    tell: Callable[[str], None]
    stop: threading.Event
    notes: list[str]
    told_of: set[Any] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Search":
        """DSPy copies programs; copies share the search."""
        return self

    def theta(self, instruction: str, demos: Sequence[Any]) -> Theta:
        """Return the prompt of a program's instruction and demonstrations; those without a persona fall."""
        words = instruction.strip()
        shown = tuple(("\n\n".join(d["reasoning"]), d["persona"]) for d in demos if d.get("persona"))
        return Theta("optimised", self.start.instruction if words in ("", _NO_ANSWER) else words, shown)

    def worth(self, theta: Theta, user: int) -> Worth:
        """Return what a prompt writes about a user, and what that gains.

        Raises:
            Stopped: If the search was ended, or the model can be asked no more.
        """
        learner = (*self.train, *self.choose)[user]
        if self.stop.is_set():
            raise Stopped
        try:
            self.gains.measure(theta, [learner])
        except ModelError as error:
            self.stop.set()
            raise Stopped from error
        self._report(theta)
        return self.gains.worth[theta.words][learner.name]

    def _report(self, theta: Theta) -> None:
        """Tell of a prompt once, when all users that choose have been asked about."""
        gains = self.gains.known(theta, self.choose)
        with self.lock:
            if gains is None or theta.words in self.told_of:
                return
            self.told_of.add(theta.words)
        self.tell(
            f"a prompt with {len(theta.demos)} demonstrations: {100 * sum(gains) / len(gains):+.1f} points"
        )


class WritePersona(dspy.Module):  # type: ignore[misc] # its source is what MIPROv2 shows to the proposing model
    """Write a persona from reasoning about a user's past choices between answers.

    A judge who reads the persona then predicts the user's other choices. The more of them it predicts, beyond
    what it predicts without a persona, the better. The persona has one statement a line, up to eight; each
    begins with "Prefers" or "Dislikes".
    """

    def __init__(self, search: Search) -> None:
        super().__init__()
        self.search = search
        form = dspy.Signature("reasoning: list[str] -> persona: str", search.start.instruction)
        self.write = dspy.Predict(form)
        self.write.demos = [dspy.Example(reasoning=[r], persona=p) for r, p in search.start.demos]

    def forward(self, user: int, reasoning: list[str]) -> Any:
        """Write the persona and judge it."""
        theta = self.search.theta(self.write.signature.instructions, self.write.demos)
        persona, gain = self.search.worth(theta, user)
        if dspy.settings.trace is not None:
            step = (self.write, {"reasoning": reasoning}, dspy.Prediction(persona=persona))
            dspy.settings.trace.append(step)
        return dspy.Prediction(persona=persona, gain=gain)


class _Plainly(dspy.ChatAdapter):  # type: ignore[misc]
    """Reads an answer without marks as the one field that was asked for."""

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """Read an answer."""
        try:
            return cast(dict[str, Any], super().parse(signature, completion))
        except dspy.utils.exceptions.AdapterParseError:
            (name,) = signature.output_fields
            return {name: completion.split("[[ ## completed ## ]]")[0].strip() or _NO_ANSWER}


class _Proposing:
    """A bridge whose failed calls are told and end nothing."""

    def __init__(self, bridge: Bridge, search: Search) -> None:
        self.bridge, self.search = bridge, search

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Ask once."""
        if self.search.stop.is_set():
            raise Stopped
        try:
            return self.bridge.complete(request)
        except lm15.LM15Error as error:
            self.search.notes.append(f"a call that proposes instructions gave nothing: {error}")
            message = lm15.Message.assistant(_NO_ANSWER)
            return lm15.Response(None, request.model, message, "stop", lm15.Usage())
        except ModelError as error:
            self.search.stop.set()
            raise Stopped from error


def search(found: Search, proposer: str, threads: int) -> None:
    """Search; what each prompt gained is known to ``gains`` afterwards.

    Args:
        found: What is searched with.
        proposer: The model that proposes instructions; "" is that of the client.
        threads: Users that are asked about at the same time.

    Raises:
        Stopped: If it was ended early.
    """
    s = found.settings
    bridge = Bridge(found.gains.client, lm=proposer, label=LABEL, seed=s.seed)
    lm = bridged(found.gains.client, temperature=1.0, engine=_Proposing(bridge, found))
    everyone = [
        dspy.Example(user=n, reasoning=list(learner.reasoning)).with_inputs("user", "reasoning")
        for n, learner in enumerate((*found.train, *found.choose))
    ]
    train, choose = everyone[: len(found.train)], everyone[len(found.train) :]
    for example, learner in zip(train, found.train, strict=True):
        persona, gain = found.gains.worth[found.start.words][learner.name]
        if gain > 0:
            example.persona = persona
    optimiser = MIPROv2(
        metric=_gain,
        prompt_model=lm,
        task_model=lm,
        auto=None,
        num_candidates=s.candidates,
        max_bootstrapped_demos=s.bootstrapped,
        max_labeled_demos=s.labelled,
        metric_threshold=_GAINED,
        num_threads=threads,
        seed=s.seed,
        init_temperature=1.0,
    )
    with _quietly(), dspy.context(lm=lm, adapter=_Plainly(), disable_history=True):
        optimiser.compile(
            WritePersona(found),
            trainset=train,
            valset=choose,
            num_trials=s.trials,
            minibatch=len(choose) > s.minibatch,
            minibatch_size=min(s.minibatch, len(choose)),
            minibatch_full_eval_steps=s.full_every,
            view_data_batch_size=1,
            seed=s.seed,
        )


def _gain(example: Any, prediction: Any, trace: Any = None) -> float:
    return float(prediction.gain)


class _Unseen(_TQDM.tqdm):  # type: ignore[misc, name-defined]
    """A progress bar that is not shown, and needs no thread to watch it."""

    monitor_interval = 0

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{**settings, "disable": True})


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep DSPy from telling its progress to the terminal: by print, by bars, by its logger, by warnings."""
    logger, unseen = logging.getLogger("dspy"), SimpleNamespace(tqdm=_Unseen)
    level = logger.level
    try:
        logger.setLevel(logging.CRITICAL + 1)
        for module in _TALKING:
            vars(module)["print"] = lambda *words, **settings: None
        for module in _WITH_BARS:
            vars(module)["tqdm"] = unseen
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        for module in _TALKING:
            vars(module).pop("print", None)
        for module in _WITH_BARS:
            vars(module)["tqdm"] = _TQDM
