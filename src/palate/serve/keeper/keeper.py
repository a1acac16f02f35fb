"""What is believed of each user, for whoever asks: personas, their words and history, and their use."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from palate.core import Persona, forget_texts
from palate.serve.keeper.changing import Changes
from palate.serve.keeper.current import Current
from palate.serve.keeper.groups import Groups
from palate.serve.keeper.held import Held
from palate.serve.keeper.model import Shelf
from palate.serve.keeper.offers import Offers
from palate.serve.keeper.remaking import remake
from palate.serve.keeper.scores import Rewarded, Row, Scores
from palate.serve.keeper.words import find_words, quoted, shown, statements
from palate.serve.keeper.work import Worker
from palate.serve.store import Store, choices, models, personas
from palate.serve.store.personas import KeptEdit, KeptVersion
from palate.serve.wire.operate import ModelShown, People
from palate.serve.wire.persona import Edits, Effect, PersonaShown, Reverted, VersionShown
from palate.serve.wire.use import (
    Asked,
    Judge,
    Judged,
    Jury,
    JuryAnswer,
    Next,
    Rank,
    Rankings,
    Reward,
    Rewards,
)

__all__ = ["Keeper"]


class Keeper:
    """What a process believes of users. Threads share one; processes over one store agree.

    Args:
        store: What is kept.
        shelf: The model that is served.
        report: A report.json for the page of the people, or "".
        size: How many personas are held in memory.

    Attributes:
        store: What is kept.
        shelf: The model that is served.
    """

    def __init__(self, store: Store, shelf: Shelf, report: str = "", size: int = 20_000) -> None:
        self.store, self.shelf = store, shelf
        self._current = Current(store, shelf, self._find_words, size)
        self._scores, self._offers = Scores(), Offers(store)
        self._groups = Groups(store, shelf, report)
        self._changes = Changes(store, self._current)
        self._turns: dict[tuple[str, str, str], float] = {}
        self._worker = Worker(self)

    # ---- the threads ----------------------------------------------------------------------------------

    def start(self, jobs: bool = True) -> None:
        """Start the threads that follow the model that is served and, with ``jobs``, make personas anew."""
        self._worker.start(jobs)

    def stop(self) -> None:
        """Stop them; what they are doing ends first, what waits stays queued."""
        self._worker.stop()

    # ---- what is believed -----------------------------------------------------------------------------

    def current(self, tenant: str, user: str | None) -> Held:
        """Return a user's persona as of now; None and users who are not known are people on average."""
        return self._current.one(tenant, user)

    def many(self, tenant: str, users: Sequence[str]) -> list[Held]:
        """Return several users' personas as of now, each user once."""
        return self._current.many(tenant, users)

    def shown(self, tenant: str, user: str) -> PersonaShown:
        """Return a user's persona as its person reads it."""
        return self._shown(tenant, user, self._current.one(tenant, user))

    def _shown(self, tenant: str, user: str, held: Held) -> PersonaShown:
        time: float | None = None
        bodies: dict[str, dict[str, Any]] = {}
        if held.state is not None:
            keys = quoted(held.told_words)
            with self.store.read() as c:
                bodies = choices.quotes(c, tenant, user, keys) if keys else {}
                kept = personas.load(c, tenant, user) if held.state.rev else None
                time = None if kept is None else kept.time
        return shown(held, bodies, self._offers.settled(tenant, user, held), time, self._turns)

    def _find_words(self, tenant: str, held: Held) -> Persona:
        return find_words(self.store, tenant, held)

    def versions(
        self, tenant: str, user: str, before: int | None = None, limit: int = 50
    ) -> list[VersionShown]:
        """Return what was believed of a user and why it changed, latest first."""
        with self.store.read() as c:
            return [_version(v) for v in personas.versions(c, tenant, user, before, limit)]

    def version(self, tenant: str, user: str, number: int) -> VersionShown | None:
        """Return one version of a user's persona, or None."""
        with self.store.read() as c:
            found = personas.version(c, tenant, user, number)
        return None if found is None else _version(found)

    # ---- what a person corrects -----------------------------------------------------------------------

    def patch(self, tenant: str, user: str, body: Edits, actor: str) -> tuple[PersonaShown, Effect]:
        """Apply a person's corrections, or with ``try`` only tell their effect.

        Args:
            tenant: Whose user.
            user: Whose persona.
            body: The corrections, and the version they were made on.
            actor: Who asks, for the audit log.

        Raises:
            ConflictError: If somebody else edited since that version.
            DataError: If a correction refers to nothing that is believed.
        """
        held, effect = self._changes.patch(tenant, user, body, actor)
        return self._shown(tenant, user, held), effect

    def revert(self, tenant: str, user: str, body: Reverted, actor: str) -> tuple[PersonaShown, Effect]:
        """Go back to the corrections that stood at an earlier version; choices made since stay.

        Raises:
            ConflictError: If somebody else edited since the version that is named.
            DataError: If there is no version to go back to.
        """
        held, effect = self._changes.revert(tenant, user, body, actor)
        return self._shown(tenant, user, held), effect

    # ---- use ------------------------------------------------------------------------------------------

    def at_hand(self, tenant: str, body: Rank | Reward | Judge) -> Held | None:
        """Return the persona to rank, reward or judge by, if that would take no time worth a thread.

        It is in memory and current, and so are the texts; no model and no other machine is asked.
        """
        return self._current.at_hand(tenant, body.user) if self._scores.known(body) else None

    def rank(self, tenant: str, body: Rank, held: Held | None = None) -> Rankings:
        """Order responses as a user would; ``held`` is the persona, where it was found before."""
        return self._scores.rank(held or self._current.one(tenant, body.user), body)

    def reward(self, tenant: str, body: Reward, held: Held | None = None) -> Rewards:
        """Reward responses for a user, as :meth:`rank` orders them."""
        return self._scores.reward(held or self._current.one(tenant, body.user), body)

    def reward_rows(self, tenant: str, rows: Sequence[Row]) -> list[Rewarded]:
        """Reward single responses, each for its user, in one batch."""
        users = list(dict.fromkeys(row.user for row in rows if row.user is not None))
        found: dict[str | None, Held] = dict(zip(users, self.many(tenant, users), strict=True))
        found[None] = self._current.one(tenant, None)
        return self._scores.rows([found[row.user] for row in rows], rows)

    def judge(self, tenant: str, body: Judge, held: Held | None = None) -> Judged:
        """Say which of two responses a user would prefer, as :meth:`rank` orders them."""
        return self._scores.judge(held or self._current.one(tenant, body.user), body)

    def jury(self, tenant: str, body: Jury) -> JuryAnswer:
        """Order responses as several users together would."""
        return self._scores.jury(self.many(tenant, body.users), body)

    def next_pair(self, tenant: str, user: str, body: Next) -> Asked:
        """Return the pairs that teach most about a user."""
        return self._offers.next(tenant, user, self._current.one(tenant, user), body)

    # ---- all users ------------------------------------------------------------------------------------

    def readapt(self, tenant: str, users: Sequence[str]) -> dict[str, str | None]:
        """Make users' personas anew from their whole histories; for each None, or why there is none."""
        return remake(self.store, self.shelf.active, tenant, users)

    def people(self, tenant: str, named: bool = True) -> People:
        """Return the map of a tenant's users.

        Args:
            tenant: Whose users.
            named: Whether users are named.
        """
        return self._groups.people(tenant, named)

    def forget(self, tenant: str, user: str) -> dict[str, int]:
        """Let go of all that this process holds of a user who was erased; return how much, by cache."""
        return {
            "cache.personas": self._current.drop(tenant, user),
            "cache.seen": self._offers.drop(tenant, user),
            **self._forget_texts(tenant),
        }

    def forget_gone(self) -> int:
        """Let go of users who were erased through another process; return how many."""
        gone = self._current.drop_gone() + self._offers.drop_gone()
        self._forget_texts(None)
        return gone

    def _forget_texts(self, tenant: str | None) -> dict[str, int]:
        return {
            "cache.texts": self._scores.forget() + forget_texts(),
            "cache.maps": self._groups.drop(tenant),
        }

    # ---- the model ------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether a model is served."""
        return self.shelf.active is not None

    def behind(self, c: Connection) -> int:
        """Return how many users' personas are of another model or miss choices."""
        return personas.progress(c, None, self.shelf.active.fingerprint)[1]

    def model(self, tenant: str | None = None) -> ModelShown:
        """Return which model is served, and how far personas are, of one tenant or of all."""
        active = self.shelf.active
        with self.store.read() as c:
            last = models.active(c)
            current, behind = personas.progress(c, tenant, active.fingerprint)
        fault = self.shelf.fault
        return ModelShown(
            fingerprint=active.fingerprint,
            label=active.label,
            folder=active.folder,
            activated=last.activated if last is not None else 0.0,
            current=current,
            behind=behind,
            loading=self.shelf.loading or (f"not loaded: {fault}" if fault else None),
        )

    def swap(self, folder: str) -> None:
        """Load another model in the background and serve it once it is ready.

        Raises:
            StorageError: If the folder holds none.
            ConfigError: If another one is being loaded.
        """
        self.shelf.swap(self.store, folder)


def _version(kept: KeptVersion) -> VersionShown:
    body = Persona.from_json(kept.body)
    words = body if kept.words is None else Persona.from_json(kept.words)
    edits = [KeptEdit(**edit) for edit in kept.edits]
    seen = body.provenance.feedback if body.provenance else ()
    return VersionShown(
        version=kept.version,
        cause=kept.cause,
        told=kept.told,
        time=kept.time,
        choices=len(seen),
        text=words.text,
        statements=statements(words, edits, {}),
    )
