"""A method's name to its class, imported on first use; methods of other packages join by entry point.

A package adds its own with, in its ``pyproject.toml``:

    [project.entry-points."palate.methods"]
    my-method = "my_package.my_module:MyMethod"
"""

import dataclasses
import difflib
import json
import zlib
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from palate.core import ConfigError, Method, MissingExtra, StorageError

__all__ = ["available", "build", "describe", "find", "load", "names"]

_OURS = {
    "random": "palate.reward.bt:Random",
    "pooled": "palate.reward.bt:Pooled",
    "individual": "palate.reward.bt:Individual",
    "conditional": "palate.reward.bt:Conditional",
    "similar-user": "palate.reward.similar:SimilarUser",
    "fine-tune": "palate.reward.fine_tune:FineTune",
    "lore": "palate.reward.lore:LoRe",
    "pal": "palate.reward.pal:PAL",
    "prm": "palate.reward.prm:PRM",
    "vpl": "palate.reward.vpl:VPL",
    "gpo": "palate.reward.gpo:GPO",
    "epipersona-b": "palate.reward.epipersona_b:EpiPersonaB",
    "mixed": "palate.reward.mixed:Mixed",
    "style": "palate.persona.style:Style",
    "default": "palate.persona.default:Default",
    "demographics": "palate.persona.default:Demographics",
    "memory": "palate.persona.memory:Memory",
    "retrieval": "palate.persona.retrieval:Retrieval",
    "pi": "palate.persona.pi:PI",
    "rm-persona": "palate.persona_reward:PersonaReward",
    "synthesizeme": "palate.persona.synthesizeme:SynthesizeMe",
    "popi": "palate.tune.popi:Popi",
    "user-embedding": "palate.tune.embedded:UserEmbedding",
    "pt": "palate.tune.pt:PT",
    "epipersona-a": "palate.tune.epipersona_a:EpiPersonaA",
    "reward-lm": "palate.tune.reward_lm:RewardLM",
}


_EXTRAS = {
    "torch": "located",
    "vector_quantize_pytorch": "located",
    "trl": "tune",
    "peft": "tune",
    "datasets": "tune",
    "transformers": "tune",
    "accelerate": "tune",
}


@lru_cache(maxsize=1)
def _known() -> dict[str, str]:
    outside = {entry.name: entry.value for entry in entry_points(group="palate.methods")}
    return {**outside, **_OURS}


def names() -> list[str]:
    """Return the names of all registered methods.

    >>> "mixed" in names()
    True
    """
    return list(_OURS) + sorted(set(_known()) - set(_OURS))


def available() -> dict[str, str]:
    """Return the name of every registered method, with what it still needs, "" if it can be used.

    >>> available()["mixed"]
    ''
    """
    found = {}
    for name in names():
        try:
            find(name)
            found[name] = ""
        except (ImportError, MissingExtra) as error:
            found[name] = str(error)
    return found


def find(name: str) -> type[Method]:
    """Return a method's class. What follows a colon names a variant: ``retrieval:k=1`` is ``retrieval``.

    Raises:
        ConfigError: If no method has that name.
        MissingExtra: If it needs packages that are not installed.
    """
    known = _known()
    name = name.partition(":")[0]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"there is no method {name!r}{hint} Known: {', '.join(names())}")
    module, _, attribute = known[name].partition(":")
    try:
        found: type[Method] = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        raise MissingExtra(f"the method {name}", _EXTRAS[error.name], error.name) from error
    for package in found.packages:
        if find_spec(package) is None:
            raise MissingExtra(f"the method {name}", _EXTRAS[package], package)
    return found


def build(name: str, fields: Mapping[str, Any] | None = None, **common: Any) -> Method:
    """Make a method from its name and fields; ``common`` fields are set only where the method has them.

    Raises:
        ConfigError: If the name or a field does not exist.

    >>> build("mixed", {"rank": 2}, encoder="lexical").rank
    2
    """
    cls = find(name)
    has = {field.name for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    unknown = set(fields or {}) - has
    if unknown:
        raise ConfigError(f"{name} has no field {sorted(unknown)}; it has {sorted(has)}")
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in (fields or {}).items()}
    return cls(**{**{k: v for k, v in common.items() if k in has}, **given})


def load(folder: str | Path) -> Method:
    """Read a model that ``Method.save`` wrote.

    Raises:
        StorageError: If the folder holds no model, or one of another version.
    """
    path = Path(folder)
    try:
        head = json.loads((path / "model.json").read_text(encoding="utf-8"))
        method = _empty(path, head)
        if head["version"] != method.version:
            raise StorageError(
                f"{path} was saved by version {head['version']} of {head['method']}, this is version "
                f"{method.version}: fit it again with `palate fit`"
            )
        return method.restore(path, head)
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile, zlib.error) as error:
        raise StorageError(f"{path} holds no model that `palate fit` wrote: {error}") from error


def _empty(path: Path, head: Mapping[str, Any]) -> Method:
    if head["method"] == "gate":
        from palate.gate import Gate

        inner = {key: load(path / key) for key in ("method", "control")}
        return Gate(**inner, folds=head["config"]["folds"])
    return build(head["method"], head["config"])


def describe() -> list[tuple[str, str, str, str]]:
    """Return, for every method, its name, what it does, its source, and what it needs.

    A method whose packages are missing is listed with what to install.
    """
    lines = []
    for name, missing in available().items():
        if missing:
            lines.append((name, "", "", missing))
            continue
        cls = find(name)
        summary = (cls.__doc__ or "").strip().split("\n")[0]
        lines.append((name, summary, cls.paper or "-", getattr(cls, "needs", "") or "base install"))
    return lines
