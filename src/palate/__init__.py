"""Palate learns each person's taste from the choices they make between answers, and tests what it learned.

from palate import Gate, build, new_users, read

task = new_users("mine", read("choices.jsonl").population)
model = Gate(method=build("mixed"), control=build("pooled")).fit(task.fit_on)
persona = model.adapt(history)            # a value: vector, words, provenance, verdict
model.score(persona, "Plan my week", ["First answer", "Second answer"])    # log-odds
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Feedback": "core",
    "Gate": "gate",
    "History": "core",
    "Persona": "core",
    "Population": "core",
    "Query": "core",
    "World": "feedback.world",
    "build": "catalogue",
    "load": "catalogue",
    "new_users": "evaluate.protocol",
    "read": "feedback",
    "seen_users": "evaluate.protocol",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that ``import palate`` stays light."""
    if name not in _HOME:
        raise AttributeError(f"palate has no {name!r}; it has {', '.join(_HOME)}")
    return getattr(import_module(f"palate.{_HOME[name]}"), name)
