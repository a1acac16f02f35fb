"""Sizes, rates, times, origins and the log: what stands before the routes."""

import json
import socket
import threading
import time

import pytest
from serve_live import choice, serving

from palate.core import ConfigError
from palate.serve.http.limits import Buckets
from palate.serve.settings import Settings

ASKED = {"conversation": "Hi", "responses": ["a", "b b b"]}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def tight(model, tmp_path_factory):
    """A server with tight limits, its log on."""
    with serving(
        f"sqlite:///{tmp_path_factory.mktemp('tight')}/palate.db",
        model,
        body_limit=4096,
        bulk_limit=20_000,
        body_s=0.5,
        request_s=2.0,
        cors="https://app.example, https://other.example",
        open_metrics=True,
        quiet=False,
    ) as running:
        yield running


def code_of(answer):
    return answer.json()["error"]["code"]


# ---- sizes -------------------------------------------------------------------------------------------------


def test_a_body_that_is_announced_too_large_is_refused_unread(tight):
    """The answer comes although hardly a byte of the body was sent."""
    head = (
        f"POST /v1/rank HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tight.key()}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n{"
    )
    answer = sent(tight, head.encode())
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"too_large" in answer
    assert b"connection: close" in answer.lower()


def test_a_body_in_chunks_is_counted(tight):
    def parts():
        for _ in range(100):
            yield b"x" * 100

    with tight.client() as client:
        answer = client.post("/v1/rank", content=parts(), headers=JSON)
        assert answer.status_code == 413
        good = client.post(
            "/v1/rank", content=iter([b'{"conversation": "Hi", ', b'"responses": ["a", "b"]}']), headers=JSON
        )
        assert good.status_code == 200


def test_many_rows_may_be_larger(tight):
    rows = {"choices": [choice("ann", n) for n in range(40)]}
    assert 4096 < len(json.dumps(rows)) < 20_000
    with tight.client() as client:
        assert client.post("/v1/feedback", json=rows).status_code == 200
        assert client.post("/v1/rank", json={**ASKED, "responses": ["a" * 5000, "b"]}).status_code == 413
        assert client.post("/v1/feedback", json={"choices": rows["choices"] * 3}).status_code == 413


