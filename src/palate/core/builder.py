"""From rows in any order to a :class:`~palate.core.population.Population`."""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import DataError
from palate.core.feedback import Conversation, Feedback, as_conversation
from palate.core.population import Corpus, Population

__all__ = ["PopulationBuilder"]

NAN = float("nan")


class _Numbers(dict[Any, int]):
    """Numbers its keys in the order in which they are first asked for."""

    def __missing__(self, key: Any) -> int:
        number = self[key] = len(self)
        return number


class PopulationBuilder:
    """Collects rows one at a time, in any order, into a population.

    Rows of a user may arrive scattered; within a user they are put in time order, rows of equal or
    unknown time in the order in which they came. A row without an id is called ``row-N`` after its
    place of arrival.

    Attributes:
        order: int64 [rows], once built: the place of arrival of each row of the population.
    """

    order: NDArray[np.int64]

    def __init__(self) -> None:
        self._users, self._conversations, self._responses = _Numbers(), _Numbers(), _Numbers()
        self._row_user, self._chosen, self._sizes = array("q"), array("q"), array("q")
        self._items, self._times, self._split = array("q"), array("d"), array("b")
        self._ids: list[str] = []
        self._role: dict[int, int] = {}
        self._reasons: dict[int, str] = {}
        self._profiles: dict[str, dict[str, str]] = {}

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def n_users(self) -> int:
        """Number of users known so far."""
        return len(self._users)

    def add_user(self, user: str, profile: Mapping[str, str] | None = None, role: int = -1) -> int:
        """Make a user known, with or without feedback, and return their number."""
        number = self._users[user]
        if profile:
            self._profiles.setdefault(user, {}).update(profile)
        if role >= 0:
            self._role[number] = role
        return number

    def role_of(self, user: str) -> int:
        """Return the role a user was given so far, or -1."""
        return self._role.get(self._users.get(user, -1), -1)

    def add(
        self,
        user: str,
        conversation: str | Conversation,
        responses: Sequence[str],
        chosen: int,
        *,
        id: str = "",
        time: float = NAN,
        split: int = -1,
        reason: str | None = None,
    ) -> None:
        """Add one choice; ``chosen`` is -1 for a tie. The caller has checked the values."""
        if not isinstance(conversation, str) and len(conversation) == 1 and conversation[0][0] == "user":
            conversation = conversation[0][1]
        talk = self._conversations[conversation] << 32
        texts, items = self._responses, self._items
        for response in responses:
            items.append(talk | texts[response])
        self._row_user.append(self._users[user])
        self._chosen.append(chosen)
        self._sizes.append(len(responses))
        self._times.append(time)
        self._split.append(split)
        if reason:
            self._reasons[len(self._ids)] = reason
        self._ids.append(id)

    def add_feedback(self, row: Feedback) -> None:
        """Add one observation."""
        self.add(
            row.user,
            row.conversation,
            row.responses,
            -1 if row.chosen is None else row.chosen,
            id=row.id,
            time=NAN if row.time is None else row.time,
            reason=row.reason,
        )

    def build(self) -> Population:
        """Return the columns. The builder is spent: it gives its texts away.

        Raises:
            DataError: If two rows were given the same id.
        """
        names = self._names()
        row_user, times = np.frombuffer(self._row_user, np.int64), np.frombuffer(self._times, np.float64)
        self.order = np.lexsort((np.where(np.isnan(times), np.inf, times), row_user))
        n_users = len(self._users)
        role = np.full(n_users, -1, np.int8)
        role[list(self._role)] = list(self._role.values())
        keys, options = np.unique(np.frombuffer(self._items, np.int64), return_inverse=True)
        unsorted = Population(
            corpus=self._corpus(keys),
            users=_objects(list(self._users)),
            offsets=np.array([0] * n_users + [len(names)]) if n_users else np.zeros(1, np.int64),
            options=options,
            option_offsets=np.concatenate([[0], np.cumsum(np.frombuffer(self._sizes, np.int64))]),
            chosen=np.frombuffer(self._chosen, np.int64),
            times=times,
            ids=names,
            role=role,
            split=np.frombuffer(self._split, np.int8),
            reasons={names[row]: reason for row, reason in self._reasons.items()},
            profiles=self._profiles,
        )
        object.__setattr__(unsorted, "row_user", row_user)
        return unsorted.take_rows(self.order).compact()

    def _names(self) -> NDArray[np.object_]:
        """Return object [rows]: the ids, rows without one named by their place."""
        given = [name for name in self._ids if name]
        taken = set(given)
        if len(taken) < len(given):
            raise DataError("two rows have the same id; ids name a choice in personas, so they must differ")
        for row, name in enumerate(self._ids):
            if not name:
                name = f"row-{row + 1}"
                while name in taken:
                    name += "'"
                self._ids[row] = name
        return _objects(self._ids)

    def _corpus(self, keys: NDArray[np.int64]) -> Corpus:
        talks = [as_conversation(talk) for talk in self._conversations]
        return Corpus(talks, list(self._responses), keys >> 32, keys & 0xFFFFFFFF)


def _objects(values: list[str]) -> NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
