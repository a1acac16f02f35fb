"""What is believed of users: read, correct, go back."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy import Connection
from starlette.responses import Response

from palate.serve.http.answers import FAULTS, Route, answer
from palate.serve.http.caller import Caller, Reader, Visit, need, own
from palate.serve.http.faults import Refusal, unknown_user
from palate.serve.http.server import Here, Server
from palate.serve.store import audit, people
from palate.serve.wire.lists import Patched, Profile, UserRow, UsersPage
from palate.serve.wire.persona import Edits, PersonaShown, Reverted, VersionShown
from palate.serve.wire.texts import Name

__all__ = ["router"]

router = APIRouter(route_class=Route, responses=FAULTS, tags=["personas"])
Editor = Annotated[Visit, Depends(own("edit"))]


@router.get("/v1/users", response_model=UsersPage)
def users(
    caller: Annotated[Caller, Depends(need("read"))],
    here: Here,
    after: Annotated[Name | None, Query(description="The name to go on after.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    like: Annotated[Name | None, Query(description="What names contain.")] = None,
) -> Response:
    """List users by name."""
    if caller.user is not None:
        raise Refusal(403, "forbidden", "this token reaches the data of its own user alone")
    with here.store.read() as c:
        rows = people.listed(c, caller.tenant, after or "", limit + 1, like or "")
        total = people.count(c, caller.tenant, like or "")
    here.audit.read(caller, "users.listed")
    shown = [UserRow(user=r.user, choices=r.choices, created=r.created, seen=r.seen) for r in rows[:limit]]
    more = shown[-1].user if len(rows) > limit else None
    return answer(UsersPage(users=shown, total=total, next=more))


@router.get("/v1/users/{user:name}/persona", response_model=PersonaShown)
def persona(visit: Reader, here: Here) -> Response:
    """Read what is believed of a user: in words, with strength, evidence and verdict."""
    _known(visit, here)
    here.audit.read(visit.caller, "persona.read", visit.user)
    return answer(here.keeper.shown(visit.tenant, visit.user))


@router.patch("/v1/users/{user:name}/persona", response_model=Patched)
def edit_persona(body: Edits, visit: Editor, here: Here) -> Response:
    """Correct a persona, all corrections or none, and say what that changes on held-back choices.

    ``version`` is the version that was read; if somebody edited since, nothing is changed and the answer is
    409. With ``try`` only the effect is told.
    """
    _known(visit, here)
    shown, effect = here.keeper.patch(visit.tenant, visit.user, body, visit.caller.key_id)
    return answer(Patched.model_construct(persona=shown, effect=effect))


@router.get("/v1/users/{user:name}/persona/versions", response_model=list[VersionShown])
def versions(
    visit: Reader,
    here: Here,
    before: Annotated[int | None, Query(ge=1, le=2**62, description="The version to go on before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Read what was believed before, latest first, and why it changed."""
    _known(visit, here)
    here.audit.read(visit.caller, "versions.read", visit.user)
    return answer(here.keeper.versions(visit.tenant, visit.user, before, limit))


@router.get("/v1/users/{user:name}/persona/versions/{version}", response_model=VersionShown)
def version(version: Annotated[int, Path(ge=1, le=2**62)], visit: Reader, here: Here) -> Response:
    """Read what was believed at one version."""
    _known(visit, here)
    shown = here.keeper.version(visit.tenant, visit.user, version)
    if shown is None:
        raise Refusal(404, "not_found", f"the persona has no version {version}", "version")
    here.audit.read(visit.caller, "versions.read", visit.user)
    return answer(shown)


@router.post("/v1/users/{user:name}/persona/revert", response_model=Patched)
def revert_persona(body: Reverted, visit: Editor, here: Here) -> Response:
    """Go back to the corrections that stood at an earlier version; choices made since stay."""
    _known(visit, here)
    shown, effect = here.keeper.revert(visit.tenant, visit.user, body, visit.caller.key_id)
    return answer(Patched.model_construct(persona=shown, effect=effect))


@router.put("/v1/users/{user:name}/profile", status_code=204, response_class=Response)
def put_profile(body: Profile, visit: Editor, here: Here) -> Response:
    """Keep what is known of a user besides their choices, instead of what was kept before."""

    def put(c: Connection) -> None:
        people.set_profile(c, visit.tenant, visit.user, body.profile)
        audit.note(c, visit.tenant, visit.caller.key_id, "profile.set", visit.user, "")

    here.store.write(put)
    return Response(status_code=204)


def _known(visit: Visit, here: Server) -> None:
    with here.store.read() as c:
        if people.state(c, visit.tenant, visit.user) is None:
            raise unknown_user(visit.user)
