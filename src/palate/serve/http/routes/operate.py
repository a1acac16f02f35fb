"""What an operator sees and sets: the model, the pool, the people, the server's state."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from sqlalchemy import Connection
from starlette.responses import Response

from palate import __version__
from palate.serve.http.answers import FAULTS, Route, answer
from palate.serve.http.caller import Caller, need
from palate.serve.http.faults import Refusal
from palate.serve.http.server import Here
from palate.serve.store import audit, jobs, people, pool
from palate.serve.wire.lists import OfferShown, PoolAdded, PoolPage
from palate.serve.wire.operate import ModelShown, NewModel, People, Pooled, State
from palate.serve.wire.texts import Line

__all__ = ["router"]

router = APIRouter(route_class=Route, responses=FAULTS, tags=["operate"])
Admin = Annotated[Caller, Depends(need("admin"))]
Operator = Annotated[Caller, Depends(need("operator"))]


@router.get("/v1/model", response_model=ModelShown)
def model(caller: Operator, here: Here) -> Response:
    """Say which model is served, and how far personas are behind it."""
    return answer(here.keeper.model(caller.tenant))


@router.put("/v1/model", response_model=ModelShown, status_code=202)
def swap_model(body: NewModel, caller: Operator, here: Here) -> Response:
    """Serve another model from now on, without dropping a request; personas follow in the background."""
    folder = here.settings.folder_below_root(body.folder)
    here.keeper.swap(folder)
    here.store.write(
        lambda c: audit.note(c, caller.tenant, caller.key_id, "model.swapped", None, body.folder)
    )
    return answer(here.keeper.model(caller.tenant), 202)


@router.get("/v1/pool", response_model=PoolPage)
def pool_page(
    caller: Admin,
    here: Here,
    after: Annotated[Line | None, Query(description="The id to go on after.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """List the pairs that may be shown to users."""
    with here.store.read() as c:
        rows = pool.page(c, caller.tenant, after or "", limit + 1)
        total = pool.count(c, caller.tenant)
    offers = [OfferShown(id=id, **body) for id, body in rows[:limit]]
    return answer(PoolPage(offers=offers, total=total, next=offers[-1].id if len(rows) > limit else None))


@router.post("/v1/pool", response_model=PoolAdded, status_code=201)
def add_to_pool(body: Pooled, caller: Admin, here: Here) -> Response:
    """Add pairs that may be shown to users; one with the id of another takes its place."""

    def add(c: Connection) -> PoolAdded:
        ids = pool.add(c, caller.tenant, [offer.model_dump(mode="json") for offer in body.offers])
        audit.note(c, caller.tenant, caller.key_id, "pool.added", None, str(len(ids)))
        return PoolAdded(ids=ids, total=pool.count(c, caller.tenant))

    return answer(here.store.write(add), 201)


@router.delete("/v1/pool/{id:name}", status_code=204, response_class=Response)
def remove_from_pool(id: Line, caller: Admin, here: Here) -> Response:
    """Take a pair out of the pool."""

    def remove(c: Connection) -> int:
        count = pool.remove(c, caller.tenant, id)
        if count:
            audit.note(c, caller.tenant, caller.key_id, "pool.removed", None, "")
        return count

    if not here.store.write(remove):
        raise Refusal(404, "not_found", "the pool has no such pair", "id")
    return Response(status_code=204)


@router.get("/v1/people", response_model=People)
def people_map(caller: Annotated[Caller, Depends(need("read"))], here: Here) -> Response:
    """Draw the map of users: where personas lie, which groups they form, whom they help and harm."""
    if caller.user is not None:
        raise Refusal(403, "forbidden", "this token reaches the data of its own user alone")
    here.audit.read(caller, "people.read")
    return answer(here.keeper.people(caller.tenant, True))


@router.get("/v1/state", response_model=State)
def state(caller: Operator, here: Here) -> Response:
    """Say what the server is doing."""
    with here.store.read() as c:
        users, choices = people.totals(c)
        waiting, failed = jobs.counts(c)
    return answer(
        State(
            version=__version__,
            started=here.started,
            database=here.store.backend,
            users=users,
            choices=choices,
            waiting=waiting,
            failed=failed,
            model=here.keeper.model(caller.tenant),
            requests=here.metrics.requests(),
        )
    )
