"""Chat through any OpenAI-compatible endpoint with the user's persona added, and the best of several answers.

The user is named by the header ``X-Palate-User`` (percent-encoded where it is not plain ASCII), or by the
body's ``user``; a user's token is its user. The header ``X-Palate-Persona`` of the answer tells which persona
was used, or why none. Embeddings and ``/v1/responses`` are not served: they have no place for a persona, or
another shape.
"""

from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Depends
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from palate.core import DataError
from palate.serve.http.answers import FAULTS, Route, answer
from palate.serve.http.caller import Caller, need, own_user
from palate.serve.http.faults import Refusal
from palate.serve.http.server import Here, Server
from palate.serve.upstream import HEADER, Passing, Told, read_call, several, told_of, until_gone, with_words
from palate.serve.wire.texts import Name
from palate.serve.wire.use import BestOf, BestOfAnswer, PersonaUsed, Rank

__all__ = ["router"]

router = APIRouter(route_class=Route, responses=FAULTS, tags=["chat"])
User = Annotated[Caller, Depends(need("use"))]
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_ANY: dict[str, Any] = {"type": "object", "additionalProperties": True}
_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["model", "messages"],
                "additionalProperties": True,
                "properties": {
                    "model": {"type": "string"},
                    "messages": {"type": "array", "minItems": 1, "items": _ANY},
                    "user": {"type": "string", "description": "The user, where no header names one."},
                    "stream": {"type": "boolean"},
                },
            },
            "example": {
                "model": "gpt-4o-mini",
                "user": "ann",
                "messages": [{"role": "user", "content": "What is rhubarb?"}],
            },
        }
    },
}
_NAMED = {
    "name": "X-Palate-User",
    "in": "header",
    "required": False,
    "description": "The user whose persona is added, percent-encoded; wins over the body's user.",
    "schema": {"type": "string"},
}
_PASSED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The upstream's answer, as it came.",
        "headers": {
            HEADER: {
                "description": "version=7; weight=0.82, or none; and why.",
                "schema": {"type": "string"},
            }
        },
        "content": {
            "application/json": {"schema": _ANY},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    },
    "default": {"description": "The upstream's own error, passed on as it came."},
}


@router.post(
    "/v1/chat/completions",
    operation_id="chat",
    summary="Chat, with the user's persona added",
    responses=_PASSED,
    openapi_extra={"requestBody": _BODY, "parameters": [_NAMED]},
)
async def chat(request: Request, here: Here, caller: User) -> Response:
    """Pass a chat call on with the user's persona before its system message; nothing else is changed.

    The answer's bytes are the upstream's, streamed as they come.
    """
    try:
        call = read_call(await request.body())
    except DataError as error:
        raise Refusal(400, "bad_request", str(error)) from error
    user = _whose(request, caller, call.user)
    told = await here.aside(_told, here, caller, user)
    upstream = here.upstream
    passed = upstream.request(
        "POST", "/chat/completions", with_words(call, told.words), request.headers, request.url.query
    )
    return Passing(upstream, passed, {HEADER: told.header})


@router.get(
    "/v1/models",
    operation_id="list_models",
    summary="The upstream's models",
    responses={200: {"description": "As it came.", "content": {"application/json": {"schema": _ANY}}}},
)
async def models(request: Request, here: Here, caller: User) -> Response:
    """Pass on the upstream's list of models."""
    passed = here.upstream.request("GET", "/models", None, request.headers, request.url.query)
    return Passing(here.upstream, passed, {})


@router.post(
    "/v1/best-of",
    operation_id="best_of",
    summary="Write several answers, and rank them for a user",
    response_model=BestOfAnswer,
)
async def best_of(body: BestOf, request: Request, here: Here, caller: User) -> Response:
    """Have the upstream write ``n`` answers, and return them as this user would rank them.

    Equal answers count once, so there may be fewer than ``n``.
    """
    user = own_user(caller, body.user)
    told = await here.aside(_told, here, caller, user) if body.told else Told("", "")
    fields = {
        "model": body.model,
        "messages": [message.model_dump() for message in body.conversation],
        "temperature": body.temperature,
    }
    if body.max_tokens is not None:
        fields["max_tokens"] = body.max_tokens
    asked = several(here.upstream, fields, told.words, body.n, request.headers)
    texts = await until_gone(request.receive, asked)
    if texts is None:
        return Response(status_code=499)  # for the log: nobody reads it
    found = await here.aside(_ranked, here, caller.tenant, user, body, texts)
    return answer(found, headers={HEADER: told.header} if told.header else None)


def _ranked(here: Server, tenant: str, user: str | None, body: BestOf, texts: list[str]) -> BestOfAnswer:
    """Return the distinct answers, best first."""
    distinct = list(dict.fromkeys(texts))
    if len(distinct) == 1:
        used: PersonaUsed = here.keeper.current(tenant, user).used
        return BestOfAnswer(answers=distinct, probabilities=[1.0], persona=used)
    rank = Rank.model_construct(user=user, conversation=body.conversation, responses=distinct)
    found = here.keeper.rank(tenant, rank)
    return BestOfAnswer(
        answers=[distinct[each.index] for each in found.ranking],
        probabilities=[each.probability for each in found.ranking],
        persona=found.persona,
    )


def _told(here: Server, caller: Caller, user: str | None) -> Told:
    """Return what the upstream is told of a user."""
    if user is None:
        return told_of(None)
    try:
        _NAME.validate_python(user)
    except ValidationError:  # a body's user, which is the upstream's matter too
        return Told("", "none; the body's user is no name that can be kept")
    held = here.keeper.current(caller.tenant, user)
    return told_of(held.words, held.version)


def _whose(request: Request, caller: Caller, named: str | None) -> str | None:
    """Return the user whose persona is added.

    Raises:
        Refusal: If a user's token comes with another user, or the header holds no name.
    """
    header = request.headers.get("x-palate-user")
    if header is None:
        return own_user(caller, named)
    try:
        return own_user(caller, _NAME.validate_python(unquote(header, errors="surrogateescape")))
    except ValidationError as error:
        why = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        message = f"the header X-Palate-User holds no name: {why}; send it percent-encoded"
        raise Refusal(400, "bad_request", message, "X-Palate-User") from error