def test_addresses_and_headers_have_limits(tight):
    with tight.client() as client:
        assert client.get("/v1/users/" + "a" * 9000 + "/persona").status_code == 414
        assert client.get("/v1/whoami?" + "a" * 9000).status_code == 414
        assert client.get("/v1/whoami", headers={"X-More": "a" * 40_000}).status_code in (400, 431)
        many = {f"X-{n}": "a" for n in range(150)}
        answer = client.get("/v1/whoami", headers=many)
        assert answer.status_code == 431
        assert code_of(answer) == "too_large"
        assert client.get("/v1/whoami").status_code == 200


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "99999999999999999999999"])
def test_lengths_that_cannot_be(tight, length):
    head = tight.head("POST /v1/rank", f"Content-Length: {length}")
    assert sent(tight, head.encode())[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 413")


# ---- times -------------------------------------------------------------------------------------------------


def test_a_body_that_does_not_come_in_ends(tight):
    head = tight.head("POST /v1/rank", "Content-Length: 10")
    start = time.monotonic()
    assert sent(tight, head.encode()).startswith(b"HTTP/1.1 408")
    assert 0.4 < time.monotonic() - start < 10


def test_an_answer_that_takes_too_long_is_504_and_the_server_goes_on(tight, monkeypatch):
    def slow(*_):
        time.sleep(3.5)

    monkeypatch.setattr(tight.server.keeper, "rank", slow)
    monkeypatch.setattr(tight.server.keeper, "model", slow)
    with tight.client() as client:
        for method, path, body in (("POST", "/v1/rank", ASKED), ("GET", "/v1/model", None)):
            start = time.monotonic()
            answer = client.request(method, path, json=body)
            assert answer.status_code == 504
            assert time.monotonic() - start < 3.3
            assert int(answer.headers["retry-after"]) >= 1
            assert client.get("/v1/whoami").status_code == 200  # the connection is as good as before
    monkeypatch.undo()
    time.sleep(2.5)
    with tight.client() as client:
        assert client.post("/v1/rank", json=ASKED).status_code == 200


def test_a_client_that_leaves_is_no_fault(tight, capfd):
    body = json.dumps(ASKED)
    kind = "Content-Type: application/json"
    whole = tight.head("POST /v1/rank", kind, f"Content-Length: {len(body)}") + body
    half = tight.head("POST /v1/rank", kind, "Content-Length: 100") + "{"
    host, port = tight.url.removeprefix("http://").split(":")
    for text in (whole, half):
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(text.encode())
    time.sleep(0.3)
    assert '"event":"error"' not in capfd.readouterr().err


# ---- rates -------------------------------------------------------------------------------------------------


def test_a_bucket_fills_again():
    buckets = Buckets(2.0)
    assert [buckets.take("a", 0.0) for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert buckets.take("b", 0.0) == 0
    assert buckets.take("a", 0.5) == 0
    assert buckets.take("a", 0.5) == 0.5
    assert [buckets.take("a", 100.0) for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert all(Buckets(0.0).take("a", 0.0) == 0 for _ in range(100))


def test_too_many_requests_are_told_when_to_come_again(model, tmp_path):
    with serving(f"sqlite:///{tmp_path}/a.db", model, rate=3, rate_user=1, rate_refused=2) as live:
        with live.client() as client:
            statuses = [client.get("/v1/whoami").status_code for _ in range(12)]
            assert statuses[:6] == [200] * 6
            assert 429 in statuses
            refused = client.get("/v1/whoami")
            if refused.status_code == 200:  # a slow machine let the bucket fill
                refused = next(
                    a for a in (client.get("/v1/whoami") for _ in range(20)) if a.status_code == 429
                )
            assert code_of(refused) == "too_many"
            assert int(refused.headers["retry-after"]) >= 1
        with live.client(live.key(user="ann")) as own:  # a key of its own has a bucket of its own
            statuses = [own.get("/v1/whoami").status_code for _ in range(5)]
            assert statuses[0] == 200
            assert 429 in statuses
        with live.client("pk_" + "x" * 43) as wrong:
            statuses = [wrong.get("/v1/whoami").status_code for _ in range(8)]
            assert statuses[0] == 401
            assert statuses[-1] == 429
        with live.client("") as client:
            assert client.get("/healthz").status_code == 200


# ---- other origins -----------------------------------------------------------------------------------------


def test_origins_that_are_named_may_call(tight):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    with tight.client("") as client:
        for origin, allowed in (("https://app.example", True), ("https://evil.example", False)):
            answer = client.options("/v1/rank", headers={"Origin": origin, **asked})
            assert (answer.status_code == 200) is allowed
            assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
            real = client.get("/healthz", headers={"Origin": origin})
            assert (real.headers.get("access-control-allow-origin") == origin) is allowed


def test_metrics_may_be_open(tight):
    with tight.client("") as client:
        assert "palate_requests_total" in client.get("/metrics").text


# ---- the log -----------------------------------------------------------------------------------------------


def test_the_log_has_a_line_a_request_and_no_content(tight, capfd):
    capfd.readouterr()
    with tight.client() as client:
        client.post("/v1/feedback", json=choice("hidden-user", 0), headers={"X-Request-Id": "first"})
        client.get("/v1/users/hidden-user/persona?secret=1", headers={"X-Request-Id": "second"})
        client.get("/hidden-path")
        client.post("/v1/rank", content=b"hidden body", headers=JSON)
        key = client.get("/v1/whoami").json()["key"]
        secret = client.headers["authorization"].split()[1]
    time.sleep(0.1)
    log = capfd.readouterr().err
    lines = [json.loads(line) for line in log.splitlines()]
    found = {line["id"]: line for line in lines if line["event"] == "request"}
    first = found["first"]
    assert (first["route"], first["method"], first["status"], first["key"]) == (
        "/v1/feedback",
        "POST",
        200,
        key,
    )
    assert first["ms"] > 0
    assert found["second"]["route"] == "/v1/users/{user}/persona"
    for word in ("hidden", "secret=1", secret, "Boil"):
        assert word not in log


# ---- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"port": "x"}, "PALATE_SERVE_PORT is 'x': expected a number"),
        ({"port": 70_000}, "port is 70000: expected a number from 0 to 65535"),
        ({"workers": 0}, "workers is 0"),
        ({"database": "mysql://x"}, "expected sqlite:///FILE"),
        ({"upstream": "localhost:1"}, "expected a URL"),
        ({"quiet": "perhaps"}, "expected yes or no"),
    ],
)
def test_settings_that_cannot_be(given, told):
    with pytest.raises(ConfigError, match="expected") as error:
        Settings.of(given, {})
    assert told in str(error.value)


def test_settings_come_from_options_then_the_environment():
    around = {"PALATE_SERVE_UPSTREAM_KEY": "sk-1", "PALATE_SERVE_RATE": "0", "PALATE_SERVE_QUIET": "yes"}
    settings = Settings.of({"rate": 5.0, "port": None}, around)
    assert (settings.upstream_key, settings.rate, settings.quiet, settings.port) == ("sk-1", 5.0, True, 8000)
    assert "sk-1" not in repr(settings)
    assert Settings.from_json(settings.to_json()) == settings


def test_a_model_is_named_below_the_root_alone(tmp_path):
    (tmp_path / "models" / "good").mkdir(parents=True)
    (tmp_path / "models" / "good" / "model.json").write_text("{}")
    (tmp_path / "model.json").write_text("{}")
    settings = Settings(model_root=str(tmp_path / "models"))
    assert settings.folder_below_root("good") == str(tmp_path / "models" / "good")
    for folder in ("..", "../", str(tmp_path), "none", "good/../..", "/", "\udc00"):
        with pytest.raises(ConfigError, match="below the server's model root"):
            settings.folder_below_root(folder)
    with pytest.raises(ConfigError, match="--model-root"):
        Settings().folder_below_root("good")


def test_many_at_once_are_served(tight):
    """Threads of a process are shared by requests of all kinds, and none starves."""
    statuses = []

    def work(n):
        with tight.client() as client:
            for i in range(10):
                statuses.append(client.post("/v1/feedback", json=choice(f"u{n}", i)).status_code)
                statuses.append(client.post("/v1/rank", json={"user": f"u{n}", **ASKED}).status_code)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 504}
    assert statuses.count(200) > 200


def sent(live, data):
    """Send bytes, and return all that comes back until the server closes, or nothing comes for long."""
    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 5) as sock:
        sock.sendall(data)
        sock.settimeout(3)
        parts = []
        try:
            while part := sock.recv(65536):
                parts.append(part)
        except TimeoutError:
            pass
        return b"".join(parts)
