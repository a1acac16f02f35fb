"""The two kinds of soft tokens that a reward model is told a user by: the user's own, and those of codes.

ByUser    a table with a row for each training user (:class:`~palate.tune.soft.UserTable`); what is kept of
          a user are their own numbers, fitted with the model as it is
ByCodes   codes of past choices (:class:`~palate.tune.coupled.Coupler`); what is kept of a user is how often
          each code occurs among their latest windows
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from palate.core import MethodError, Population
from palate.models.codebook import collapsed, usage
from palate.tune.coupled import Arrays, Coupler, Shape
from palate.tune.past import Reader, decided
from palate.tune.reward_reading import fit_own
from palate.tune.reward_rows import other_choices, windows
from palate.tune.scoring import right_padded
from palate.tune.soft import Soft, Softened, UserTable

__all__ = ["ByCodes", "ByUser", "Sequences"]

Floats = NDArray[np.floating[Any]]
Sequences = Callable[[Population], Sequence[tuple[Sequence[int], Sequence[int]]]]
"""Ids of the chosen and the rejected sequence of each pair of some users, in plain prompts."""


class Given(NamedTuple):
    """What a training row holds of its user: a number, or past choices and their windows."""

    who: int = -1
    past: Sequence[int] = ()
    window: Sequence[int] = ()


class ByUser:
    """Soft tokens of users; see the module's text.

    Args:
        fields: What has the fields of :class:`~palate.tune.reward_lm.RewardLM`.
        like: The model's embeddings, float [vocabulary, d].
    """

    def __init__(self, fields: Any, like: Tensor) -> None:
        self.fields, self.like = fields, like
        self.module: nn.Module = self._table(0)

    def _table(self, users: int) -> UserTable:
        return UserTable(users, self.fields.tokens, self.like, self.fields.clusters, self.fields.seed)

    @property
    def numbers(self) -> int:
        """Numbers that are kept of a user."""
        return int(self.module.free)

    def begin(self, people: Population) -> list[Given]:
        """Make the module that is trained; return what each pair's row holds."""
        self.module = self._table(people.n_users)
        return [Given(who=user) for user in people.pairs.user.tolist()]

    def batch(self, examples: Sequence[Mapping[str, Any]], mixed: bool) -> Tensor:
        """Return the users of a batch, and user 0 for each again if ``mixed``."""
        who = [e["who"] for e in examples]
        return torch.tensor(who + [-1] * len(who) if mixed else who)

    def arrays(self) -> dict[str, Floats]:
        """Return what was learned that users share."""
        return {"shared": self.module.shared.detach().float().cpu().numpy()}

    def take(self, arrays: Mapping[str, Floats]) -> None:
        """Put back what :meth:`arrays` gave."""
        table = self._table(0)
        table.shared.data.copy_(torch.from_numpy(np.array(arrays["shared"])))
        self.module = table

    def condense(self, people: Population, model: Softened, sequences: Sequences, pad: int) -> Floats:
        """Return the own numbers of users, float64 [users, numbers]; zero for one without choices."""
        pairs, ids, f = people.pairs, sequences(people), self.fields
        out = np.zeros((people.n_users, self.numbers))
        for user in np.unique(pairs.user).tolist():
            mine = np.flatnonzero(pairs.user == user)[-f.contexts :]
            out[user] = fit_own(
                model,
                self.module,
                [ids[i] for i in mine.tolist()],
                pairs.target[mine],
                pad,
                steps=f.new_steps,
                lr=f.new_lr,
                bond=f.bond,
            )
        return out

    def soft(self, vectors: Floats) -> Soft:
        """Return the soft tokens of what is kept of users, float [rows, numbers]."""
        own = torch.as_tensor(np.asarray(vectors, np.float32), device=self.like.device)
        found: Soft = self.module.of(own)
        return found

    def check(self, people: Population) -> None:
        """Nothing can collapse here."""


