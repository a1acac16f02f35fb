"""What is believed of a user, its history, and how a person corrects it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from palate.serve.wire.texts import Line, Reply, Wire

__all__ = [
    "Edit",
    "Edits",
    "Effect",
    "PersonaShown",
    "QuoteShown",
    "Reverted",
    "Statement",
    "VerdictShown",
    "VersionShown",
]


class QuoteShown(Reply):
    """A choice behind a statement, in short."""

    key: str
    asked: str
    chosen: str
    other: str


class Statement(Reply):
    """One statement about a user.

    Attributes:
        about: What it is about; edits name it by this.
        headline: The sentence without figures, for people.
        text: The sentence in full.
        strength: Effect in log-odds per unit, in the direction the sentence tells.
        low: Lower end of its 95 % interval.
        high: Upper end.
        shift: The same beyond what people like on average; null where the method cannot tell.
        supports: Choices that agree with it, the first few in short.
        contradicts: Choices that speak against it.
        n_supports: How many agree.
        n_contradicts: How many speak against it.
        state: ``found`` by the method, ``locked`` by the person, ``said`` by the person, ``forgotten``,
            or ``dropped`` because the choices do not bear it out.
    """

    about: str
    headline: str
    text: str
    strength: float
    low: float
    high: float
    shift: float | None = None
    supports: list[QuoteShown] = []
    contradicts: list[QuoteShown] = []
    n_supports: int = 0
    n_contradicts: int = 0
    state: Literal["found", "locked", "said", "forgotten", "dropped"] = "found"


class VerdictShown(Reply):
    """How a persona did on choices that it never saw, beside people on average; log-losses in nats."""

    choices: int
    accuracy: float
    control_accuracy: float
    log_loss: float
    control_log_loss: float
    weight: float


class PersonaShown(Reply):
    """What is believed of a user.

    Attributes:
        version: Grows with every edit and full adaptation; edits name the version they were made on.
        text: The persona in words.
        statements: One by one, strongest first.
        method: What made it.
        model: Fingerprint of the fitted model.
        choices: How many choices it reflects.
        pending: How many are kept that it does not reflect yet.
        exact: Whether it was made from the whole history; False: brought up to date by steps since.
        verdict: How it did on choices it never saw; null before there are any.
        told: The verdict in a line.
        weight: How far it is applied, 0 to 1.
        apply: ``tested``: as far as the test supports; ``always`` or ``never``: the person said so.
        settled: 0 to 1: how near it is to more choices changing nothing.
    """

    user: str
    version: int
    text: str | None
    statements: list[Statement]
    method: str
    model: str
    choices: int
    pending: int
    exact: bool
    verdict: VerdictShown | None = None
    told: str
    weight: float | None = None
    apply: Literal["tested", "always", "never"] = "tested"
    settled: float = 0.0
    updated: float | None = None


class Edit(Wire):
    """One correction.

    ``lock`` keeps a statement as it stands, ``unlock`` undoes any edit of it, ``forget`` takes it away and
    does not learn it again, ``set`` gives it the strength ``shift`` beyond the average user's, ``say`` adds a
    sentence of the person's own, ``apply`` says how far the persona is used: tested, always or never.
    """

    do: Literal["lock", "unlock", "forget", "set", "say", "apply"]
    about: Line | None = None
    shift: Annotated[float, Field(ge=-20, le=20)] | None = None
    text: Line | None = None
    how: Literal["tested", "always", "never"] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        needs = {"lock": "about", "unlock": "about", "forget": "about", "set": "about", "say": "text"}
        field = needs.get(self.do, "how")
        if getattr(self, field) is None:
            raise ValueError(f"{self.do!r} needs the field {field!r}")
        if self.do == "set" and self.shift is None:
            raise ValueError("'set' needs the field 'shift': log-odds per unit beyond the average user")
        return self


class Edits(Wire):
    """Corrections that are applied together, or not at all.

    ``version`` is the version they were made on. If somebody else edited since, they are refused with 409.
    With ``try`` they are not applied: only their effect is told.
    """

    version: Annotated[int, Field(ge=0)]
    edits: Annotated[list[Edit], Field(min_length=1, max_length=50)]
    try_: bool = Field(False, alias="try")


class Effect(Reply):
    """What edits change, told on choices that were held back from the persona.

    Attributes:
        choices: Held-back choices it was tried on.
        differ: How many would now be predicted differently.
        better: How many of these are now right.
        worse: How many are now wrong.
        told: In a line, as "3 of 9 would now be predicted differently: 1 better, 2 worse".
    """

    choices: int
    differ: int
    better: int
    worse: int
    told: str


class VersionShown(Reply):
    """What was believed at some time, and why that changed."""

    version: int
    cause: str
    told: str
    time: float
    choices: int
    text: str | None
    statements: list[Statement]


class Reverted(Wire):
    """Go back to the edits that stood at an earlier version; choices made since stay."""

    version: Annotated[int, Field(ge=0)]
    to: Annotated[int, Field(ge=1)]
