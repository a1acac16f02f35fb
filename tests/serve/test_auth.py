"""Who may call: every route without a key, with a wrong or expired one, with too little, for another user."""

import asyncio
import base64
import re
import time

import pytest
from fastapi.routing import APIRoute
from serve_live import USER_SCOPES, choice

from palate.serve.http.app import ROUTERS
from palate.serve.http.caller import Keyring, Own, secret_of
from palate.serve.http.openapi import EXAMPLES
from palate.serve.wire.rights import SCOPES

ROUTES = [
    (route, method)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute) and route.path.startswith("/v1")
    for method in route.methods
]
NAMES = [f"{method} {route.path}" for route, method in ROUTES]
BODY_NAMES_USER = {"/v1/feedback", "/v1/rank", "/v1/reward", "/v1/judge", "/v1/jury", "/v1/best-of"}
MORE = {  # bodies of routes without an example of their own, and those that would change what others need
    "swap_model": {"folder": "none"},
}


def call(client, route, method, user="bob", body=None):
    """Call a route with its example, about a user."""
    path = re.sub(r"{user[^}]*}", user, route.path)
    path = re.sub(r"{version[^}]*}", "1", path)
    path = re.sub(r"{[^}]*}", "some", path)
    sent = EXAMPLES.get(route.operation_id or route.name) or MORE.get(route.name) if body is None else body
    return client.request(method, path, json=sent if method not in ("GET", "DELETE") else None)


@pytest.fixture(scope="module", autouse=True)
def people(api):
    for user in ("ann", "bob"):
        assert api.post("/v1/feedback", json=choice(user)).status_code == 200


@pytest.mark.parametrize(("route", "method"), ROUTES, ids=NAMES)
def test_every_route_wants_a_key(live, route, method):
    for secret in ("", "pk_" + "a" * 43, "pu_" + "a" * 43, "x", "'; DROP TABLE keys; --" * 2):
        with live.client(secret) as client:
            answer = call(client, route, method)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "no_key"
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("route", "method"), ROUTES, ids=NAMES)
def test_every_route_refuses_an_expired_key(live, route, method):
    with live.client(live.key(days=-1)) as client:
        assert call(client, route, method).status_code == 401


WITH_USER = [(route, method) for route, method in ROUTES if "{user" in route.path]


def test_there_are_routes_with_users():
    assert len(WITH_USER) >= 11
    assert all("{user:name}" in route.path for route, _ in WITH_USER)


@pytest.mark.parametrize(("route", "method"), WITH_USER, ids=[f"{m} {r.path}" for r, m in WITH_USER])
def test_a_token_reaches_its_own_user_alone(live, api, route, method):
    """Another's data cannot be reached, nor is it told whether they exist; nothing is changed."""
    assert any(isinstance(each.call, Own) for each in route.dependant.dependencies)
    secret = live.key(user="ann")
    live.settle()
    before = live.store_dump()
    with live.client(secret) as client:
        known, unknown = (call(client, route, method, user) for user in ("bob", "nobody"))
    assert known.status_code == unknown.status_code == 403
    assert known.json() == unknown.json()
    assert live.store_dump() == before


@pytest.mark.parametrize("path", sorted(BODY_NAMES_USER))
def test_a_token_is_refused_where_a_body_names_another(live, path):
    route, method = next((r, m) for r, m in ROUTES if r.path == path)
    body = {**EXAMPLES[route.operation_id or route.name]}
    body.update({"users": ["ann", "bob"]} if path == "/v1/jury" else {"user": "bob"})
    with live.client(live.key(user="ann")) as client:
        answer = call(client, route, method, body=body)
        assert answer.status_code == 403, answer.text
    if path == "/v1/feedback":
        many = {"choices": [choice("ann", 7), choice("bob", 7)]}
        with live.client(live.key(user="ann")) as client:
            assert client.post(path, json=many).status_code == 403
        assert "ann-7" not in live.store_dump()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/reward/openrlhf", {"labels": ['{"user": "bob"}']}),
        ("/v1/reward/verl", {"extra_infos": [{"user": "bob", "question": "Hi"}]}),
    ],
)
def test_a_token_is_refused_where_a_row_names_another(live, path, body):
    route, method = next((r, m) for r, m in ROUTES if r.path == path)
    with live.client(live.key(user="ann")) as client:
        answer = call(client, route, method, body={**EXAMPLES[route.operation_id], **body})
    assert answer.status_code == 403, answer.text


@pytest.mark.parametrize("header", ["bob", "%62ob"])
def test_a_token_is_refused_where_a_chat_names_another(live, header):
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    with live.client(live.key(user="ann")) as client:
        by_header = client.post("/v1/chat/completions", json=body, headers={"X-Palate-User": header})
        by_body = client.post("/v1/chat/completions", json={**body, "user": "bob"})
    assert by_header.status_code == by_body.status_code == 403


def test_every_body_that_names_a_user_is_in_the_list():
    """A new route whose body has a user cannot be forgotten here."""
    found = set()
    for route, _ in ROUTES:
        if route.body_field is not None:
            schema = str(route.body_field.field_info.annotation)
            fields = getattr(route.body_field.field_info.annotation, "model_fields", {})
            if {"user", "users"} & set(fields) or "Choice" in schema:
                found.add(route.path)
    assert found - {"/v1/tokens"} == BODY_NAMES_USER  # a token is made by an admin, and admins are no users


