"""The person's rights, and who may call: export, erasure and receipts, the audit log, keys and tokens."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from sqlalchemy import Connection
from starlette.responses import Response

from palate.serve.http.answers import FAULTS, Route, answer
from palate.serve.http.caller import Anyone, Caller, Reader, Visit, need, own
from palate.serve.http.faults import Refusal, unknown_user
from palate.serve.http.server import Here
from palate.serve.store import audit, erase, keys
from palate.serve.wire.lists import Whoami
from palate.serve.wire.rights import AuditPage, Export, KeyMade, KeyShown, NewKey, NewToken, Receipt
from palate.serve.wire.texts import Line, Name

__all__ = ["router"]

router = APIRouter(route_class=Route, responses=FAULTS, tags=["rights"])
Admin = Annotated[Caller, Depends(need("admin"))]


@router.get("/v1/whoami", response_model=Whoami)
def whoami(caller: Anyone) -> Response:
    """Say who calls, and what the key may do."""
    told = Whoami(tenant=caller.tenant, user=caller.user, scopes=sorted(caller.scopes), key=caller.key_id)
    return answer(told)


@router.get("/v1/users/{user:name}/export", response_model=Export)
def export_user(visit: Reader, here: Here) -> Response:
    """Read all that is kept of a user."""
    with here.store.read() as c:
        kept = erase.export(c, visit.tenant, visit.user)
    if kept is None:
        raise unknown_user(visit.user)
    here.audit.read(visit.caller, "exported", visit.user)
    return answer(kept)


@router.delete("/v1/users/{user:name}", response_model=Receipt)
def erase_user(visit: Annotated[Visit, Depends(own("erase"))], here: Here) -> Response:
    """Delete a user everywhere, and return a receipt: what was erased, and what only a refit removes."""
    dropped = here.keeper.forget(visit.tenant, visit.user)
    receipt = erase.erase(here.store, visit.tenant, visit.user, visit.caller.key_id, dropped)
    here.keeper.forget(visit.tenant, visit.user)  # what came into memory meanwhile
    here.audit.forget(visit.user)
    here.keys.forget()
    if receipt is None:
        raise unknown_user(visit.user)
    return answer(receipt)


@router.get("/v1/receipts/{id:name}", response_model=Receipt)
def receipt(id: Line, caller: Annotated[Caller, Depends(need("erase"))], here: Here) -> Response:
    """Read a receipt again."""
    with here.store.read() as c:
        found = erase.receipt(c, caller.tenant, id)
    if found is None:
        raise Refusal(404, "not_found", "there is no such receipt", "id")
    return answer(found)


@router.get("/v1/audit", response_model=AuditPage)
def audit_log(
    caller: Admin,
    here: Here,
    before: Annotated[int | None, Query(ge=1, le=2**62, description="The number to go on before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    user: Annotated[Name | None, Query(description="Of this user alone.")] = None,
) -> Response:
    """Read who read or changed what, latest first."""
    with here.store.read() as c:
        page = audit.page(c, caller.tenant, before, limit, user)
    return answer(page)


@router.post("/v1/keys", response_model=KeyMade, status_code=201)
def make_key(body: NewKey, caller: Admin, here: Here) -> Response:
    """Make an API key. Its secret is told this once. An operator may name another tenant."""
    if "operator" not in caller.scopes:
        if body.tenant not in (None, caller.tenant):
            raise Refusal(403, "forbidden", "only an operator makes keys of another tenant", "tenant")
        if "operator" in body.scopes:
            raise Refusal(403, "forbidden", "only an operator makes a key for operators", "scopes")
    tenant = body.tenant or caller.tenant

    def make(c: Connection) -> KeyMade:
        made, secret = keys.make(c, tenant, None, body.label, body.scopes, body.days)
        audit.note(c, tenant, caller.key_id, "key.made", None, made.id)
        return KeyMade(**made.model_dump(), secret=secret)

    return answer(here.store.write(make), 201)


@router.get("/v1/keys", response_model=list[KeyShown])
def list_keys(
    caller: Admin,
    here: Here,
    user: Annotated[Name | None, Query(description="Tokens of this user, instead of API keys.")] = None,
    after: Annotated[Line | None, Query(description="The id to go on after.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> Response:
    """List the tenant's API keys, or a user's tokens, by id and without their secrets."""
    with here.store.read() as c:
        return answer(keys.listed(c, caller.tenant, user, after=after or "", limit=limit))


@router.delete("/v1/keys/{id:name}", status_code=204, response_class=Response)
def revoke_key(id: Line, caller: Admin, here: Here) -> Response:
    """Revoke a key or a token."""

    def revoke(c: Connection) -> bool:
        found = keys.revoke(c, caller.tenant, id)
        if found:
            audit.note(c, caller.tenant, caller.key_id, "key.revoked", None, id)
        return found

    found = here.store.write(revoke)
    here.keys.forget()
    if not found:
        raise Refusal(404, "not_found", "there is no such key", "id")
    return Response(status_code=204)


@router.post("/v1/tokens", response_model=KeyMade, status_code=201)
def make_token(body: NewToken, caller: Admin, here: Here) -> Response:
    """Make a token that reaches one user alone, for a page or an app of theirs."""

    def make(c: Connection) -> KeyMade:
        made, secret = keys.make(c, caller.tenant, body.user, "token", body.scopes, body.days)
        audit.note(c, caller.tenant, caller.key_id, "token.made", body.user, made.id)
        return KeyMade(**made.model_dump(), secret=secret)

    return answer(here.store.write(make), 201)
