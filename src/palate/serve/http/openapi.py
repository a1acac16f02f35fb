"""The API's description: FastAPI's, with who may call what, and an example for each body."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from palate.serve.http.caller import Need

__all__ = ["EXAMPLES", "describe"]

_TOLD = """Choices come in, personas are kept current, rankings, rewards and answers go out.

Every route under `/v1` wants a key: `Authorization: Bearer pk_...`. A user's token (`pu_...`) reaches the
data of that user alone. Errors have one shape, `Fault`: a code for programs, a message for people, the field.
Every answer has the header `X-Request-Id`; one that is sent along is kept.
"""
_TAGS = {
    "feedback": "Choices on their way in, and what is kept of them.",
    "personas": "What is believed of users: read, correct, go back.",
    "use": "Rank, reward, judge, ask.",
    "chat": "An OpenAI-compatible endpoint that knows the user.",
    "rights": "Export, erasure, receipts, the audit log, keys and tokens.",
    "operate": "The model, the pool, the people, the server's state.",
    "health": "For machines that look after the server.",
}
_ASKED = "How do I boil an egg?"
_SHORT, _LONG = "Seven minutes in boiling water.", "First, choose a pot. Then fill it with water. Then wait."
EXAMPLES: dict[str, dict[str, Any]] = {
    "feedback": {
        "user": "ann",
        "conversation": _ASKED,
        "responses": [_SHORT, _LONG],
        "chosen": 0,
        "key": "app-17",
        "reason": "Quick to read.",
    },
    "edit_persona": {"version": 3, "edits": [{"do": "lock", "about": "length"}], "try": True},
    "revert_persona": {"version": 4, "to": 2},
    "put_profile": {"profile": {"language": "English"}},
    "rank": {"user": "ann", "conversation": _ASKED, "responses": [_SHORT, _LONG]},
    "reward": {"user": "ann", "conversation": _ASKED, "responses": [_SHORT], "among": [_LONG]},
    "judge": {"user": "ann", "conversation": _ASKED, "first": _SHORT, "second": _LONG},
    "jury": {"users": ["ann", "bob"], "conversation": _ASKED, "responses": [_SHORT, _LONG]},
    "next_pair": {"count": 1},
    "best_of": {"user": "ann", "conversation": _ASKED, "model": "gpt-4o-mini", "n": 4},
    "reward_openrlhf": {
        "query": [f"<user>{_ASKED}<assistant>{_SHORT}"],
        "prompts": [f"<user>{_ASKED}<assistant>"],
        "labels": ['{"user": "ann"}'],
    },
    "reward_verl": {"solution_strs": [_SHORT], "extra_infos": [{"user": "ann", "question": _ASKED}]},
    "make_key": {"label": "the app", "scopes": ["feedback", "read", "use"]},
    "make_token": {"user": "ann", "days": 30},
    "swap_model": {"folder": "mixed-2"},
    "add_to_pool": {"offers": [{"conversation": _ASKED, "responses": [_SHORT, _LONG]}]},
}
"""An example of each route's body, by the name of its operation."""


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the description, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=_TOLD,
            routes=app.routes,
            tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
        )
        told = "A key (pk_...) or a user's token (pu_...). HTTP Basic with the key as password does as well."
        schema.setdefault("components", {})["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "description": told}
        }
        _open_rows(schema)
        for route in app.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                for method in route.methods or ():
                    _complete(schema["paths"][route.path_format][method.lower()], route)
        app.openapi_schema = schema
    return app.openapi_schema


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    """Add a name, what the key must be allowed to do, and an example."""
    operation["operationId"] = name = route.operation_id or route.name
    if route.path_format.startswith("/v1/") or route.path_format == "/metrics":
        scope = _scope(route)
        operation["security"] = [{"key": []}]
        if scope:
            told = operation.get("description", "")
            operation["description"] = f"{told}\n\nThe key needs the scope `{scope}`.".strip()
    example = EXAMPLES.get(name)
    if example is not None:
        operation["requestBody"]["content"]["application/json"]["example"] = example


def _scope(route: APIRoute) -> str:
    calls = [dependency.call for dependency in route.dependant.dependencies]
    return next((call.scope for call in calls if isinstance(call, Need)), "")


def _open_rows(schema: dict[str, Any]) -> None:
    """Say what the rows of many choices are: each is a choice, checked by itself."""
    rows = schema["components"]["schemas"]["Choices"]["properties"]["choices"]["items"]
    rows["description"] = "A Choice. Rows are checked one by one: a bad one is refused, the others are kept."
