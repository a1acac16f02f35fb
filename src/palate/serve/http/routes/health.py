"""Whether the server is alive and ready, and its figures: outside /v1, for machines that look after it."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from palate.core import PalateError
from palate.serve.http.answers import FAULTS, Route, answer
from palate.serve.http.caller import CALLER, Need
from palate.serve.http.server import Here, Server
from palate.serve.store import jobs, people
from palate.serve.wire.lists import Health

__all__ = ["router"]

router = APIRouter(route_class=Route, tags=["health"])
_FAULTS: dict[int | str, dict[str, Any]] = {
    status: FAULTS[status] for status in (401, 403, 414, 429, 431, 500, 503, 504)
}
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/healthz", response_model=Health)
async def health() -> Response:
    """Say that the process is alive; it says nothing about the database."""
    return answer(Health(status="alive"))


@router.get("/readyz", response_model=Health, responses={503: {"model": Health, "description": "Not ready."}})
def ready(here: Here) -> Response:
    """Say whether requests can be served: the database answers, and a model is loaded."""
    problems = []
    try:
        here.store.ready()
    except PalateError:
        problems.append("the database does not answer")
    if not here.keeper.ready:
        problems.append("no model is loaded")
    told = Health(status="not ready" if problems else "ready", problems=problems)
    return answer(told, 503 if problems else 200, {"Retry-After": "1"} if problems else None)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text."}, **_FAULTS},
)
def metrics(request: Request, here: Here) -> Response:
    """Tell the figures for Prometheus; with a key that has the scope ``operator``, unless they are open."""
    if not here.settings.open_metrics:
        Need("operator").check(request.scope[CALLER])
    return Response(here.metrics.text(lambda: _gauges(here)), media_type=_TEXT)


def _gauges(here: Server) -> Mapping[str, float]:
    try:
        with here.store.read() as c:
            users, choices = people.totals(c)
            waiting, failed = jobs.counts(c)
            behind = here.keeper.behind(c)
    except PalateError:
        return {}  # the database is away: the other figures are told all the same
    return {
        "users": users,
        "choices_kept": choices,
        "jobs_waiting": waiting,
        "jobs_failed": failed,
        "personas_behind": behind,
    }
