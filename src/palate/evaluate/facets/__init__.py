"""The facets of the evaluation, one file each: what personalization really does to people.

A facet is a module with

    NAME, TITLE, VERSION        its key in ``report.json``; its heading; raised when its figures change
    measure(sections)           from all sections of a run to a list of plain values (dicts), one a picture;
                                each with ``dataset``, ``protocol`` and ``encoder`` beside its own keys
    tell(value)                 one sentence that says what it means, from one of those values
    draw(value)                 a picture as HTML (inline SVG), from one of those values, or ""

and, where it needs the fitted model itself,

    probe(method, personas, task)   arrays by name, kept with the cell as ``NAME.key`` in ``Outcome.extra``;
                                    one with a fourth argument, ``encoder``, is handed the cell's

A value starts with ``{**section.place, ...}`` (:class:`~palate.evaluate.measured.Measured`): its protocol
holds the size, ``seen-users:1000``. A value over several sizes has the protocol alone, ``seen-users``, and
is shown with the largest. A value may have a ``title`` of its own. ``probe`` is asked of every method, the
control too; ``personas`` are those of ``task.context``, and ``task.context`` is all it may adapt on. A probe
that asks a language model asks the method's own, a bounded number of times; where no model can be asked any
more (:class:`~palate.core.ModelError`: the budget is spent, the endpoint is down) the cell stops, to be run
again from the answers that were kept.

``report.json`` holds the values; the page and the terminal tell and draw from them alone.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import signature
from math import isfinite
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from palate.core import ModelError
from palate.evaluate.faults import explain

if TYPE_CHECKING:
    from palate.core import Method, Personas
    from palate.evaluate.measured import Measured
    from palate.evaluate.protocol import Task

__all__ = ["ORDER", "draw", "measure_all", "probe_all", "registered", "versions"]

ORDER = (
    "characteristics",
    "adaptation",
    "episodes",
    "scarcity",
    "window",
    "minorities",
    "harm",
    "seen",
    "seeds",
    "tax",
    "match",
    "reasons",
    "alone",
    "salience",
    "clusters",
    "map",
    "transfer",
    "writing",
    "calls",
)


def registered() -> list[ModuleType]:
    """Return the facets' modules in the order in which they are shown; each is imported on first use."""
    found = []
    for name in ORDER:
        try:
            found.append(import_module(f"{__name__}.{name}"))
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    return found


def versions() -> list[tuple[str, int]]:
    """Return name and version of every facet that probes: what a cell's extra arrays depend on."""
    return [(facet.NAME, facet.VERSION) for facet in registered() if hasattr(facet, "probe")]


def probe_all(
    method: "Method", personas: "Personas", task: "Task", encoder: str = "lexical"
) -> tuple[dict[str, Any], dict[str, str]]:
    """Ask every facet's probe; return arrays by ``NAME.key``, and by facet why a probe failed.

    Raises:
        ModelError: If a language model cannot be asked any more.
    """
    extra: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for facet in registered():
        if not hasattr(facet, "probe"):
            continue
        more = {"encoder": encoder} if "encoder" in signature(facet.probe).parameters else {}
        try:
            arrays = {
                f"{facet.NAME}.{key}": np.asarray(value)
                for key, value in facet.probe(method, personas, task, **more).items()
            }
            wrong = [key for key, array in arrays.items() if array.dtype.hasobject]
            if wrong:
                raise TypeError(f"{wrong} are arrays of objects, which are not kept; give numbers or text")
            extra |= arrays
        except ModelError:
            raise
        except Exception as error:  # a facet that fails never loses the cell
            faults[facet.NAME] = explain(error)
    return extra, faults


def measure_all(sections: Sequence["Measured"]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return every facet's values, each with ``facet``, ``title`` and ``sentence``; and by facet why not.

    Values are plain: numbers that are not finite become None.
    """
    values: list[dict[str, Any]] = []
    faults: dict[str, str] = {}
    for facet in registered():
        try:
            values += [
                {"facet": facet.NAME, "title": facet.TITLE, **plain, "sentence": str(facet.tell(plain))}
                for plain in (_plain(value) for value in facet.measure(sections))
            ]
        except Exception as error:  # a facet that fails never loses the report
            faults[facet.NAME] = explain(error)
    return values, faults


def draw(value: Mapping[str, Any]) -> str:
    """Return a value's picture as HTML, "" where its facet has none or is not known here."""
    facet = next((f for f in registered() if value.get("facet") == f.NAME), None)
    return "" if facet is None else str(facet.draw(value))


def _plain(value: Any) -> Any:
    """Return what JSON can hold."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value
