"""What is kept of one user, with where it came from and how well it does; and many of them as columns."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import DataError
from palate.core.feedback import Feedback, as_conversation
from palate.core.population import Population

__all__ = ["Claim", "Persona", "Personas", "Provenance", "Verdict", "Verdicts", "about"]

Floats = NDArray[np.floating[Any]]
_FORGOTTEN, _SAID = "Forgotten, as the person said: ", " (As the person said.)"
_FIGURES = re.compile(r"(?<!\w)[-+]?\d[\d.,:/%]*")


def about(text: str) -> str:
    """Return a key of what a sentence is about, the same for the same words.

    Lower case, single spaces, without figures and without punctuation at the ends. A key's key is itself.

    >>> about("Likes  lists of 3 to 5 steps."), about("42!")
    ('likes lists of to steps', '42')
    """
    words = " ".join(text.lower().split())
    bare = " ".join(_FIGURES.sub(" ", words).split())
    key = re.sub(r"^[^\w]+|[^\w]+$", "", bare) or re.sub(r"^[^\w]+|[^\w]+$", "", words) or words
    return key


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement about a user and the choices that it rests on.

    Attributes:
        text: The sentence.
        strength: Effect in log-odds per unit, positive in the direction the sentence tells.
        low: Lower end of the 95 % interval of the strength.
        high: Upper end.
        supports: Ids of the choices that agree with it.
        contradicts: Ids of the choices that speak against it.
        lost: Accuracy on held-out choices that is lost without it, or None where that was not tested.
        kept: Whether it stands in the persona; False where the choices do not support it.
        unread: Number of choices of which nobody could say whether they agree.
        about: Key of what it is about, which stays when it is worded anew: the name of an axis, or
            :func:`about` of the sentence where a method gives none.

    >>> claim = Claim("Prefers shorter answers: 7 of 8 choices that differ in it.", 1.5, 0.2, 3.0)
    >>> claim.headline, claim.forgotten().kept, claim.forgotten().headline
    ('Prefers shorter answers', False, 'Prefers shorter answers')
    """

    text: str
    strength: float
    low: float
    high: float
    supports: tuple[str, ...] = ()
    contradicts: tuple[str, ...] = ()
    lost: float | None = None
    kept: bool = True
    unread: int = 0
    about: str = ""

    def __post_init__(self) -> None:
        if not self.about:
            object.__setattr__(self, "about", about(self.statement))

    @property
    def statement(self) -> str:
        """The sentence without the note that the person said so, or had it forgotten."""
        return self.text.removeprefix(_FORGOTTEN).removesuffix(_SAID)

    @property
    def headline(self) -> str:
        """The statement for a person who wants no figures: what stands before the first ": 3 of 4 ..."."""
        return re.split(r":\s+[-+]?\d", self.statement, maxsplit=1)[0].rstrip(" .")

    @property
    def key(self) -> str:
        """What a correction names it by: its sentence where the key is made of that, else ``about``."""
        return self.statement if about(self.statement) == self.about else self.about

    @property
    def by_hand(self) -> bool:
        """Whether it stands as a person said, or is forgotten at their wish, whatever the choices say."""
        return self.text.startswith(_FORGOTTEN) or self.text.endswith(_SAID)

    def said(self, strength: float) -> "Claim":
        """Return it as the person said: it stands, as strong as they want it, and the text tells why."""
        text = self.statement + _SAID
        return replace(self, text=text, strength=strength, low=strength, high=strength, kept=True)

    def forgotten(self, strength: float = 0.0) -> "Claim":
        """Return it as forgotten at the person's wish: not kept; ``strength`` is what people have anyway."""
        text = _FORGOTTEN + self.statement
        return replace(self, text=text, strength=strength, low=strength, high=strength, kept=False)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Which model made a persona, and from which feedback.

    Attributes:
        method: Name of the method.
        model: Fingerprint of the fitted model; its vectors mean something to that model alone.
        feedback: Ids of the choices that were seen, oldest first.
        until: Time of the last of them, in seconds since 1970, or None where unknown.
    """

    method: str
    model: str
    feedback: tuple[str, ...] = ()
    until: float | None = None

    def after(self, row: Feedback) -> "Provenance":
        """Return it with one more choice seen; a choice without an id is called ``row-N``.

        >>> Provenance("style", "0f", ("a",)).after(Feedback("ann", (), ("x", "y"), 0, time=3.0))
        Provenance(method='style', model='0f', feedback=('a', 'row-2'), until=3.0)
        """
        times = [time for time in (self.until, row.time) if time is not None]
        seen = (*self.feedback, row.id or f"row-{len(self.feedback) + 1}")
        return replace(self, feedback=seen, until=max(times, default=None))


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a persona predicted its user's held-back choices, beside the unpersonalized control.

    Attributes:
        choices: Number of held-back pairs it was tested on.
        accuracy: Share of them that the persona predicted, ties left out; a half where all were ties.
        control_accuracy: Share that the control predicted.
        log_loss: Mean negative log-likelihood in nats, by the persona.
        control_log_loss: The same by the control.
        weight: How far the evidence supports applying it: 0 stands aside, 1 applies it whole.
    """

    choices: int
    accuracy: float
    control_accuracy: float
    log_loss: float
    control_log_loss: float
    weight: float

    def __str__(self) -> str:
        word = "applied" if self.weight > 0.75 else "set aside" if self.weight < 0.05 else "applied in part"
        return (
            f"{word} (weight {self.weight:.2f}): predicted {self.accuracy:.0%} of {self.choices} held-back "
            f"choice{'' if self.choices == 1 else 's'}, {self.control_accuracy:.0%} without it"
        )


