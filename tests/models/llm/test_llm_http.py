"""The whole way: through DSPy, over HTTP, to an endpoint on loopback that counts what it charges."""

import json
import logging
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
from llm_parts import Endpoint, asking, count, say, words

from palate.core import EndpointDown, KeyRefused, UnknownModel
from palate.models.llm.client import Task
from palate.models.llm.engine import (
    Disconnected,
    EngineError,
    Forbidden,
    NoSuchModel,
    RateLimited,
    Refused,
    Rejected,
    ServerFailed,
    TimedOut,
    TooLong,
    Unsupported,
)
from palate.models.llm.session import connect, language_models
from palate.models.llm.through_dspy import DSPyEngine
from palate.models.llm.wire import Fault, Token

pytest.importorskip("dspy")
CHILD = Path(__file__).parent / "llm_child.py"


def once(spec, request=None, timeout=5.0):
    """One call by the engine alone."""
    engine, asked = DSPyEngine(spec, timeout, 4), request or say("x")
    try:
        return engine.complete(spec, asked.told(8192).messages, asked)
    finally:
        engine.close()


# ---- there and back -----------------------------------------------------------------------------------


def test_a_call_goes_out_as_it_was_asked_and_comes_back_whole():
    logprobs = {
        "content": [
            {
                "token": "7",
                "logprob": -0.25,
                "top_logprobs": [{"token": "7", "logprob": -0.25}, {"token": "8", "logprob": -2.0}],
            }
        ]
    }
    with Endpoint(lambda *_: words("Answer: 7", logprobs=logprobs)) as endpoint:
        request = count("how many?", temperature=0.5, seed=11, logprobs=2)
        with language_models():
            (reply,) = connect(endpoint.spec).ask([request])
        (body,), (headers,) = endpoint.bodies, endpoint.headers
    assert (reply.value, reply.tokens_in, reply.tokens_out, reply.paid) == (7, 50, 9, True)
    assert reply.logprobs == (Token("7", -0.25, (("7", -0.25), ("8", -2.0))),)
    assert headers["Idempotency-Key"] == reply.key
    told = request.told(8192).messages
    assert body["messages"] == [{"role": m.role, "content": m.content} for m in told]
    sent = {name: body[name] for name in ("model", "temperature", "seed", "max_tokens", "logprobs")}
    assert sent == {"model": "tiny", "temperature": 0.5, "seed": 11, "max_tokens": 20, "logprobs": True}
    assert body["top_logprobs"] == 2


def test_a_repair_shows_the_bad_answer():
    with Endpoint(
        lambda text, body, n: words("Answer: 7" if len(body["messages"]) == 4 else "Seven.")
    ) as endpoint:
        with language_models():
            (reply,) = connect(endpoint.spec).ask([count("x")])
        assert reply.value == 7
        assert [m["role"] for m in endpoint.bodies[1]["messages"]] == ["system", "user", "assistant", "user"]


def test_halves_of_surrogate_pairs_do_not_stop_a_call():
    with Endpoint() as endpoint:
        once(endpoint.spec, say("bad \ud800 text"))
        assert "bad ? text" in endpoint.bodies[0]["messages"][1]["content"]


def test_connections_are_kept(monkeypatch):
    with Endpoint(latency=0.01) as endpoint:
        opened = []
        accept = endpoint.server.process_request
        endpoint.server.process_request = lambda *a: (opened.append(1), accept(*a))
        with language_models(concurrency=4):
            list(connect(endpoint.spec).run(Task(asking(str(i))) for i in range(40)))
        assert len(opened) <= 6


# ---- what an endpoint may say -------------------------------------------------------------------------


def error(message, code=None, kind=None):
    return {"error": {"message": message, "code": code, "type": kind, "param": None}}


