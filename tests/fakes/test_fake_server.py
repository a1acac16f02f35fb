"""The fake over HTTP: the same answers, the failures of a real endpoint, and a ledger of what was charged."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from palate.core import ConfigError
from palate.fakes.server import Server, main
from palate.judge import Judge

LOCAL = "127.0.0.1"


class Caller:
    """Calls an endpoint by hand, over one connection that stays open."""

    def __init__(self, url, timeout=10):
        parts = urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)

    def close(self):
        self.connection.close()

    def get(self, path, **headers):
        return self._call("GET", path, None, headers)

    def post(self, body, path="/v1/chat/completions", **headers):
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._call("POST", path, sent, {name.replace("_", "-"): v for name, v in headers.items()})

    def _call(self, method, path, body, headers):
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers


@pytest.fixture
def serve():
    """Start a server with some knobs and return it with a caller; both end with the test."""
    open_ones = []

    def start(knobs="", timeout=10, **settings):
        server = Server(f"fake:world?{knobs}", **settings)
        server.__enter__()
        caller = Caller(server.url, timeout)
        open_ones.extend([caller, server])
        return server, caller

    yield start
    for each in open_ones:
        each.close()


@pytest.fixture(scope="module")
def request_(comparisons):
    return Judge().request(comparisons[0])


def body_of(request, **settings):
    messages = [{"role": m.role, "content": m.content} for m in request.told(100_000).messages]
    return {"model": "fake-world", "messages": messages, "max_tokens": request.longest, **settings}


# ---- answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("knobs", ["", "error=0.3&bias=0.5&order=0.1&seed=3", "malformed=0.5&truncated=0.3"])
def test_answers_are_those_of_the_fake_in_process(serve, fake, comparisons, knobs):
    _, caller = serve(knobs)
    asker = fake(knobs)
    for comparison in comparisons[:40]:
        request = Judge().request(comparison)
        status, answer, _ = caller.post(body_of(request, temperature=0))
        here = asker.send(request)
        assert status == 200
        assert answer["choices"][0]["message"]["content"] == here.text
        assert answer["choices"][0]["finish_reason"] == here.finish
        assert answer["usage"]["prompt_tokens"] == here.tokens_in
        assert answer["usage"]["completion_tokens"] == here.tokens_out
        assert answer["usage"]["total_tokens"] == here.tokens_in + here.tokens_out


def test_log_probabilities_are_given_where_asked_for(serve, fake, request_):
    _, caller = serve("logprobs=1")
    _, answer, _ = caller.post(body_of(request_, logprobs=True, top_logprobs=10))
    here = fake("logprobs=1").send(request_)
    content = answer["choices"][0]["logprobs"]["content"]
    assert [(t["token"], t["logprob"]) for t in content] == [(t.text, t.logprob) for t in here.logprobs]
    top = [tuple((t["token"], t["logprob"]) for t in token["top_logprobs"]) for token in content]
    assert top == [token.top for token in here.logprobs]
    assert caller.post(body_of(request_))[1]["choices"][0]["logprobs"] is None


def test_seeds_draw_above_temperature_0_and_so_do_keys_where_there_is_none(serve, fake, comparisons):
    _, caller = serve("error=0.3")
    asker, said = fake("error=0.3"), {"a": [], "b": [], "again": []}
    for comparison in comparisons[:30]:
        request = Judge().request(comparison).but(temperature=1.0, seed=5)
        _, answer, _ = caller.post(body_of(request, temperature=1.0, seed=5))
        assert answer["choices"][0]["message"]["content"] == asker.send(request).text
        for name, key in (("a", "a"), ("b", "b"), ("again", "a")):
            _, answer, _ = caller.post(body_of(request, temperature=1.0), Idempotency_Key=key)
            said[name].append(answer["choices"][0]["message"]["content"])
    assert said["a"] == said["again"] != said["b"]


def test_several_choices_are_several_samples(serve, request_):
    _, caller = serve()
    _, answer, _ = caller.post(body_of(request_, n=30, temperature=2.0))
    assert [choice["index"] for choice in answer["choices"]] == list(range(30))
    assert len({choice["message"]["content"] for choice in answer["choices"]}) > 1


def test_a_message_in_parts_is_read(serve, request_):
    _, caller = serve()
    body = body_of(request_)
    parts = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in body["messages"]]
    one, other = caller.post(body)[1], caller.post({**body, "messages": parts})[1]
    assert one["choices"] == other["choices"]
    assert one["model"] == "fake-world"
    assert one["system_fingerprint"] == "fake"


def test_a_refusal_has_its_finish(serve, request_):
    _, caller = serve("refuse=1")
    choice = caller.post(body_of(request_))[1]["choices"][0]
    assert choice["finish_reason"] == "content_filter"


def test_models_are_listed_and_are_named_fake(serve):
    _, caller = serve()
    names = [model["id"] for model in caller.get("/v1/models")[1]["data"]]
    assert "fake-world" in names
    assert all(name.startswith("fake-") for name in names)
    with pytest.raises(ConfigError, match="begins with fake-, and 'gpt-4o' does not"):
        Server(models=["gpt-4o"])


# ---- errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"not json", 400, "invalid_body"),
        (b"[]", 400, "invalid_body"),
        (b'{"model": "fake-world"}', 400, "invalid_body"),
        (b'{"model": "fake-world", "messages": [], "temperature": "warm"}', 400, "invalid_body"),
        (b'{"model": "fake-world", "messages": [], "temperature": NaN}', 400, "invalid_body"),
        (b'{"model": "fake-world", "messages": [], "n": 1000}', 400, "invalid_body"),
        (b'{"model": "fake-world", "messages": [], "max_tokens": -1}', 400, "invalid_body"),
        (b'{"model": "gpt-4o", "messages": []}', 404, "model_not_found"),
    ],
)
def test_a_call_that_is_none_is_told_so(serve, body, status, code):
    server, caller = serve()
    seen, answer, _ = caller.post(body)
    assert (seen, answer["error"]["code"]) == (status, code)
    assert server.ledger.to_json()["charged"] == 0


def test_an_unknown_path_is_not_found(serve):
    _, caller = serve()
    assert caller.get("/v1/engines")[0] == 404
    assert caller.post({}, path="/v1/embeddings")[0] == 404


def test_the_key_must_be_right_where_one_is_asked_for(serve, request_):
    server, caller = serve(key="right")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "right"}):
        status, answer, _ = caller.post(body_of(request_), **headers)
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
        assert "right" not in str(answer)
    assert caller.get("/v1/models")[0] == 401
    assert caller.post(body_of(request_), Authorization="Bearer right")[0] == 200
    assert server.ledger.to_json()["charged"] == 1


def test_beyond_the_rate_it_says_when_to_come_again(serve, request_):
    _, caller = serve("rate=5")
    seen = [caller.post(body_of(request_)) for _ in range(8)]
    refused = [(answer, headers) for status, answer, headers in seen if status == 429]
    assert len(refused) >= 2
    answer, headers = refused[0]
    assert answer["error"]["code"] == "rate_limit_exceeded"
    assert headers["Retry-After"] == "1"
    time.sleep(int(headers["retry-after-ms"]) / 1000)
    assert caller.post(body_of(request_))[0] == 200


def test_a_share_of_calls_fails_and_is_not_charged(serve, comparisons):
    server, caller = serve("fail=0.4")
    seen = [caller.post(body_of(Judge().request(c)))[0] for c in comparisons[:150]]
    assert set(seen) == {200, 500}
    assert 35 < seen.count(500) < 85
    assert server.ledger.to_json()["charged"] == seen.count(200)


def test_a_prompt_too_long_names_the_context(serve, request_):
    _, caller = serve("context=300")
    status, answer, _ = caller.post(body_of(request_))
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    assert "maximum context length is 300 tokens" in answer["error"]["message"]


def test_a_call_that_hangs_is_charged_and_ends_with_the_server(serve, request_):
    server, caller = serve("hang=1", timeout=0.2)
    with pytest.raises(TimeoutError):
        caller.post(body_of(request_))
    assert server.ledger.to_json()["charged"] == 1
    patient = Caller(server.url, timeout=10)
    with closing(patient), ThreadPoolExecutor(1) as pool:
        hung = pool.submit(patient.post, body_of(request_))
        time.sleep(0.1)
        began = time.monotonic()
        server.close()
        assert time.monotonic() - began < 2
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            hung.result(timeout=2)


def test_an_answer_that_breaks_off_was_charged_and_comes_whole_for_nothing_the_next_time(serve, request_):
    server, caller = serve("drop=0.999")
    with pytest.raises(http.client.IncompleteRead) as caught:
        caller.post(body_of(request_), Idempotency_Key="k")
    assert len(caught.value.partial) > 100
    assert server.ledger.to_json()["charged"] == 1
    healthy = Server("fake:world")
    healthy.ledger = server.ledger
    with healthy, closing(Caller(healthy.url)) as again:
        assert again.post(body_of(request_), Idempotency_Key="k")[0] == 200
    ledger = server.ledger.to_json()
    assert (ledger["charged"], ledger["repeats"], ledger["paid_twice"]) == (1, 1, 0)


# ---- charges --------------------------------------------------------------------------------------------


def test_a_repeated_key_gets_the_first_answer_and_is_not_charged(serve, request_):
    _, caller = serve()
    one = caller.post(body_of(request_), Idempotency_Key="k")[1]
    other = caller.post(body_of(request_), Idempotency_Key="k")[1]
    assert one == other  # the id of the answer too
    assert caller.post(body_of(request_), Idempotency_Key="l")[1]["id"] != one["id"]
    assert caller.post(body_of(request_))[1]["id"] != one["id"]
    _, ledger, _ = caller.get("/ledger")
    assert (ledger["charged"], ledger["repeats"], ledger["paid_twice"]) == (3, 1, 2)
    assert ledger["by_key"] == {"k": 1, "l": 1}
    assert list(ledger["by_content"].values()) == [3]
    assert ledger["tokens_in"] == 3 * one["usage"]["prompt_tokens"]
    assert ledger["tokens_out"] == 3 * one["usage"]["completion_tokens"]


def test_one_key_with_another_body_is_another_call(serve, request_):
    _, caller = serve()
    caller.post(body_of(request_), Idempotency_Key="k")
    caller.post(body_of(request_, seed=1), Idempotency_Key="k")
    assert caller.get("/ledger")[1]["charged"] == 2


def test_a_key_that_comes_while_its_first_call_is_answered_waits_for_it(serve, request_):
    server, _ = serve("latency=0.3")

    def call(_):
        with closing(Caller(server.url)) as caller:
            return caller.post(body_of(request_), Idempotency_Key="k")[1]["id"]

    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(call, range(8)))) == 1
    assert 0.3 <= time.monotonic() - began < 2
    ledger = server.ledger.to_json()
    assert (ledger["charged"], ledger["repeats"]) == (1, 7)


def test_a_key_whose_call_failed_is_free_again(serve, request_):
    _, caller = serve("context=300")
    for _ in range(2):
        assert caller.post(body_of(request_), Idempotency_Key="k")[0] == 400
    assert caller.get("/ledger")[1] == {
        "charged": 0, "repeats": 0, "paid_twice": 0, "tokens_in": 0, "tokens_out": 0,
        "by_key": {}, "by_content": {},
    }  # fmt: skip


# ---- connections ----------------------------------------------------------------------------------------


def test_connections_are_kept_and_answers_come_in_one_piece(serve, request_):
    _, caller = serve()
    caller.post(body_of(request_))
    socket = caller.connection.sock
    began = time.monotonic()
    for _ in range(50):
        assert caller.post(body_of(request_))[0] == 200
    assert caller.connection.sock is socket
    assert time.monotonic() - began < 2  # 40 ms a call, if the kernel held half an answer back


def test_many_calls_are_answered_at_the_same_time(serve, request_):
    server, _ = serve("latency=0.2")

    def call(_):
        with closing(Caller(server.url)) as caller:
            return caller.post(body_of(request_))[0]

    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(call, range(32))) == {200}
    assert time.monotonic() - began < 1.5


def test_a_closed_server_leaves_no_threads(serve, request_):
    before = threading.active_count()
    server, caller = serve()
    caller.post(body_of(request_))
    server.close()
    server.close()  # twice is no harm
    caller.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() <= before


def test_from_the_command_line_it_prints_where_it_listens(request_):
    command = [sys.executable, "-m", "palate.fakes.server", "--port", "0", "--knobs", "error=1", "--key", "k"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        url = process.stdout.readline().strip()
        with closing(Caller(url)) as caller:
            assert caller.post(body_of(request_))[0] == 401
            assert caller.post(body_of(request_), Authorization="Bearer k")[0] == 200
    finally:
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=10)
    assert (process.returncode, told) == (0, "")


def test_a_wrong_knob_on_the_command_line_is_told(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--knobs", "eror=1"])
    assert caught.value.code == 2
    assert "no knob 'eror'" in capsys.readouterr().err