@dataclass(frozen=True, slots=True)
class Persona:
    """What is kept of one user, in up to three media. ``Persona()`` is the average user.

    Attributes:
        user: Whose it is, or None for the average user.
        text: Words that a person or a judge reads.
        examples: Past choices to show beside the words.
        vector: Numbers for the model that made it.
        adapter: Path of weights trained for this user, for a method that trains some.
        claims: The statements of the text, each with its evidence.
        provenance: Where it came from.
        verdict: How well it does.

    >>> Persona.from_json(Persona(user="ann", vector=(0.25, -1.0)).to_json()).vector
    (0.25, -1.0)
    """

    user: str | None = None
    text: str | None = None
    examples: tuple[Feedback, ...] = ()
    vector: tuple[float, ...] | None = None
    adapter: str | None = None
    claims: tuple[Claim, ...] = ()
    provenance: Provenance | None = None
    verdict: Verdict | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values that ``json.dumps`` takes; numbers survive exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Persona":
        """Build a persona from :meth:`to_json`'s values.

        Raises:
            DataError: If fields are missing, unknown or of another shape.
        """
        try:
            values = dict(data)
            values["examples"] = tuple(_feedback(e) for e in values.get("examples") or ())
            values["claims"] = tuple(_claim(c) for c in values.get("claims") or ())
            if values.get("vector") is not None:
                values["vector"] = tuple(float(v) for v in values["vector"])
            if values.get("provenance") is not None:
                p = dict(values["provenance"])
                values["provenance"] = Provenance(**{**p, "feedback": tuple(p.get("feedback", ()))})
            if values.get("verdict") is not None:
                values["verdict"] = Verdict(**values["verdict"])
            return cls(**values)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise DataError(f"this is not a persona as Palate writes it: {error}") from error


def _feedback(data: Mapping[str, Any]) -> Feedback:
    talk = as_conversation(tuple(data["conversation"]))
    return Feedback(**{**data, "conversation": talk, "responses": tuple(data["responses"])})


def _claim(data: Mapping[str, Any]) -> Claim:
    return Claim(**{**data, "supports": tuple(data["supports"]), "contradicts": tuple(data["contradicts"])})


class Verdicts(NamedTuple):
    """Verdicts of many users: the fields of :class:`Verdict`, each an array [users]."""

    choices: NDArray[np.int64]
    accuracy: Floats
    control_accuracy: Floats
    log_loss: Floats
    control_log_loss: Floats
    weight: Floats

    def of(self, user: int) -> Verdict | None:
        """Return one user's verdict, or None where there was nothing to test on."""
        if not self.choices[user]:
            return None
        return Verdict(int(self.choices[user]), *(float(column[user]) for column in self[1:]))