class ByCodes:
    """Soft tokens of the codes of past choices; see the module's text.

    Args:
        fields: A :class:`~palate.tune.reward_lm.RewardLM`, whose model is loaded.
        like: The model's embeddings, float [vocabulary, d].
    """

    def __init__(self, fields: Any, like: Tensor) -> None:
        self.fields, self.like = fields, like
        self.shape = Shape(fields.codes, fields.width, fields.commitment, fields.decay, fields.revive)
        self.reader = Reader(fields.cast, fields.talk, fields.templates, fields.reader, fields.question)
        self.module: nn.Module | None = None
        self.estimates = torch.zeros(0, 0)
        self.learned: Arrays | None = None

    @property
    def numbers(self) -> int:
        """Numbers that are kept of a user."""
        return int(self.shape.codes)

    def begin(self, people: Population) -> list[Given]:
        """Make the module that is trained; return what each pair's row holds."""
        pairs, f = people.pairs, self.fields
        seen = decided(people, people.n_rows, f.window)
        e = self.reader.estimates(people, seen.pair)
        table = np.zeros((len(pairs), e.shape[1]), np.float32)
        table[seen.pair] = e
        self.estimates = torch.from_numpy(table)
        members: list[list[int]] = [[] for _ in seen.user]
        for place, number in enumerate(seen.window.tolist()):
            members[number].append(place)
        with torch.random.fork_rng():
            torch.manual_seed(f.seed)
            module = Coupler(e.shape[1], self.like.cpu(), self.shape, f.seed)
            module.begin(torch.from_numpy(table[seen.pair]), pairs.user[seen.pair], members)
        self.module = module.to(self.like.device).train()
        past = other_choices(people, f.contexts * f.window, f.seed)
        return [Given(past=p.tolist(), window=windows(pairs, p, f.window).tolist()) for p in past]

    def batch(self, examples: Sequence[Mapping[str, Any]], mixed: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return the estimates of the past, their windows and which are there; none again if ``mixed``."""
        nothing: list[list[int]] = [[] for _ in examples] if mixed else []
        past, there = right_padded([*(e["past"] for e in examples), *nothing], 0)
        window, _ = right_padded([*(e["window"] for e in examples), *nothing], 0)
        if not past.shape[1]:
            past, there, window = (torch.zeros(len(past), 1, dtype=torch.int64) for _ in range(3))
        return self.estimates[past.long()], window.long(), there.bool()

    def arrays(self) -> dict[str, Floats]:
        """Return what was learned that users share."""
        if self.learned is None:
            assert self.module is not None
            self.learned = self.module.arrays()
        return self.learned._asdict()

    def take(self, arrays: Mapping[str, Floats]) -> None:
        """Put back what :meth:`arrays` gave."""
        self.learned = Arrays(**arrays)

    def condense(self, people: Population, model: Softened, sequences: Sequences, pad: int) -> Floats:
        """Return counts of codes, float64 [users, K], of each user's latest windows."""
        del model, sequences, pad
        return self.counts(people)

    def counts(self, people: Population) -> Floats:
        """Return counts of codes, float64 [users, K], of each user's latest windows."""
        f, learned = self.fields, Arrays(**self.arrays())
        out = np.zeros((people.n_users, self.numbers))
        seen = decided(people, f.contexts * f.window, f.window)
        if len(seen.pair):
            e = self.reader.estimates(people, seen.pair)
            codes = learned.nearest(learned.windows(e, seen.window, len(seen.user)))
            np.add.at(out, (seen.user, codes), 1.0)
        return out

    def soft(self, vectors: Floats) -> Soft:
        """Return the soft tokens of what is kept of users, float [rows, numbers]."""
        learned = Arrays(**self.arrays())
        codes = [learned.codes[np.repeat(np.arange(len(row)), row.astype(np.int64))] for row in vectors]
        tokens, there = learned.soft(codes)
        device = self.like.device
        return Soft(tokens.to(device), None if there is None else there.to(device))

    def check(self, people: Population) -> None:
        """Say so if the codebook has collapsed.

        Raises:
            MethodError: If fewer than two codes are in use where many could be.
        """
        perplexity, dead, seen = usage(self.counts(people))
        pairs = people.pairs
        distinct = np.unique(np.stack([pairs.winner, pairs.loser]), axis=1).shape[1]
        if collapsed((0, perplexity, dead, seen, distinct), self.numbers):
            raise MethodError(
                f"the codebook collapsed: {seen:,} windows of the training users fall on codes of perplexity "
                f"{perplexity:.2f}, below 2 ({dead} of {self.numbers} not in use); lower soft_lr or "
                "commitment, or raise revive; if these people do not differ, codes=2 says so without an error"
            )
