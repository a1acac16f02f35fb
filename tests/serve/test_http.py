"""The API over real HTTP: what is answered, what is refused and how, and that texts are data everywhere."""

import json
import re
import socket
import sqlite3
import threading
import time

import pytest
from serve_live import choice
from sqlalchemy.exc import OperationalError

from palate.core import StorageError
from palate.serve.http.openapi import EXAMPLES
from palate.serve.store.faults import kindly
from palate.serve.wire.operate import Fault

ASKED = {"conversation": "How do I boil an egg?", "responses": ["Seven minutes.", "First, take a pot. " * 5]}
SCRIPT = '<img src=x onerror="alert(1)"><script>alert(2)</script> {{7*7}} \' OR 1=1; -- %s $(id) \u202e'


def fault_of(answer, status, code=None):
    assert answer.status_code == status, answer.text
    fault = Fault.model_validate_json(answer.content)
    assert code is None or fault.error.code == code
    return fault.error


# ---- the main way ------------------------------------------------------------------------------------------


def test_a_choice_is_reflected_in_the_next_request(api):
    before = api.post("/v1/rank", json={"user": "eve", **ASKED}).json()
    assert before["persona"]["choices"] == 0
    assert "average" in before["persona"]["told"]
    for n in range(12):
        told = api.post("/v1/feedback", json=choice("eve", n)).json()
        assert told["accepted"][0] | {"number": n + 1, "replayed": False} == told["accepted"][0]
        after = api.post("/v1/rank", json={"user": "eve", **ASKED}).json()
        assert after["persona"]["choices"] == n + 1
    assert after["ranking"][0]["index"] == 0
    shown = api.get("/v1/users/eve/persona").json()
    assert (shown["choices"], shown["pending"]) == (12, 0)
    end = time.monotonic() + 20
    while not (shown["exact"] and "shorter" in shown["text"]):  # made anew from all of them in the background
        assert time.monotonic() < end, shown
        time.sleep(0.2)
        shown = api.get("/v1/users/eve/persona").json()


def test_what_is_kept_is_listed_exported_and_erased_with_a_receipt(live, api):
    rows = {"choices": [choice("gus", n) for n in range(5)]}
    assert len(api.post("/v1/feedback", json=rows).json()["accepted"]) == 5
    page = api.get("/v1/users/gus/choices?limit=2").json()
    assert [row["number"] for row in page["choices"]] == [5, 4]
    assert page["next"] == 4
    rest = api.get(f"/v1/users/gus/choices?before={page['next']}").json()
    assert [row["number"] for row in rest["choices"]] == [3, 2, 1]
    assert rest["next"] is None
    assert api.delete("/v1/users/gus/choices/gus-0").status_code == 204
    fault_of(api.delete("/v1/users/gus/choices/gus-0"), 404, "not_found")
    assert api.put("/v1/users/gus/profile", json={"profile": {"language": "Welsh"}}).status_code == 204
    kept = api.get("/v1/users/gus/export").json()
    assert kept["profile"] == {"language": "Welsh"}
    assert len(kept["choices"]) == 4
    assert {"choice.deleted", "profile.set", "choices.read"} <= {row["action"] for row in kept["audit"]}
    receipt = api.delete("/v1/users/gus").json()
    assert receipt["erased"]["choices"] == 4
    assert receipt["remains"]
    assert api.get(f"/v1/receipts/{receipt['id']}").json() == receipt
    for path in ("persona", "choices", "export"):
        fault_of(api.get(f"/v1/users/gus/{path}"), 404, "unknown_user")
    fault_of(api.delete("/v1/users/gus"), 404, "unknown_user")
    assert "gus" not in live.store_dump()
    assert "gus" not in json.dumps(api.get("/v1/audit?limit=1000").json())


def test_a_deleted_user_who_writes_again_is_a_new_one(live, api):
    for n in range(4):
        api.post("/v1/feedback", json=choice("hal", n))
    with live.client(live.key(user="hal")) as own:
        assert own.delete("/v1/users/hal").status_code == 200
        fault_of(own.post("/v1/feedback", json=choice("hal", 9)), 401)
    assert api.post("/v1/feedback", json=choice("hal", 0)).json()["accepted"][0]["number"] == 1
    shown = api.get("/v1/users/hal/persona").json()
    assert shown["choices"] == 1
    assert api.get("/v1/users/hal/persona/versions").json() == []