@dataclass(frozen=True, eq=False)
class Personas(Sequence[Persona]):
    """Personas of many users as columns; ``personas[i]`` is a view for people.

    Attributes:
        method: Name of the method that made them.
        model: Fingerprint of the fitted model.
        users: Names, object [users]; None for an average user.
        vectors: float [users, k], or None for a method that keeps no vector.
        known: bool [users]; False rows stand for the average user and their vectors are not read.
        source: What they were adapted from, for provenance.
        words: Writes the text and the claims of user i on demand.
        texts: Texts, where they were given rather than written on demand.
        examples: Remembered choices a user.
        claims: Statements with their evidence a user, where texts were given.
        verdicts: How well they do.
    """

    method: str
    model: str
    users: NDArray[np.object_]
    vectors: Floats | None
    known: NDArray[np.bool_]
    source: Population | None = None
    words: Callable[[int], tuple[str, tuple[Claim, ...]]] | None = None
    texts: Sequence[str | None] | None = None
    examples: Sequence[tuple[Feedback, ...]] | None = None
    claims: Sequence[tuple[Claim, ...]] | None = None
    verdicts: Verdicts | None = None
    _views: Sequence[Persona] | None = field(default=None, repr=False)

    @classmethod
    def average(cls, count: int = 1) -> "Personas":
        """Return ``count`` average users."""
        return cls.of([Persona()] * count)

    @classmethod
    def of(cls, personas: Sequence[Persona]) -> "Personas":
        """Lay personas side by side.

        Raises:
            DataError: If different models made them: their vectors cannot share a table.
        """
        makers = {(p.provenance.method, p.provenance.model) for p in personas if p.provenance}
        if len(makers) > 1:
            raise DataError(f"personas of different models cannot be scored in one batch: {sorted(makers)}")
        method, model = makers.pop() if makers else ("", "")
        sizes = {len(p.vector) for p in personas if p.vector is not None}
        if len(sizes) > 1:
            raise DataError(f"vectors of different lengths {sorted(sizes)} cannot be scored in one batch")
        vectors = np.zeros((len(personas), sizes.pop())) if sizes else None
        if vectors is not None:
            for i, persona in enumerate(personas):
                if persona.vector is not None:
                    vectors[i] = persona.vector
        users = np.empty(len(personas), dtype=object)
        users[:] = [p.user for p in personas]
        known = np.array([p != Persona(user=p.user) for p in personas], dtype=bool)
        texts, examples = [p.text for p in personas], [p.examples for p in personas]
        return cls(
            method, model, users, vectors, known, texts=texts, examples=examples, _views=tuple(personas)
        )

    def __len__(self) -> int:
        return len(self.users)

    def __iter__(self) -> Iterator[Persona]:
        return (self._at(i) for i in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._at(i) for i in range(*index.indices(len(self)))]
        return self._at(range(len(self))[index])

    def _at(self, i: int) -> Persona:
        if self._views is not None:
            return self._views[i]
        text: str | None = self.texts[i] if self.texts else None
        claims = self.claims[i] if self.claims else ()
        if self.words:
            text, claims = self.words(i)
        return Persona(
            user=self.users[i],
            text=text,
            examples=self.examples[i] if self.examples else (),
            vector=None if self.vectors is None else tuple(self.vectors[i].tolist()),
            claims=claims,
            provenance=self._provenance(i),
            verdict=self.verdicts.of(i) if self.verdicts else None,
        )

    def _provenance(self, i: int) -> Provenance:
        if self.source is None:
            return Provenance(self.method, self.model)
        rows = slice(self.source.offsets[i], self.source.offsets[i + 1])
        times = self.source.times[rows]
        until = float(np.nanmax(times)) if np.isfinite(times).any() else None
        return Provenance(self.method, self.model, tuple(map(str, self.source.ids[rows])), until)

    def with_verdicts(self, verdicts: Verdicts) -> "Personas":
        """Return the same personas with their verdicts."""
        return replace(self, verdicts=verdicts, _views=None)
