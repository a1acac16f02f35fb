"""What a world's fields may be; an impossible one is told with its cure."""

from collections.abc import Mapping, Sequence
from math import isfinite
from numbers import Integral, Real
from typing import Any

from palate.core import ConfigError
from palate.feedback.world_answers import ANSWERS, AXES

__all__ = ["check_world", "impossible"]

_WHOLE = {"users": 1, "pairs": 0, "targets": 0, "episodes": 1, "seed": 0}
_AMOUNTS = ("strength", "spread", "shared", "drift", "noise")
_KINDS = ("pairs", "ratings", "nway")


def impossible(field: str, seen: object, expected: str, cure: str) -> ConfigError:
    """Return the error for a field: what was seen, what was expected, what mends it."""
    return ConfigError(f"World.{field} is {seen!r}, expected {expected}: {cure}")


def check_world(world: Mapping[str, Any], tastes: Sequence[str]) -> None:
    """Check the fields of a world.

    Args:
        world: The fields by name.
        tastes: The names that tastes may have.

    Raises:
        ConfigError: At the first field that is impossible.
    """
    _check_numbers(world)
    _check_rows(world)
    _check_tastes(world, tastes)


def _check_numbers(world: Mapping[str, Any]) -> None:
    for name, least in _WHOLE.items():
        value = world[name]
        if not _is_whole(value) or value < least:
            cure = f"set {name}={max(least, 1)} or more"
            raise impossible(name, value, f"a whole number, {least} or more", cure)
    for name in _AMOUNTS:
        value = world[name]
        if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value) or value < 0:
            raise impossible(name, value, "a finite number, 0 or more", f"set {name}=0 to leave it out")
    if world["noise"] > 1:
        raise impossible("noise", world["noise"], "a share from 0 to 1", "for 5 percent write 0.05")


def _check_rows(world: Mapping[str, Any]) -> None:
    rows, episodes = world["pairs"] + world["targets"], world["episodes"]
    if rows < 1:
        raise impossible("pairs", world["pairs"], "pairs + targets of 1 or more", "set pairs=30, targets=20")
    if episodes > rows:
        raise impossible("episodes", episodes, f"at most one a row, {rows}", f"set episodes={rows} or fewer")
    kind, options = world["kind"], world["options"]
    if kind not in _KINDS:
        raise impossible("kind", kind, f"one of {', '.join(_KINDS)}", "set kind='pairs'")
    most = 2 if kind == "pairs" else ANSWERS
    if not _is_whole(options) or not 2 <= options <= most:
        cure = "kind='nway' offers more than two" if kind == "pairs" else f"a prompt has {ANSWERS} answers"
        raise impossible("options", options, f"from 2 to {most} for kind {kind!r}", cure)
    names = [axis.name for axis in AXES]
    if isinstance(world["differ"], str) or not set(world["differ"]) <= set(names):
        raise impossible("differ", world["differ"], f"some of {', '.join(names)}", "give a tuple of names")


def _check_tastes(world: Mapping[str, Any], known: Sequence[str]) -> None:
    tastes, mixture = world["tastes"], world["mixture"]
    if _is_whole(tastes):
        count = int(tastes)
    elif isinstance(tastes, tuple) and set(tastes) <= set(known):
        count = len(tastes)
    else:
        raise impossible("tastes", tastes, f"a number or some of {', '.join(known)}", "give a tuple of names")
    if count < 1:
        raise impossible("tastes", tastes, "one taste or more", "set tastes=4 to generate four")
    if mixture and len(mixture) != count:
        cure = "set mixture=() for equal shares"
        raise impossible("mixture", mixture, f"{count} shares, one a taste", cure)
    if mixture and not (min(mixture) >= 0 and abs(sum(mixture) - 1) < 1e-6):
        raise impossible("mixture", mixture, "shares of 0 or more that sum to 1", "divide each by their sum")


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
