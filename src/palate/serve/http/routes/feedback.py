"""Choices on their way in, one or many, and what is kept of them."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Body, Depends, Query
from pydantic import Discriminator, Tag, ValidationError
from sqlalchemy import Connection
from starlette.responses import Response

from palate.serve.http.answers import FAULTS, Route, answer
from palate.serve.http.caller import Caller, Reader, Visit, need, own, own_user
from palate.serve.http.faults import Refusal, trouble_of, unknown_user
from palate.serve.http.hot import Hot
from palate.serve.http.server import Here, Server
from palate.serve.store import audit, choices, people
from palate.serve.store.choices import Kept
from palate.serve.store.faults import ConflictError
from palate.serve.wire.feedback import Accepted, Choice, Choices, ChoicesPage, Refused, Told
from palate.serve.wire.operate import Fault
from palate.serve.wire.texts import Key

__all__ = ["kept", "router"]

router = APIRouter(route_class=Hot, responses=FAULTS, tags=["feedback"])
kept = APIRouter(route_class=Route, responses=FAULTS, tags=["feedback"])
_KEPT = {"conversation", "responses", "chosen", "ratings", "reason", "source"}


def _kind(value: Any) -> str:
    return "Choices" if isinstance(value, dict) and "choices" in value else "Choice"


OneOrMany = Annotated[
    Annotated[Choice, Tag("Choice")] | Annotated[Choices, Tag("Choices")], Discriminator(_kind), Body()
]
_REFUSED: dict[int | str, dict[str, Any]] = {
    422: {"model": Told | Fault, "description": "Every row was refused, or the body cannot be read."}
}


@router.post("/v1/feedback", response_model=Told, responses=_REFUSED)
async def feedback(
    body: OneOrMany, caller: Annotated[Caller, Depends(need("feedback"))], here: Here
) -> Response:
    """Keep one choice, or many under ``choices``. The answer comes once they are kept durably.

    Each row is taken or refused by itself. A row that was kept before under its key is told as replayed; the
    same key with another choice is refused. Personas reflect what is kept from the next request on.
    """
    rows, refused = (
        ([(0, body)], []) if isinstance(body, Choice) else await here.aside(_checked, body.choices)
    )
    for _, row in rows:
        own_user(caller, row.user)
    accepted, conflicts = await _keep(here, caller.tenant, rows)
    if conflicts and isinstance(body, Choice):
        raise Refusal(409, "conflict", conflicts[0].message, "key")
    refused = sorted([*refused, *conflicts], key=lambda row: row.index)
    replayed = sum(row.replayed for row in accepted)
    here.metrics.choices(len(accepted) - replayed, replayed, len(refused))
    return answer(Told(accepted=accepted, refused=refused), 200 if accepted else 422)


def _checked(rows: Sequence[dict[str, object]]) -> tuple[list[tuple[int, Choice]], list[Refused]]:
    good, bad = [], []
    for index, row in enumerate(rows):
        try:
            good.append((index, Choice.model_validate(row)))
        except ValidationError as error:
            field, message = trouble_of(error.errors(include_url=False, include_input=False))
            bad.append(Refused(index=index, field=_sendable(field), message=_sendable(message)))
    return good, bad


async def _keep(
    here: Server, tenant: str, rows: Sequence[tuple[int, Choice]]
) -> tuple[list[Accepted], list[Refused]]:
    if not rows:
        return [], []
    sent = [
        Kept(row.user, row.key or uuid4().hex, row.model_dump(mode="json", include=_KEPT), row.time)
        for _, row in rows
    ]
    added = await asyncio.wrap_future(here.store.submit(lambda c: choices.add(c, tenant, sent)))
    good, bad = [], []
    for (index, row), one, told in zip(rows, sent, added, strict=True):
        if isinstance(told, ConflictError):
            bad.append(Refused(index=index, field="key", message=str(told)))
        else:
            good.append(
                Accepted(index=index, user=row.user, key=one.key, number=told.number, replayed=told.replayed)
            )
    return good, bad


@kept.get("/v1/users/{user:name}/choices", response_model=ChoicesPage)
def choices_of(
    visit: Reader,
    here: Here,
    before: Annotated[int | None, Query(ge=1, le=2**62, description="The number to go on before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Read what is kept of a user's choices, latest first."""
    with here.store.read() as c:
        if people.state(c, visit.tenant, visit.user) is None:
            raise unknown_user(visit.user)
        page = choices.page(c, visit.tenant, visit.user, before, limit)
    here.audit.read(visit.caller, "choices.read", visit.user)
    return answer(page)


@kept.delete("/v1/users/{user:name}/choices/{key:name}", status_code=204, response_class=Response)
def delete_choice(key: Key, visit: Annotated[Visit, Depends(own("edit"))], here: Here) -> Response:
    """Delete one choice; the persona is made anew without it."""

    def remove(c: Connection) -> bool:
        found = choices.remove(c, visit.tenant, visit.user, key)
        if found:
            audit.note(c, visit.tenant, visit.caller.key_id, "choice.deleted", visit.user, "")
        return found

    if not here.store.write(remove):
        raise Refusal(404, "not_found", "no choice is kept under this key", "key")
    return Response(status_code=204)


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()[:500]
