"""What an operator sees and sets: the model, the pool, the people, the server's state."""

from typing import Annotated, Any

from pydantic import Field

from palate.serve.wire.texts import Line, Reply, Wire
from palate.serve.wire.use import Offer

__all__ = ["Fault", "GroupShown", "ModelShown", "NewModel", "People", "Point", "Pooled", "State", "Trouble"]


class Trouble(Reply):
    """Why a request was not served."""

    code: str = Field(description="For programs: bad_request, unknown_user, conflict, too_large, ...")
    message: str = Field(description="For people: what was seen, what was expected, how to mend it.")
    field: str | None = None


class Fault(Reply):
    """The body of every answer that is not a success."""

    error: Trouble


class NewModel(Wire):
    """A folder that `palate fit` wrote, below the server's model root, to be served from now on."""

    folder: Line


class ModelShown(Reply):
    """The model that is served, and how far its personas are.

    Attributes:
        current: Users whose persona is of this model.
        behind: Users whose persona is of an earlier model or waits for adaptation.
    """

    fingerprint: str
    label: str
    folder: str
    activated: float
    current: int = 0
    behind: int = 0
    loading: str | None = None


class Pooled(Wire):
    """Pairs that may be shown to users."""

    offers: Annotated[list[Offer], Field(min_length=1, max_length=1000)]


class Point(Reply):
    """One user on the map. ``gain`` is accuracy with the persona less without, on held-back choices."""

    x: float
    y: float
    group: int
    gain: float | None
    weight: float | None
    choices: int
    user: str | None = Field(None, description="Only for callers who may read users.")


class GroupShown(Reply):
    """A group of users alike, in words."""

    number: int
    users: int
    share: float
    words: list[str]
    gain: float | None


class People(Reply):
    """The map of users: positions are the two main directions in which personas differ."""

    users: int
    shown: int
    points: list[Point]
    groups: list[GroupShown]
    helped: int
    harmed: int
    even: int
    untested: int
    explained: list[float] = Field(description="Share of the personas' variance on each of the two axes.")
    report: dict[str, Any] | None = Field(None, description="The leaderboard of a report.json, if given.")


class State(Reply):
    """What the server is doing."""

    version: str
    started: float
    database: str
    users: int
    choices: int
    waiting: int = Field(description="Users whose persona waits to be made anew.")
    failed: int = Field(description="Of these, tried in vain.")
    model: ModelShown
    requests: dict[str, float] = {}
