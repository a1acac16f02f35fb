"""What a curation will ask, before it asks: calls and tokens by step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from palate.curate.decide import Decisions
from palate.curate.judges import Scores, comparison_of, name_of
from palate.curate.questions import Questions, questions_of
from palate.curate.taste import taste_request
from palate.judge import Judge
from palate.models.llm.program import count_tokens
from palate.models.llm.wire import Request

__all__ = ["Plan", "Planned", "plan_of"]

SAMPLE = 400  # questions whose prompts are counted; the others are taken to be as long


class Planned(NamedTuple):
    """The calls of one step to one model.

    Attributes:
        step: ``personalizable`` or ``consensus``.
        lm: The model.
        calls: Distinct calls; for the consensus filter at most so many, since earlier steps take pairs away.
        tokens_in: Tokens of all prompts, by a cautious estimate.
        tokens_out: Tokens of all answers, each as long as the program's example.
    """

    step: str
    lm: str
    calls: int
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True)
class Plan:
    """What is there to curate, and what it will ask.

    Attributes:
        pairs: Pairs left when models are asked first.
        users: Users left then.
        asked: The calls, by step and model.
    """

    pairs: int
    users: int
    asked: tuple[Planned, ...]

    @property
    def calls(self) -> int:
        """Calls of all steps, at most."""
        return sum(step.calls for step in self.asked)

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens of all prompts and of all answers, at most."""
        return sum(step.tokens_in for step in self.asked), sum(step.tokens_out for step in self.asked)

    def lines(self) -> list[str]:
        """Return the plan in sentences, for people."""
        told = [f"{self.pairs:,} pairs of {self.users:,} users are left for the models"]
        for step in self.asked:
            most = "at most " if step.step == "consensus" and len({s.step for s in self.asked}) > 1 else ""
            told.append(
                f"{step.step}: {most}{step.calls:,} calls of {step.lm}, about {step.tokens_in:,} tokens "
                f"in and {step.tokens_out:,} out"
            )
        if not self.asked:
            told.append("no model will be asked")
        return told


def plan_of(made: Decisions, filter_lm: str, judges: Sequence[Judge | Scores]) -> Plan:
    """Return what the steps that need a model will ask, after those that need none."""
    questions = questions_of(made.table, made.kept)
    asked = []
    if filter_lm:
        asked.append(_planned("personalizable", filter_lm, questions, None))
    asked += [_planned("consensus", name_of(j), questions, j) for j in judges if isinstance(j, Judge)]
    return Plan(int(made.kept.sum()), int((made.of_users() > 0).sum()), tuple(asked))


def _planned(step: str, lm: str, questions: Questions, judge: Judge | None) -> Planned:
    """Count calls, and tokens on evenly spaced questions."""
    n = len(questions)
    looked_at = range(0, n, -(-n // SAMPLE)) if n else range(0)
    requests = [_request(questions, q, judge) for q in looked_at]
    calls = n * (1 if judge is None else 2)
    told = sum(count_tokens(m.content) for r in requests for m in r.told(1_000_000).messages)
    out = sum(count_tokens(r.program.example) for r in requests)
    scale = calls / max(1, len(requests))
    return Planned(step, lm, calls, round(told * scale), round(out * scale))


def _request(questions: Questions, question: int, judge: Judge | None) -> Request:
    """Return one request about a question; a judge's other order is as long."""
    if judge is None:
        return taste_request(questions.conversation(question), questions.answers(question))
    return judge.request(comparison_of(questions, question))
