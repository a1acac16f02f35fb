"""Fitted models that were served, the active one last: how all workers learn of a swap."""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select

from palate.serve.store import clock
from palate.serve.store.schema import models

__all__ = ["KeptModel", "activate", "active", "listed"]


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A model that is or was served; the greatest ``number`` is active."""

    number: int
    fingerprint: str
    folder: str
    label: str
    activated: float


_ALL = select(
    models.c.number, models.c.fingerprint, models.c.folder, models.c.label, models.c.activated
).order_by(models.c.number.desc())
_SOME = _ALL.limit(bindparam("most"))
_INSERT = insert(models)


def activate(c: Connection, fingerprint: str, folder: str, label: str) -> KeptModel:
    """Make a model the active one, and return it; the model that is active already stays as it is."""
    now = active(c)
    if now and (now.fingerprint, now.folder, now.label) == (fingerprint, folder, label):
        return now
    row = {"fingerprint": fingerprint, "folder": folder, "label": label, "activated": clock.now()}
    c.execute(_INSERT, row)
    return KeptModel(*c.execute(_SOME, {"most": 1}).one())


def active(c: Connection) -> KeptModel | None:
    """Return the active model, or None before any."""
    row = c.execute(_SOME, {"most": 1}).first()
    return None if row is None else KeptModel(*row)


def listed(c: Connection, limit: int = 100) -> list[KeptModel]:
    """Return the models that were served, latest first."""
    return [KeptModel(*row) for row in c.execute(_SOME, {"most": limit})]