def test_users_are_listed_by_name(api):
    for user in ("list-a", "list-b", "list-c"):
        api.post("/v1/feedback", json=choice(user))
    page = api.get("/v1/users?like=list-&limit=2").json()
    assert [row["user"] for row in page["users"]] == ["list-a", "list-b"]
    assert page["total"] == 3
    assert page["next"] == "list-b"
    rest = api.get("/v1/users?like=list-&limit=2&after=list-b").json()
    assert [row["user"] for row in rest["users"]] == ["list-c"]
    assert rest["next"] is None


def test_the_pool_is_filled_asked_from_and_emptied(api):
    offers = [{"id": f"q{n}", **{k: choice(n=n)[k] for k in ("conversation", "responses")}} for n in range(4)]
    assert api.post("/v1/pool", json={"offers": offers}).json() == {
        "ids": ["q0", "q1", "q2", "q3"],
        "total": 4,
    }
    page = api.get("/v1/pool?limit=3").json()
    assert [offer["id"] for offer in page["offers"]] == ["q0", "q1", "q2"]
    assert page["next"] == "q2"
    asked = api.post("/v1/users/ida/next", json={"count": 2}).json()
    assert len(asked["pairs"]) == 2
    for offer in offers:
        assert api.delete(f"/v1/pool/{offer['id']}").status_code == 204
    fault_of(api.delete("/v1/pool/q0"), 404)
    assert api.post("/v1/users/ida/next", json={}).json()["pairs"] == []


# ---- many choices at once ----------------------------------------------------------------------------------


def test_bad_rows_do_not_lose_good_ones(api):
    api.post("/v1/feedback", json=choice("joe", 0))
    rows = [
        choice("joe", 1),
        {**choice("joe", 2), "chosen": 7},
        {"user": "joe"},
        choice("joe", 0),  # again
        choice("joe", 0, chosen=1),  # its key, another choice
        {**choice("joe", 3), "responses": ["a\x00", "b"]},
        {**choice("joe", 4), "more": 1},
        choice("joe", 5, chosen=None),
        choice("joe", 6, chosen=None, ratings=[1, 5]),
    ]
    answer = api.post("/v1/feedback", json={"choices": rows})
    assert answer.status_code == 200
    told = answer.json()
    assert [(row["index"], row["replayed"]) for row in told["accepted"]] == [
        (0, False),
        (3, True),
        (7, False),
        (8, False),
    ]
    assert {row["index"]: row["field"] for row in told["refused"]} == {
        1: "",
        2: "conversation",
        4: "key",
        5: "responses.0",
        6: "more",
    }
    assert all(row["message"] for row in told["refused"])
    again = api.post("/v1/feedback", json={"choices": rows}).json()
    assert [row["number"] for row in again["accepted"]] == [row["number"] for row in told["accepted"]]
    assert all(row["replayed"] for row in again["accepted"])


def test_where_every_row_is_bad_it_is_422_with_the_same_body(api):
    answer = api.post("/v1/feedback", json={"choices": [{"user": "joe"}, {}]})
    assert answer.status_code == 422
    assert answer.json()["accepted"] == []
    assert [row["index"] for row in answer.json()["refused"]] == [0, 1]


def test_one_choice_in_conflict_is_409(api):
    api.post("/v1/feedback", json=choice("kim", 0))
    assert fault_of(api.post("/v1/feedback", json=choice("kim", 0, chosen=1)), 409, "conflict").field == "key"


def test_a_choice_without_a_key_gets_one(api):
    body = choice("lea", 0)
    del body["key"]
    keys = [api.post("/v1/feedback", json=body).json()["accepted"][0]["key"] for _ in range(2)]
    assert keys[0] != keys[1]


def test_replays_at_once_are_one_choice(live):
    told = []

    def send():
        with live.client() as client:
            told.append(client.post("/v1/feedback", json=choice("max", 0)).json()["accepted"][0])

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row["number"] for row in told} == {1}
    assert sum(not row["replayed"] for row in told) == 1


def test_a_clock_that_is_ahead_is_set_right(api):
    from palate.serve.store.clock import now

    for n, when in enumerate((now() + 1e6, 0, now() - 50)):
        api.post("/v1/feedback", json=choice("ned", n, time=when))
    kept = {row["key"]: row["time"] for row in api.get("/v1/users/ned/choices").json()["choices"]}
    assert abs(kept["ned-0"] - now()) < 60
    assert kept["ned-1"] == 0
    assert kept["ned-2"] < now() - 40


# ---- edits -------------------------------------------------------------------------------------------------