LONG = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."
SAID = [
    (401, error("Incorrect API key provided"), {}, Forbidden, {}),
    (403, error("no access"), {}, Forbidden, {}),
    (402, error("pay first"), {}, Forbidden, {}),
    (429, error("You exceeded your current quota", "insufficient_quota"), {}, Forbidden, {}),
    (404, error("The model `tiny` does not exist", "model_not_found"), {}, NoSuchModel, {}),
    (404, b"nothing here", {}, NoSuchModel, {}),
    (429, error("slow down"), {"Retry-After": "7"}, RateLimited, {"wait": 7.0}),
    (429, error("slow down"), {}, RateLimited, {"wait": None}),
    (503, error("busy"), {"Retry-After": "2"}, ServerFailed, {"wait": 2.0}),
    (500, b"<html>oops</html>", {}, ServerFailed, {}),
    (502, b"", {}, ServerFailed, {}),
    (409, error("a call of this name is under way"), {}, ServerFailed, {}),
    (504, error("gateway timeout"), {}, TimedOut, {}),
    (400, error(LONG, "context_length_exceeded"), {}, TooLong, {"limit": 4096}),
    (400, {"object": "error", "message": LONG, "code": 400}, {}, TooLong, {"limit": 4096}),
    (400, error("prompt is too long: 210,000 tokens > 200,000 maximum"), {}, TooLong, {"limit": 200_000}),
    (413, error("too large"), {}, TooLong, {"limit": 0}),
    (400, error("'logprobs' is not supported with this model"), {}, Unsupported, {"setting": "logprobs"}),
    (400, error("Unsupported parameter: seed"), {}, Unsupported, {"setting": "seed"}),
    (400, error("'temperature' does not support 0.0"), {}, Unsupported, {"setting": "temperature"}),
    (400, error("declined by our content policy", "content_policy_violation"), {}, Refused, {}),
    (400, error("something odd"), {}, Rejected, {}),
    (200, b"<html>a gateway's page</html>", {}, ServerFailed, {}),
    (200, b'{"choices": "none"}', {}, ServerFailed, {}),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "headers", "kind", "fields"), SAID)
def test_what_an_endpoint_says_is_understood(status, body, headers, kind, fields):
    with Endpoint(lambda *_: (status, body, headers)) as endpoint, pytest.raises(EngineError) as told:
        once(endpoint.spec)
    assert type(told.value) is kind
    assert {name: getattr(told.value, name) for name in fields} == fields
    assert told.value.__cause__ is None


