"""Checks of a method's configuration and of its fitting."""

import json
from dataclasses import fields, replace
from typing import Any

import numpy as np

from palate.checks.subject import ODD, Check, Subject, WrongError, ask, check_of, gap, people, raises, that
from palate.core import (
    ConfigError,
    Feedback,
    History,
    MethodError,
    NotFitted,
    Persona,
    Population,
    as_conversation,
)

__all__ = [
    "CHECKS",
    "check_clone",
    "check_config_is_json",
    "check_config_rebuilds",
    "check_fit_leaves_fields",
    "check_no_mutable_defaults",
    "check_not_fitted",
    "check_nothing_to_learn",
    "check_refit",
    "check_seeded",
    "check_small_populations",
]


@check_of("make every field a plain JSON value or a tuple of them, and give the class a `name`")
def check_config_is_json(subject: Subject) -> None:
    """The configuration is plain values, and the method has a name."""
    method = subject.make()
    that(isinstance(getattr(method, "name", None), str) and bool(method.name), "the method has no name")
    json.dumps(method.config, allow_nan=False)


@check_of("let `config` hold exactly the constructor's arguments")
def check_config_rebuilds(subject: Subject) -> None:
    """A method built from its configuration, by way of JSON, learns the same."""
    method = subject.make()
    values = {k: _tuples(v) for k, v in json.loads(json.dumps(method.config)).items()}
    again = type(method)(**values)
    that(again.config == method.config, f"rebuilt from {method.config} it is {again.config}")
    again.fit(subject.population)
    that(
        again.fingerprint == subject.fitted.fingerprint, "rebuilt from its configuration it learns otherwise"
    )


@check_of("use tuples and plain values as defaults; keep caches in private fields with init=False")
def check_no_mutable_defaults(subject: Subject) -> None:
    """No field holds a value that one method could change under another."""
    method = subject.make()
    for field in fields(method):  # type: ignore[arg-type]
        if field.init:
            value = getattr(method, field.name)
            that(_hashable(value), f"field {field.name} holds a {type(value).__name__}, which can be changed")


@check_of("write what is learned to attributes that end in _, never to a field")
def check_fit_leaves_fields(subject: Subject) -> None:
    """Fitting changes no field and adds only names that end in ``_``."""
    method = subject.make()
    before, names = json.dumps(method.config), set(vars(method))
    method.fit(subject.population)
    that(json.dumps(method.config) == before, f"fit changed the fields {before} to {method.config}")
    added = {name for name in set(vars(method)) - names if not name.endswith("_") and name[0] != "_"}
    that(not added, f"fit added the attributes {sorted(added)}")


@check_of("do not override `clone` without copying every field, and leave learned state behind")
def check_clone(subject: Subject) -> None:
    """A clone has the same configuration, is not fitted, and takes changes of known fields only."""
    method = subject.fitted
    copy = method.clone()
    that(copy.config == method.config, f"the clone's configuration is {copy.config}, not {method.config}")
    raises(NotFitted, lambda: copy.adapt(History("nobody")), "adapting with the clone of a fitted method")
    copy.fit(people(seed=2))
    fresh = subject.make().fit(people(seed=2))
    that(copy.fingerprint == fresh.fingerprint, "a clone fitted on other people is not like a new method")
    numbers = [k for k, v in method.config.items() if type(v) is int]
    for name in numbers[:1]:
        changed = method.clone(**{name: method.config[name] + 1})
        that(changed.config[name] == method.config[name] + 1, f"clone({name}=...) did not change {name}")
    raises(ConfigError, lambda: method.clone(no_such_field=1), "clone(no_such_field=1)")


@check_of(
    "do not override `adapt_batch`, `score_batch` or `fingerprint` without calling `_check_fitted` first"
)
def check_not_fitted(subject: Subject) -> None:
    """Use before fit is refused."""
    method, persona = subject.make(), Persona()
    raises(NotFitted, lambda: method.adapt(History("nobody")), "adapting before fit")
    raises(NotFitted, lambda: method.score(persona, "Hi", ["a", "b"]), "scoring before fit")
    raises(NotFitted, lambda: method.fingerprint, "the fingerprint before fit")


@check_of("let the base class's `fit` refuse what has no choice")
def check_nothing_to_learn(subject: Subject) -> None:
    """Fitting on people without choices is refused."""
    silent = Population.of([History("ann"), History("bob")])
    raises(MethodError, lambda: subject.make().fit(silent), "fitting on users without a choice")


@check_of("draw every random number from a generator made from the `seed` field")
def check_seeded(subject: Subject) -> None:
    """Equal seeds give equal models and equal predictions."""
    again = subject.make().fit(people())
    that(again.fingerprint == subject.fitted.fingerprint, "two fits on equal people have other fingerprints")
    ours, theirs = (m.score_batch(ask(m, subject)) for m in (subject.fitted, again))
    that(np.array_equal(ours, theirs), f"two fits on equal people differ by {gap(ours, theirs)} log-odds")


@check_of("set every learned attribute anew in `_learn`")
def check_refit(subject: Subject) -> None:
    """A second fit forgets the first."""
    method = subject.make().fit(people(seed=2))
    method.adapt_batch(subject.readers)
    method.fit(subject.population)
    that(method.fingerprint == subject.fitted.fingerprint, "a refit is not the same as a first fit")


@check_of("let `_learn` do with few users: no validation user, no choice in a role, ties alone")
def check_small_populations(subject: Subject) -> None:
    """One user, two users, users without choices, ties alone, odd texts: it learns and scores stay finite."""
    rows = list(people(users=2, rows=6))
    ann, bob = rows[0], rows[1]
    ties = History("tom", tuple(replace(f, user="tom", chosen=None, id=f"t{f.id}") for f in ann.feedback))
    odd = [
        Feedback("oda", as_conversation("Hi 🦜"), (ODD[i], ODD[(i + 1) % len(ODD)]), i % 2, f"o{i}")
        for i in range(len(ODD))
    ]
    silent = [History("sue"), History("sid")]
    for name, few in {
        "one user": [ann],
        "two users": [ann, bob],
        "one user, and two without choices": [ann, *silent],
        "two users without choices, and one": [*silent, ann],
        "one choice": [replace(ann, feedback=ann.feedback[:1])],
        "ties alone": [ties],
        "two users, and one with ties alone": [ann, bob, ties],
        "odd texts": [History("oda", tuple(odd)), ann],
    }.items():
        try:
            method = subject.make().fit(Population.of(few))
            scores = method.score_batch(ask(method, subject))
        except Exception as error:
            raise WrongError(f"fitting on {name} raised {type(error).__name__}: {error}") from error
        that(bool(np.isfinite(scores).all()), f"fitted on {name} it gives scores that are not finite")


CHECKS: tuple[Check, ...] = (
    check_config_is_json,
    check_config_rebuilds,
    check_no_mutable_defaults,
    check_fit_leaves_fields,
    check_clone,
    check_not_fitted,
    check_nothing_to_learn,
    check_seeded,
    check_refit,
    check_small_populations,
)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
