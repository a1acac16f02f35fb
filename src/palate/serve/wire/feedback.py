"""Choices on their way in, and what became of each."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from palate.serve.wire.texts import Conversation, Key, Name, Reply, Responses, Wire, Words

__all__ = ["Accepted", "Choice", "ChoiceKept", "Choices", "ChoicesPage", "Refused", "Told"]


class Choice(Wire):
    """One observation: what was on offer and what was chosen.

    Give ``chosen`` (a position, or null for a tie) or ``ratings`` (one a response, the higher the better).

    >>> Choice(user="ann", conversation="Hi", responses=["Hello!", "Yo."], chosen=0).conversation[0].role
    'user'
    """

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["chosen"]}, {"required": ["ratings"]}]}
    )

    user: Name
    conversation: Conversation
    responses: Responses
    chosen: Annotated[int, Field(ge=0, le=15)] | None = None
    ratings: list[Annotated[float, Field(ge=-1000, le=1000)]] | None = None
    key: Key | None = Field(None, description="Yours; without one a repeated request counts twice.")
    time: Annotated[float, Field(ge=0, le=1e11)] | None = Field(None, description="Seconds since 1970.")
    reason: Words | None = Field(None, description="The user's own words for why.")
    source: Name | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        n = len(self.responses)
        if self.ratings is None and "chosen" not in self.model_fields_set:
            raise ValueError("give chosen, a position or null for a tie; or ratings, one a response")
        if self.ratings is not None:
            if self.chosen is not None:
                raise ValueError("give chosen or ratings, not both")
            if len(self.ratings) != n:
                raise ValueError(f"{len(self.ratings)} ratings for {n} responses: give one a response")
        elif self.chosen is not None and self.chosen >= n:
            raise ValueError(f"chosen is {self.chosen}, but the responses are 0 to {n - 1}")
        if len(set(self.responses)) < 2:
            raise ValueError("the responses are all equal: there was nothing to choose")
        return self


class Choices(Wire):
    """Many choices, of one user or of many. Each row is checked by itself: see :class:`Told`."""

    choices: Annotated[list[dict[str, object]], Field(min_length=1, max_length=1000)]


class Accepted(Reply):
    """A choice that is kept, durably.

    Attributes:
        index: Its place in the request.
        key: The client's name for it, or the one it was given.
        number: Its number among the user's choices.
        replayed: Whether it was kept before under the same key, and this was a repetition.
    """

    index: int
    user: str
    key: str
    number: int
    replayed: bool = False


class Refused(Reply):
    """A choice that is not kept, and why; the others are."""

    index: int
    field: str
    message: str


class Told(Reply):
    """What became of the choices."""

    accepted: list[Accepted]
    refused: list[Refused] = []


class ChoiceKept(Reply):
    """A choice as it is kept."""

    key: str
    number: int
    conversation: list[dict[str, str]]
    responses: list[str]
    chosen: int | None = None
    ratings: list[float] | None = None
    reason: str | None = None
    source: str | None = None
    time: float
    received: float


class ChoicesPage(Reply):
    """Some of a user's choices, latest first; ``next`` is the number to go on before, or null."""

    total: int
    choices: list[ChoiceKept]
    next: int | None = None
    order: Literal["latest first"] = "latest first"
