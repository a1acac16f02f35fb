"""What a person's correction does to predictions of their own choices, each predicted from the others."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.core import Method, MethodError, Pairs, Personas, Population, Revises
from palate.gate.gate import Gate
from palate.gate.held import WEIGHTS, Held, differences, evidence, fold_rows, without

__all__ = ["Margins", "held_margins"]

Floats = NDArray[np.floating[Any]]


class Margins(NamedTuple):
    """What a correction does to predictions of held-back choices.

    Attributes:
        pairs: The held-back pairs.
        before: float64 [pairs], the log-odds of each pair's winner as they are applied without it.
        after: The same with it.
    """

    pairs: Pairs
    before: Floats
    after: Floats

    @property
    def changed(self) -> int:
        """Number of choices (ties left out) of which another answer is predicted; a draw is an answer."""
        return int((np.sign(self.before) != np.sign(self.after))[self._decided].sum())

    @property
    def better(self) -> int:
        """Number of choices that are predicted with it, or are no longer missed."""
        return int((np.sign(self.after) > np.sign(self.before))[self._decided].sum())

    @property
    def worse(self) -> int:
        """Number of choices that are missed with it, or are no longer predicted."""
        return self.changed - self.better

    @property
    def _decided(self) -> NDArray[np.bool_]:
        return np.asarray(self.pairs.target == 1.0)


def held_margins(
    method: Method, population: Population, shifts: Mapping[str, float], *, weight: float | None = None
) -> Margins:
    """Say how a person's correction changes what is predicted of choices that were held back.

    Every choice is predicted from a persona made without it, as it is and revised.

    Args:
        method: Any method that revises, or a gate over one; a gate's log-odds are those that it applies.
        population: The histories of the users who correct, mostly of one.
        shifts: The correction, as in :meth:`palate.core.Revises.revise`.
        weight: How far a gate applies the persona, where the person said so; None goes by the evidence.

    Raises:
        MethodError: If the method cannot revise, or the shifts are refused.
    """
    inner = method.method if isinstance(method, Gate) else method
    if not isinstance(inner, Revises):
        raise MethodError(f"{method.label} has no statements that could be corrected: it cannot revise")
    control = method.control if isinstance(method, Gate) else None
    folds = method.folds if isinstance(method, Gate) else method.gate_folds
    pairs = population.pairs
    before, after, plain = np.zeros((3, len(pairs)))
    for part in without(population, fold_rows(population, folds)):
        personas = inner.adapt_batch(part.kept)
        revised = Personas.of([inner.revise(persona, shifts) for persona in personas])
        before[part.place] = differences(inner, personas, population, part.asked)
        after[part.place] = differences(inner, revised, population, part.asked)
        if control is not None:
            plain[part.place] = differences(control, control.adapt_batch(part.kept), population, part.asked)
    if not isinstance(method, Gate):
        return Margins(pairs, before, after)
    share = method.believed(evidence(Held(pairs, before, plain), population.n_users))
    applied = (share @ WEIGHTS if weight is None else np.full(population.n_users, weight))[pairs.user]
    return Margins(pairs, plain + applied * (before - plain), plain + applied * (after - plain))