def test_of_two_edits_at_once_one_wins(live, api):
    for n in range(12):
        api.post("/v1/feedback", json=choice("oli", n))
    shown = api.get("/v1/users/oli/persona").json()
    about = shown["statements"][0]["about"]
    body = {"version": shown["version"], "edits": [{"do": "forget", "about": about}]}
    tried = api.patch("/v1/users/oli/persona", json={**body, "try": True}).json()
    assert tried["persona"]["version"] == shown["version"]
    statuses = []

    def edit():
        with live.client() as client:
            statuses.append(client.patch("/v1/users/oli/persona", json=body).status_code)

    threads = [threading.Thread(target=edit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 5
    after = api.get("/v1/users/oli/persona").json()
    assert {s["about"]: s["state"] for s in after["statements"]}[about] == "forgotten"
    assert api.get("/v1/users/oli/persona/versions").json()[0]["cause"] == "edited"
    fault_of(api.get("/v1/users/oli/persona/versions/999"), 404, "not_found")
    fault_of(api.patch("/v1/users/none/persona", json=body), 404, "unknown_user")


# ---- what cannot be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, 400),
        (b'{"conversation": "a", "responses": [NaN, "b"]}', 400),
        (b'{"conversation": "\\ud800", "responses": ["a", "b"]}', 400),
        (b"null", 422),
        (b"[]", 422),
        (b'"text"', 422),
        (b"1" * 5000, 400),
        (b'{"conversation": "a", "responses": "ab"}', 422),
        (b'{"conversation": "a", "responses": ["a", 1]}', 422),
        (b'{"conversation": "a", "responses": ["a", "\\u0000"]}', 422),
        (b'{"conversation": "a", "responses": ["a", "b"], "user": 5}', 422),
        (b'{"conversation": "a", "responses": ["a", "b"], "user": " a"}', 422),
        (b'{"conversation": "a", "responses": ["a", "b"], "__proto__": {}}', 422),
        (b'{"conversation": [], "responses": ["a", "b"]}', 422),
        (b'{"conversation": [{"role": "root", "content": "x"}], "responses": ["a", "b"]}', 422),
    ],
)
@pytest.mark.parametrize("path", ["/v1/rank", "/v1/users/ann/next"])
def test_bodies_that_cannot_be(api, path, content, status):
    answer = api.post(path, content=content, headers={"Content-Type": "application/json"})
    if path != "/v1/rank" and not content:
        status = 422
    if path == "/v1/rank" or status == 400:
        fault_of(answer, status, "bad_request")
    else:
        assert answer.status_code == 422, answer.text


def test_of_two_equal_keys_the_last_counts(api):
    body = b'{"conversation": "a", "responses": ["x", "y"], "responses": ["u", "v", "w"]}'
    told = api.post("/v1/rank", content=body, headers={"Content-Type": "application/json"}).json()
    assert len(told["ranking"]) == 3


@pytest.mark.parametrize("path", ["/v1/rank", "/v1/feedback", "/v1/pool", "/v1/users/ann/next"])
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_body_of_another_kind_is_415(api, path, kind):
    answer = api.post(path, content=json.dumps(ASKED).encode(), headers={"Content-Type": kind})
    fault_of(answer, 415, "not_json")


def test_routes_and_methods_that_are_not(api):
    fault_of(api.get("/v1/nothing"), 404, "not_found")
    fault_of(api.get("/nothing"), 404, "not_found")
    fault_of(api.get("/v1/"), 404, "not_found")
    answer = api.delete("/v1/users/ann/persona")
    fault_of(answer, 405, "wrong_method")
    assert answer.headers["allow"] == "GET, PATCH"
    assert api.get("/v1/rank").headers["allow"] == "POST"
    assert (
        api.get("/nothing", headers={"Accept": "text/html"}).headers["content-type"].startswith("text/html")
    )


def test_numbers_out_of_bounds(api):
    for query in ("limit=0", "limit=1e9", "limit=x", "before=0", f"before={10**30}", "limit=-1"):
        fault_of(api.get(f"/v1/users/ann/choices?{query}"), 422, "bad_request")
    for version in ("0", "x", str(10**30), "1.5", "%00"):
        assert api.get(f"/v1/users/ann/persona/versions/{version}").status_code in (404, 422)


# ---- names are data ----------------------------------------------------------------------------------------

TRICKY = [
    "a/b",
    "../../etc/passwd",
    "..",
    ".",
    "a%2Fb",
    "a?b#c",
    "a b",
    "ä€😀",
    "'; DROP TABLE users; --",
    "%",
    "_",
    "a\\b",
    "persona",
    "x/persona",
    "x/choices/y",
    SCRIPT.replace("\u202e", "").strip(),
    "n" * 200,
]