def test_a_token_says_nothing_of_its_user(live):
    """Without naming anybody a user's token is about its own user."""
    with live.client(live.key(user="ann")) as client:
        used = client.post("/v1/rank", json={"conversation": "Hi", "responses": ["a", "b"]}).json()["persona"]
    assert used["user"] == "ann"


ASKED = {"user": None, "conversation": "Hi", "responses": ["a", "b"]}
GENERAL = [
    "/v1/users",
    "/v1/people",
    "/v1/audit",
    "/v1/keys",
    "/v1/pool",
    "/v1/state",
    "/v1/model",
    "/metrics",
]


@pytest.mark.parametrize("path", GENERAL)
def test_a_token_reaches_nothing_about_all(live, path):
    with live.client(live.key(*USER_SCOPES, user="ann")) as client:
        assert client.get(path).status_code == 403


@pytest.mark.parametrize(("route", "method"), ROUTES, ids=NAMES)
def test_every_route_wants_a_scope(live, route, method):
    """A key without scopes may ask who it is, and nothing else."""
    with live.client(live.key(" ")) as client:
        answer = call(client, route, method)
    assert answer.status_code == (200 if route.path == "/v1/whoami" else 403), answer.text


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_opens_its_routes_alone(live, api, scope):
    told = {
        f"{method.upper()} {path}": re.search(r"needs the scope `(\w+)`", operation["description"])
        for path, item in live.app.openapi()["paths"].items()
        for method, operation in item.items()
        if path.startswith("/v1")
    }
    with live.client(live.key(scope)) as client:
        for route, method in ROUTES:
            wanted = told[f"{method} {route.path_format}"]
            if wanted and wanted[1] != scope:
                assert call(client, route, method, user="nobody").status_code == 403, route.path


def test_revoking_works_at_once_here_and_soon_elsewhere(live, api):
    made = api.post("/v1/keys", json={"label": "x", "scopes": ["use"]}).json()
    with live.client(made["secret"]) as client:
        assert client.post("/v1/rank", json=ASKED).status_code == 200
        assert api.delete(f"/v1/keys/{made['id']}").status_code == 204
        assert client.post("/v1/rank", json=ASKED).status_code == 401
    assert api.delete(f"/v1/keys/{made['id']}").status_code == 404
    from palate.serve.store import keys

    made = api.post("/v1/keys", json={"label": "x", "scopes": ["use"]}).json()
    with live.client(made["secret"]) as client:
        assert client.post("/v1/rank", json=ASKED).status_code == 200
        live.store.write(lambda c: keys.revoke(c, "default", made["id"]))  # as another process would
        end = time.monotonic() + live.settings.key_s + 3
        while client.post("/v1/rank", json=ASKED).status_code == 200:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_a_key_that_is_revoked_while_it_is_looked_up_is_not_believed_after(live, monkeypatch):
    from palate.serve.store import keys

    ring, secret = Keyring(live.store, 60), live.key("use")
    found = asyncio.run(ring.caller(secret))
    ring.forget()
    find = ring._find

    def revoked_meanwhile(asked):
        caller = find(asked)
        live.store.write(lambda c: keys.revoke(c, "default", caller.key_id))
        ring.forget()
        return caller

    monkeypatch.setattr(ring, "_find", revoked_meanwhile)
    assert asyncio.run(ring.caller(secret)) == found
    monkeypatch.undo()
    assert asyncio.run(ring.caller(secret)) is None


def test_a_users_token_is_asked_for_each_time(live):
    from palate.serve.store import keys

    secret = live.key(user="ann")
    with live.client(secret) as client:
        told = client.get("/v1/whoami").json()
        assert told["user"] == "ann"
        live.store.write(lambda c: keys.revoke(c, "default", told["key"]))
        assert client.get("/v1/whoami").status_code == 401


def test_tenants_do_not_see_each_other(live, api):
    secret = api.post("/v1/keys", json={"label": "x", "scopes": ["read", "admin"], "tenant": "other"}).json()
    with live.client(secret["secret"]) as other:
        assert other.get("/v1/whoami").json()["tenant"] == "other"
        assert other.get("/v1/users").json()["total"] == 0
        assert other.get("/v1/users/ann/persona").status_code == 404
        assert [key["id"] for key in other.get("/v1/keys").json()] == [secret["id"]]
        assert {row["action"] for row in other.get("/v1/audit").json()["rows"]} <= {
            "key.made",
            "users.listed",
        }
        for body in ({"scopes": ["use"], "tenant": "default"}, {"scopes": ["operator"]}):
            assert other.post("/v1/keys", json={"label": "x", **body}).status_code == 403
        mine = api.get("/v1/keys").json()
        assert other.delete(f"/v1/keys/{mine[0]['id']}").status_code == 404


def test_a_key_may_come_as_a_password(live):
    secret = live.key()
    basic = base64.b64encode(f"palate:{secret}".encode()).decode()
    with live.client("") as client:
        answer = client.get("/v1/whoami", headers={"Authorization": f"Basic {basic}"})
    assert answer.status_code == 200
    assert secret_of("Basic !!!") == secret_of("Bearer") == secret_of("") == ""


def test_keys_are_listed_without_their_secrets(live, api):
    made = api.post("/v1/tokens", json={"user": "ann", "scopes": ["read"]}).json()
    assert made["secret"].startswith("pu_")
    assert made["expires"] - made["created"] == pytest.approx(30 * 86400)
    for path in ("/v1/keys", "/v1/keys?user=ann"):
        assert "secret" not in api.get(path).text
    assert made["id"] in [key["id"] for key in api.get("/v1/keys?user=ann").json()]
    assert made["secret"] not in live.store_dump()
