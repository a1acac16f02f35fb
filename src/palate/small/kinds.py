"""What a cell of the study does, by the kind of its arm: make the people, fit, measure."""

from typing import TYPE_CHECKING, Any, cast

from palate.small.arms import build_arm
from palate.small.measure import measure
from palate.small.world import world

if TYPE_CHECKING:
    from palate.small.study import Cell, Plan
    from palate.tune.base import WritingMethod

__all__ = ["KINDS"]


def _writing(name: str, base: str, seed: int, **changes: Any) -> "WritingMethod":
    return cast("WritingMethod", build_arm(name, base, seed, **changes))


def written(plan: "Plan", cell: "Cell") -> dict[str, Any]:
    """Fit an arm and measure what it knows, writes, and tells other models."""
    from palate.small.study import base_folder

    people = world(plan.users, seed=cell.seed)
    own, other = (str(base_folder(plan, size)) for size in ("small", "other"))
    method = _writing(cell.arm, own, cell.seed).fit(people.population)
    teller = _writing("summary", own, cell.seed).fit(people.population)
    others = {
        "other": _writing("summary", other, cell.seed).fit(people.population),
        "own": teller,
        "second": _writing("summary", own, cell.seed, templates="small-second").fit(people.population),
    }
    found = measure(method, teller, people, others)
    return {**found, "curve": getattr(method, "curve_", []), "bounds": bounds(people)}


def bounds(people: Any) -> dict[str, float]:
    """Return accuracies that nobody can beat: who knows the taste, and who knows prior and context."""
    rows = (people.population.role[people.population.row_user] == 2) & (people.population.split == 1)
    return {
        name: float((getattr(people, name)[rows] > 0).mean())
        for name in ("oracle", "ideal", "persona_log_odds")
    }


KINDS = {"written": written}
"""What is done, by kind."""
