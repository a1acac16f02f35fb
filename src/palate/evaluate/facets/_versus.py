"""What a method that keeps words is compared with: its own baseline, or else the control."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.catalogue import find
from palate.core import ConfigError
from palate.evaluate.facets._people import People

__all__ = ["baseline"]


def baseline(people: People, method: str) -> tuple[str, NDArray[np.floating[Any]] | None]:
    """Return the name of what a method must beat and its accuracy float64 [users], None where it failed.

    For a method that asks a judge it is the judge without a persona: what the persona itself adds. Where that
    was not run by itself, it is the method's own answer before any choice of the user was seen.
    """
    try:
        name = find(method).baseline
    except ConfigError:
        name = people.section.control
    outcomes = people.section.outcomes
    if name == people.section.control:
        return name, people.control
    if name in outcomes:
        return name, people.accuracy(outcomes[name].applied)
    if 0 in outcomes[method].curve:
        return name, people.accuracy(outcomes[method].curve[0])
    return people.section.control, people.control