@pytest.mark.parametrize("user", TRICKY, ids=range(len(TRICKY)))
def test_a_name_may_hold_anything_that_prints(live, api, user):
    told = api.post("/v1/feedback", json=choice(user, 0, key="k")).json()
    assert told["accepted"][0]["user"] == user
    path = "/v1/users/" + encoded(user)
    shown = raw(live, "GET", f"{path}/persona")
    assert shown["user"] == user
    assert raw(live, "GET", f"{path}/choices")["total"] == 1
    assert raw(live, "GET", f"{path}/export")["user"] == user
    assert user in [row["user"] for row in api.get("/v1/users?limit=1000").json()["users"]]
    assert raw(live, "DELETE", path)["erased"]["choices"] == 1
    assert user not in [row["user"] for row in api.get("/v1/users?limit=1000").json()["users"]]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/users/%00/persona",
        "/v1/users/%ff/persona",
        "/v1/users/%ed%a0%80/persona",
        "/v1/users/%0a/persona",
        "/v1/users/%20a/persona",
        "/v1/users/" + "n" * 201 + "/persona",
    ],
)
def test_a_name_that_cannot_be_is_refused(live, path):
    answer = raw(live, "GET", path, whole=True)
    assert answer.startswith(b"HTTP/1.1 422")
    assert b'"field":"user"' in answer


def test_a_slash_that_is_not_encoded_is_another_path(live):
    assert raw(live, "GET", "/v1/users/a/b/persona", whole=True).startswith(b"HTTP/1.1 404")
    assert raw(live, "GET", "/v1/users//persona", whole=True).startswith(b"HTTP/1.1 404")
    assert raw(live, "GET", "/static/..%2f..%2fsettings.py", whole=True).startswith(b"HTTP/1.1 404")
    assert raw(live, "GET", "/static/../../settings.py", whole=True).startswith(b"HTTP/1.1 404")


def test_texts_come_back_as_they_were(api):
    """Whatever is in a text or a name, it is data: JSON in, JSON out, and the kind of content says so."""
    body = choice("script", 0, reason=SCRIPT, source="s'\"<")
    body["conversation"] = [{"role": "user", "content": SCRIPT}]
    body["responses"] = [SCRIPT, "{{config}}" + SCRIPT]
    api.post("/v1/feedback", json=body)
    answer = api.get("/v1/users/script/choices")
    row = answer.json()["choices"][0]
    assert {key: row[key] for key in ("conversation", "responses", "reason", "source")} == {
        key: body[key] for key in ("conversation", "responses", "reason", "source")
    }
    shown = api.get("/v1/users/script/persona")
    assert SCRIPT in shown.text.encode().decode("unicode_escape") or shown.json()["statements"] == []
    for each in (answer, shown):
        assert each.headers["content-type"] == "application/json"
        assert each.headers["x-content-type-options"] == "nosniff"


# ---- around every request ----------------------------------------------------------------------------------


def test_every_answer_has_an_id_and_safe_headers(live, api):
    answers = [
        api.get("/healthz"),
        api.get("/v1/whoami"),
        api.get("/v1/none"),
        api.post("/v1/rank", content=b"x" * (live.settings.body_limit + 1)),
        api.get("/"),
    ]
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers
    assert answers[1].headers["cache-control"] == "no-store"
    assert "unsafe" not in answers[-1].headers["content-security-policy"]
    sent = api.get("/healthz", headers={"X-Request-Id": "mine-1.2"})
    assert sent.headers["x-request-id"] == "mine-1.2"
    forged = api.get("/healthz", headers={"X-Request-Id": 'x" , "a": "b'})
    assert re.fullmatch(r"[0-9a-f]+", forged.headers["x-request-id"])


def test_health_and_readiness(live, monkeypatch):
    with live.client("") as client:
        assert client.get("/healthz").json()["status"] == "alive"
        assert client.get("/readyz").json() == {"status": "ready", "problems": []}

        def away(*_):
            raise StorageError("sqlite:///secret/path.db is away")

        monkeypatch.setattr(live.store, "read", away)
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["problems"] == ["the database does not answer"]
        assert client.get("/healthz").status_code == 200


