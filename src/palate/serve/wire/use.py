"""Use of what was learned: rank, reward, judge, a jury, the next pair to ask, best of n."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from palate.serve.wire.texts import Answer, Conversation, Line, Name, Reply, Responses, Wire

__all__ = [
    "Asked",
    "BestOf",
    "BestOfAnswer",
    "Judge",
    "Judged",
    "Jury",
    "JuryAnswer",
    "Next",
    "Offer",
    "Pair",
    "PersonaUsed",
    "Rank",
    "Ranked",
    "Rankings",
    "Reward",
    "Rewards",
    "Vote",
]


class PersonaUsed(Reply):
    """Which persona an answer rests on.

    Attributes:
        version: Its version; 0 for the average user.
        choices: How many choices it reflects.
        weight: How far it was applied; null where it was not tested.
        told: In a line.
    """

    user: str | None
    version: int = 0
    choices: int = 0
    weight: float | None = None
    told: str = ""


class Rank(Wire):
    """Which of these responses would this user prefer? Without a user: people on average."""

    user: Name | None = None
    conversation: Conversation
    responses: Responses


class Ranked(Reply):
    """One response: its place in the request, its log-odds, and the probability that it is chosen."""

    index: int
    score: float
    probability: float


class Rankings(Reply):
    """Responses, best first. Scores compare only inside one answer."""

    ranking: list[Ranked]
    persona: PersonaUsed


class Reward(Wire):
    """The reward of single responses for a user: log-odds beyond the mean of ``among``, or of the batch.

    A score has a meaning beside another one only. A reward for training is the score less that of the
    reference responses ``among``; without any, less the mean of ``responses``; a single response alone gets
    its raw score, comparable for this user, conversation and persona version.
    """

    user: Name | None = None
    conversation: Conversation
    responses: Annotated[list[Answer], Field(min_length=1, max_length=64)]
    among: Annotated[list[Answer], Field(max_length=16)] = []


class Rewards(Reply):
    """One number a response, in log-odds."""

    rewards: list[float]
    persona: PersonaUsed


class Judge(Wire):
    """Which of two responses would this user prefer?"""

    user: Name | None = None
    conversation: Conversation
    first: Answer
    second: Answer


class Judged(Reply):
    """The preference: the probability that the first is chosen, and log-odds."""

    prefers: Literal["first", "second", "neither"]
    probability: float
    log_odds: float
    persona: PersonaUsed


class Jury(Wire):
    """How several users together would rank responses.

    ``mean`` averages their log-odds, ``worst`` looks at the least happy juror, ``votes`` counts first places.
    """

    users: Annotated[list[Name], Field(min_length=1, max_length=1000)]
    conversation: Conversation
    responses: Responses
    rule: Literal["mean", "worst", "votes"] = "mean"

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.users)) < len(self.users):
            raise ValueError("a user is named twice: name every juror once")
        return self


class Vote(Reply):
    """One juror's probabilities, response by response."""

    user: str
    probabilities: list[float]


class JuryAnswer(Reply):
    """The jury's order, every juror's view, and the share of pairs of jurors that disagree on the best."""

    ranking: list[Ranked]
    votes: list[Vote]
    disagreement: float


class Pair(Reply):
    """A pair that could be shown to a user. ``id`` is null for one that was sent along."""

    id: str | None
    conversation: list[dict[str, str]]
    responses: list[str]
    gain: float = Field(description="Nats that the answer is expected to tell about the user.")


class Offer(Wire):
    """A conversation with two responses or more that could be shown."""

    conversation: Conversation
    responses: Responses
    id: Line | None = None


class Next(Wire):
    """Which pair teaches most about this user? Of ``candidates``, or of the tenant's pool."""

    candidates: Annotated[list[Offer], Field(max_length=200)] = []
    count: Annotated[int, Field(ge=1, le=50)] = 1


class Asked(Reply):
    """Pairs to ask next, best first; empty when the user has seen all of the pool."""

    pairs: list[Pair]
    settled: float


class BestOf(Wire):
    """Write ``n`` answers by an upstream model and return them as this user would rank them."""

    user: Name | None = None
    conversation: Conversation
    model: Line
    n: Annotated[int, Field(ge=1, le=16)] = 4
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=8192)] | None = None
    told: bool = Field(True, description="Whether the upstream model is told the persona too.")


class BestOfAnswer(Reply):
    """The answers, best first."""

    answers: list[str]
    probabilities: list[float]
    persona: PersonaUsed
