"""Requests of who runs a server: keys, the audit log, the model, the pool, the people, how it does."""

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

from palate.client.verb import Fill, route
from palate.serve.wire.lists import Health, PoolAdded, PoolPage, Whoami
from palate.serve.wire.operate import ModelShown, NewModel, People, Pooled, State
from palate.serve.wire.rights import AuditPage, KeyMade, KeyShown, NewKey, NewToken
from palate.serve.wire.use import Offer

__all__ = [
    "add_to_pool",
    "audit",
    "health",
    "keys",
    "make_key",
    "make_token",
    "metrics",
    "model",
    "people_map",
    "pool",
    "ready",
    "remove_from_pool",
    "revoke_key",
    "state",
    "swap_model",
    "whoami",
]


@route("GET /v1/whoami", Whoami)
def whoami() -> Fill:
    """Read who this key is: tenant, user, scopes."""
    return Fill()


@route("GET /v1/audit", AuditPage)
def audit(*, before: int | None = None, limit: int | None = None, user: str | None = None) -> Fill:
    """Read who read or changed what, latest first."""
    return Fill(query={"before": before, "limit": limit, "user": user})


@route("POST /v1/keys", KeyMade, again=False)
def make_key(
    label: str, scopes: Sequence[str], *, tenant: str | None = None, days: float | None = None
) -> Fill:
    """Make an API key; its secret is in the answer, this once."""
    body: dict[str, Any] = {"label": label, "scopes": list(scopes), "tenant": tenant}
    if days is not None:
        body["days"] = float(days)
    return Fill(body=NewKey.model_validate(body))


@route("GET /v1/keys", list[KeyShown])
def keys(*, user: str | None = None, after: str | None = None, limit: int | None = None) -> Fill:
    """List the keys, or a user's tokens, without their secrets."""
    return Fill(query={"user": user, "after": after, "limit": limit})


@route("DELETE /v1/keys/{id}", NoneType, again=False)
def revoke_key(id: str) -> Fill:
    """Revoke a key or a token."""
    return Fill({"id": id})


@route("POST /v1/tokens", KeyMade, again=False)
def make_token(user: str, scopes: Sequence[str] | None = None, *, days: float = 30.0) -> Fill:
    """Make a token that reaches one user alone; its secret is in the answer, this once."""
    body: dict[str, Any] = {"user": user, "days": float(days)}
    if scopes is not None:
        body["scopes"] = list(scopes)
    return Fill(body=NewToken.model_validate(body))


@route("GET /v1/model", ModelShown)
def model() -> Fill:
    """Read which model is served, and how far its personas are."""
    return Fill()


@route("PUT /v1/model", ModelShown)
def swap_model(folder: str) -> Fill:
    """Serve another fitted model from now on: a folder below the server's model root."""
    return Fill(body=NewModel(folder=folder))


@route("GET /v1/pool", PoolPage)
def pool(*, after: str | None = None, limit: int | None = None) -> Fill:
    """List the pairs that may be shown to users."""
    return Fill(query={"after": after, "limit": limit})


@route("POST /v1/pool", PoolAdded, again=False)
def add_to_pool(offers: Sequence[Offer | Mapping[str, Any]]) -> Fill:
    """Add pairs that may be shown to users."""
    made = [each if isinstance(each, Offer) else dict(each) for each in offers]
    return Fill(body=Pooled.model_validate({"offers": made}))


@route("DELETE /v1/pool/{id}", NoneType, again=False)
def remove_from_pool(id: str) -> Fill:
    """Take a pair out of the pool."""
    return Fill({"id": id})


@route("GET /v1/people", People)
def people_map() -> Fill:
    """Read the map of users: where personas lie, groups, whom they help and harm."""
    return Fill()


@route("GET /v1/state", State)
def state() -> Fill:
    """Read what the server is doing."""
    return Fill()


@route("GET /healthz", Health)
def health() -> Fill:
    """Ask whether the server is alive."""
    return Fill()


@route("GET /readyz", Health)
def ready() -> Fill:
    """Ask whether it can serve; :class:`ServerDown` where it cannot."""
    return Fill(again=False)


@route("GET /metrics", bytes)
def metrics() -> Fill:
    """Read the figures for Prometheus."""
    return Fill()