def test_a_database_that_is_away_is_503_everywhere(live, api, monkeypatch):
    api.get("/v1/whoami")  # the key is known for a while

    def away(*_):
        raise StorageError("sqlite:///secret/path.db is away")

    monkeypatch.setattr(live.store, "read", away)
    monkeypatch.setattr(live.store, "look", away)
    monkeypatch.setattr(live.store, "submit", away)
    for method, path, body in (
        ("POST", "/v1/rank", {"user": "ann", **ASKED}),
        ("POST", "/v1/feedback", choice("ann", 99)),
        ("GET", "/v1/users/ann/persona", None),
        ("GET", "/v1/users", None),
        ("DELETE", "/v1/users/ann", None),
        ("GET", "/v1/state", None),
    ):
        answer = api.request(method, path, json=body)
        fault_of(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert "secret" not in answer.text
    live.server.keys.forget()
    fault_of(api.get("/v1/whoami"), 503, "unavailable")
    assert api.get("/metrics").status_code == 503  # nobody can say whose key it is
    monkeypatch.undo()
    assert api.get("/v1/whoami").status_code == 200


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            kindly(OperationalError("", {}, sqlite3.OperationalError("database or disk is full"))),
            "disk is full",
        ),
        (kindly(OperationalError("", {}, sqlite3.OperationalError("database is locked"))), "busy"),
        (StorageError("the persona kept changing while it was edited: send it again"), "kept changing"),
        (StorageError("/srv/secret/palate.db is broken"), "does not answer"),
    ],
)
def test_a_callers_own_way_on_is_told(live, api, monkeypatch, error, told):
    def away(*_):
        raise error

    monkeypatch.setattr(live.store, "submit", away)
    fault = fault_of(api.post("/v1/feedback", json=choice("ann", 99)), 503, "unavailable")
    assert told in fault.message
    assert "secret" not in fault.message


def test_a_fault_of_the_server_is_told_without_its_words(live, api, monkeypatch, capfd):
    def broken(*_):
        raise RuntimeError("holds a user's words")

    api.post("/v1/feedback", json=choice("eve", 0))
    monkeypatch.setattr(live.server.keeper, "rank", broken)
    monkeypatch.setattr(live.server.keeper, "shown", broken)
    for answer in (
        api.post("/v1/rank", json=ASKED),
        api.get("/v1/users/eve/persona"),
    ):
        fault_of(answer, 500, "server_error")
        assert "words" not in answer.text
    log = capfd.readouterr().err
    assert "RuntimeError" in log
    assert "words" not in log


def test_metrics_name_templates_and_no_users(live, api):
    api.post("/v1/feedback", json=choice("somebody-secret", 0))
    api.get("/v1/users/somebody-secret/persona")
    text = api.get("/metrics").text
    assert "somebody" not in text
    assert re.search(
        r'palate_requests_total\{method="GET",route="/v1/users/\{user\}/persona",status="200"\}', text
    )
    for name in (
        "palate_request_seconds_bucket",
        'palate_choices_total{kind="accepted"}',
        "palate_jobs_waiting",
        "palate_personas_behind",
        "palate_users",
    ):
        assert name in text
    state = api.get("/v1/state").json()
    assert state["requests"]["total"] > 10
    assert state["database"] == "sqlite"
    with live.client("") as client:
        assert client.get("/metrics").status_code == 401


# ---- the description ---------------------------------------------------------------------------------------


def test_the_description_is_complete(live, api):
    schema = api.get("/openapi.json").json()
    ids = []
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            ids.append(operation["operationId"])
            assert operation["summary"], path
            assert operation["description"], path
            assert operation["tags"], path
            if path.startswith("/v1") or path == "/metrics":
                assert operation["security"] == [{"key": []}]
                assert {"401", "403", "429", "503"} <= set(operation["responses"])
            if method in ("post", "put", "patch"):
                assert operation["requestBody"]["content"]["application/json"].get("example"), path
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z_]+", each) for each in ids), ids
    assert set(EXAMPLES) <= set(ids)


def test_the_examples_are_right(live, api):
    """Every example is a body that its route takes, or refuses for what is not there and not for its form."""
    for path, item in live.app.openapi()["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "example" in content and "chat" not in path:
                where = path.replace("{user}", "ann").replace("{id}", "x")
                answer = api.request(method, where, json=content["example"])
                error = answer.json().get("error", {}) if answer.content else {}
                assert answer.status_code < 422 or error.get("field") is None, (path, answer.text)


# ---- a plain socket: paths as they are ---------------------------------------------------------------------


def encoded(name):
    return "".join(chr(b) if chr(b).isalnum() and b < 128 else f"%{b:02X}" for b in name.encode())


def raw(live, method, path, whole=False):
    """Send a path as it is; clients would tidy it."""
    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 20) as sock:
        sock.sendall(live.head(f"{method} {path}", "Connection: close").encode())
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    if whole:
        return answer
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return json.loads(answer.partition(b"\r\n\r\n")[2])
