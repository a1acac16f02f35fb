"""Recipes: one file a setting of a paper, with what it needs, how long it takes, and what it should give.

A recipe is a method's name and its fields, ready for ``palate fit DATA --recipe NAME``, alone or under
``accelerate launch``. Hours are estimates, counted and not measured:

    FLOPs = 2 N (tokens read + 2 tokens learned from)      N parameters; twice as much again for the way back
    hours = FLOPs / (share * peak)                         40 % of an H100's 989 TFLOP/s in bfloat16
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from palate.core import ConfigError

__all__ = ["Recipe", "load_recipe", "recipes"]

_KEYS = {"title", "source", "method", "fields", "data", "needs", "hours", "published"}


@dataclass(frozen=True)
class Recipe:
    """One setting.

    Attributes:
        name: What it is called.
        title: What it does.
        source: Paper and table.
        method: Name of the method.
        fields: Its fields.
        data: How the paper's data is named, for ``palate fit``.
        needs: What machine it needs.
        hours: How long it should take there, estimated.
        published: What the paper reports.
    """

    name: str
    title: str
    source: str
    method: str
    data: str
    needs: str
    hours: str
    published: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@cache
def recipes() -> dict[str, Recipe]:
    """Return the recipes that come with Palate, by name.

    >>> recipes()["popi-elix"].method
    'popi'
    """
    folder = files("palate.tune") / "recipes"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".yaml"))
    return {
        name.removesuffix(".yaml"): _read(name.removesuffix(".yaml"), (folder / name).read_text("utf-8"))
        for name in names
    }


def load_recipe(name: str) -> Recipe:
    """Return a recipe by its name, or from a file of one's own.

    Raises:
        ConfigError: If there is none, or the file holds something else.
    """
    if name in recipes():
        return recipes()[name]
    path = Path(name)
    if not path.is_file():
        raise ConfigError(
            f"there is no recipe {name!r}; there are {', '.join(recipes())}, or name a YAML file"
        )
    try:
        return _read(path.stem, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _read(name: str, text: str) -> Recipe:
    import yaml

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the recipe {name} is no YAML: {error}") from error
    if not isinstance(values, dict) or not {"method", "fields"} <= set(values):
        raise ConfigError(f"the recipe {name} needs a method and its fields; see those of `palate recipes`")
    unknown = set(values) - _KEYS
    if unknown:
        raise ConfigError(f"the recipe {name} has {sorted(unknown)}; a recipe has {sorted(_KEYS)}")
    words = {key: str(values.get(key, "")) for key in _KEYS - {"fields"}}
    return Recipe(name, fields=values["fields"] or {}, **words)