def test_a_refusal_in_its_own_field_is_one():
    def refuse(*_):
        body = words(None)
        body["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "I will not."}
        return body

    with Endpoint(refuse) as endpoint:
        completion = once(endpoint.spec)
    assert (completion.finish, completion.text) == ("refusal", "I will not.")
    with Endpoint(lambda *_: words("", finish_reason="content_filter")) as endpoint:
        assert once(endpoint.spec).finish == "refusal"
    with Endpoint(lambda *_: words("cut", finish_reason="length")) as endpoint:
        assert once(endpoint.spec).finish == "length"


def test_a_slow_endpoint_is_a_time_out():
    with Endpoint(latency=1.0) as endpoint, pytest.raises(TimedOut):
        once(endpoint.spec, timeout=0.2)


def test_an_endpoint_that_drips_is_a_time_out():
    """Bytes keep coming, each in time; the answer as a whole is not."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def drip():
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        )
        try:
            for _ in range(40):
                connection.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            pass
        connection.close()

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    began = time.monotonic()
    with pytest.raises(TimedOut):
        once(f"openai/tiny@http://127.0.0.1:{port}/v1", timeout=0.3)
    assert time.monotonic() - began < 1.2
    thread.join(5)
    listener.close()


def test_nobody_there_and_a_line_that_breaks_are_told_apart():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Disconnected) as told:
        once(f"openai/tiny@http://127.0.0.1:{port}/v1")
    assert told.value.refused
    listener = socket.create_server(("127.0.0.1", 0))

    def hang_up():
        connection, _ = listener.accept()
        connection.recv(100)
        connection.close()

    thread = threading.Thread(target=hang_up, daemon=True)
    thread.start()
    with pytest.raises(Disconnected) as told:
        once(f"openai/tiny@http://127.0.0.1:{listener.getsockname()[1]}/v1")
    assert not told.value.refused
    thread.join(5)
    listener.close()


def test_an_endpoint_that_is_not_there_ends_the_run():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with language_models(), pytest.raises(EndpointDown, match="mend its address"):
        connect(f"openai/tiny@http://127.0.0.1:{port}/v1").ask([say("x")])


def test_storms_of_429_and_500_end_well_over_http():
    def does(text, body, number):
        if number % 3 == 1:
            return 429, error("slow down"), {"Retry-After": "0.02"}
        return (500, error("oops"), {}) if number % 5 == 2 else words(f"about {text}")

    with Endpoint(does) as endpoint, language_models(concurrency=8, retries=6) as session:
        answers = list(connect(endpoint.spec).run(Task(asking(str(i))) for i in range(40)))
        assert [a[0].text for a in answers] == [f"about {i}" for i in range(40)]
        assert set(endpoint.charges.values()) == {1}
        assert session.ledger.total["retries"] == len(endpoint.bodies) - 40


# ---- providers ----------------------------------------------------------------------------------------


def test_a_provider_without_its_key_is_told_with_the_variable():
    for spec in ("openai/gpt-4o-mini", "openai/tiny@http://example.invalid/v1"):
        with language_models(), pytest.raises(KeyRefused, match="OPENAI_API_KEY"):
            connect(spec).ask([say("x")])


@pytest.mark.filterwarnings("ignore")  # LiteLLM's own
def test_a_provider_that_nobody_knows_is_told():
    pytest.importorskip("litellm")
    with language_models(), pytest.raises(UnknownModel, match="--lm openai/gpt-4o-mini"):
        connect("nosuchprovider/model").ask([say("x")])


def test_the_environment_may_give_the_address(monkeypatch):
    with Endpoint() as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.spec.partition("@")[2])
        with language_models() as session:
            client = connect("openai/tiny")
            assert client.spec == endpoint.spec
            assert client.ask([say("x")])[0].text == "about x"
            assert client.ask([say("y", lm="openai/tiny")])[0].text == "about y"
            assert {call.model for call in session.store.calls()} == {endpoint.spec}


@pytest.mark.filterwarnings("ignore")  # LiteLLM's own
def test_other_providers_go_through_litellm(monkeypatch):
    """A provider that DSPy does not speak natively: the same answers, errors and name of the call."""
    pytest.importorskip("litellm")
    with Endpoint() as endpoint:
        monkeypatch.setenv("DEEPINFRA_API_KEY", "deep-key-123456")
        monkeypatch.setenv("DEEPINFRA_API_BASE", endpoint.spec.partition("@")[2])
        with language_models(retries=0):
            client = connect("deepinfra/tiny")
            (reply,) = client.ask([say("x")])
            assert (reply.text, reply.tokens_in) == ("about x", 50)
            assert endpoint.headers[0]["Idempotency-Key"] == reply.key
            endpoint.does = lambda *_: (401, error("bad key deep-key-123456"), {})
            with pytest.raises(KeyRefused) as told:
                client.ask([say("y")])
            assert "deep-key-123456" not in str(told.value)


def test_tables_of_prices_and_limits_are_at_hand():
    with language_models() as session, session.rehearsal() as plan:
        connect("openai/gpt-4o-mini").ask([say("x" * 60_000)])  # it reads 128,000 tokens: nothing is cut
    assert plan.table()[0]["shortened"] == 0
    assert plan.money() == pytest.approx(plan.tokens_in * 0.15e-6 + plan.tokens_out * 0.6e-6)


# ---- keys ---------------------------------------------------------------------------------------------

KEY = "sk-proj-Abc123_very-secret-Xyz789"


def test_a_key_is_sent_and_stands_nowhere_else(monkeypatch, caplog, capfd, tmp_path):
    """An endpoint that throws the key back wherever it can; a run that succeeds, fails, and is refused."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)

    def does(text, body, number):
        if text == "refuse":
            return 401, error(f"Incorrect API key provided: {KEY}"), {}
        if text == "fail":
            return 500, error(f"Authorization: Bearer {KEY}"), {}
        return words(f"your key is {KEY}" if text == "echo" else f"about {text}")

    told = []
    with Endpoint(does) as endpoint, language_models(folder=tmp_path / "lm", retries=1) as session:
        client = connect(endpoint.spec)
        answers = client.ask([say("x"), say("fail"), say("echo")], user="ann", method="pi")
        told += [repr(answers), repr(client), repr(session.ledger.table()), repr(list(session.store.calls()))]
        with pytest.raises(KeyRefused) as refused:
            client.ask([say("refuse")])
        told += ["".join(traceback.format_exception(refused.value)), repr(refused.value)]
        assert {headers["Authorization"] for headers in endpoint.headers} == {f"Bearer {KEY}"}
        engine = client._desk.caller(client.spec)._engine
        told += [repr(engine), str(vars(engine))]
    assert isinstance(answers[1], Fault)
    out, err = capfd.readouterr()
    told += [out, err, caplog.text, *(f.read_bytes().decode("latin-1") for f in (tmp_path / "lm").iterdir())]
    for place in told:
        assert KEY not in place
        assert "very-secret" not in place
    with sqlite3.connect(tmp_path / "lm" / "calls.sqlite") as file:
        assert "very-secret" not in "\n".join(file.iterdump())


def test_on_loopback_no_key_is_needed():
    with Endpoint() as endpoint:
        assert once(endpoint.spec).text == "about x"
        assert endpoint.headers[0]["Authorization"] == "Bearer none"


# ---- processes ----------------------------------------------------------------------------------------

USERS, STEPS = 24, 3
CALLS = USERS * (STEPS - 1) + USERS // 2


def child(endpoint, folder):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI")}
    return subprocess.Popen(
        [sys.executable, str(CHILD), endpoint.spec, str(folder), str(USERS), str(STEPS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )


def finished(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return json.loads(out)


def test_two_processes_that_share_a_store_pay_once(tmp_path):
    with Endpoint(latency=0.05) as endpoint:
        pair = [child(endpoint, tmp_path) for _ in range(2)]
        one, two = (finished(process) for process in pair)
        assert one["results"] == two["results"]
        assert set(endpoint.charges.values()) == {1}
        assert one["paid"] + two["paid"] == sum(endpoint.charges.values()) == CALLS


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("honours", [True, False], ids=["honours-names", "forgets-names"])
def test_a_killed_run_goes_on_and_pays_nothing_answered_twice(tmp_path, honours):
    rng = random.Random(honours)
    with Endpoint(latency=0.06, honours=honours) as endpoint:
        on_their_way = 0
        for _ in range(3):
            process, before = child(endpoint, tmp_path), len(endpoint.bodies)
            stop = before + rng.randrange(4, 16)
            while len(endpoint.bodies) < stop and process.poll() is None:
                time.sleep(0.002)
            time.sleep(rng.random() * 0.06)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            with sqlite3.connect(tmp_path / "calls.sqlite") as file:
                on_their_way += file.execute("SELECT count(*) FROM claims").fetchone()[0]
                kept = file.execute("SELECT count(*) FROM calls").fetchone()[0]
            assert kept >= before - on_their_way
        time.sleep(0.1)
        last = finished(child(endpoint, tmp_path))
        assert len(last["results"]) == USERS
        assert last["requests"] == USERS * STEPS
        twice = sum(n - 1 for n in endpoint.charges.values())
        assert len(endpoint.charges) == CALLS
        assert twice <= (0 if honours else on_their_way)
        assert on_their_way > 0
        assert last["interrupted"] <= on_their_way
