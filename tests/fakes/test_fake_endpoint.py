"""The fake over HTTP as the client's own engine sees it: each failure arrives as what it is."""

import pytest

from palate.fakes.server import Server
from palate.judge import Judge
from palate.models.llm.engine import (
    Disconnected,
    Forbidden,
    NoSuchModel,
    RateLimited,
    ServerFailed,
    TimedOut,
    TooLong,
)

pytest.importorskip("dspy")


@pytest.fixture
def reach(monkeypatch):
    """Start a server and return what sends a request to it through the engine."""
    from palate.models.llm.through_dspy import DSPyEngine

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    started = []

    def start(knobs="", name="fake-world", timeout=10.0, key="", sent=""):
        if sent:
            monkeypatch.setenv("OPENAI_API_KEY", sent)
        server = Server(f"fake:world?{knobs}", key=key)
        server.__enter__()
        spec = f"openai/{name}@{server.url}"
        engine = DSPyEngine(spec, timeout, 4)
        started.extend([engine, server])

        def send(request):
            return engine.complete(spec, request.told(100_000).messages, request)

        send.server = server
        return send

    yield start
    for each in started:
        each.close()


def test_answers_tokens_and_log_probabilities_arrive_as_in_process(reach, fake, comparisons):
    send, asker = reach("logprobs=1&error=0.2&bias=0.3"), fake("logprobs=1&error=0.2&bias=0.3")
    for comparison in comparisons[:20]:
        request = Judge().request(comparison)
        there, here = send(request), asker.send(request)
        assert there == here
    assert send.server.ledger.to_json()["charged"] == 20


def test_endings_arrive(reach, comparisons):
    request = Judge().request(comparisons[0])
    assert reach("refuse=1")(request).finish == "refusal"
    assert reach()(request.but(max_tokens=3)).finish == "length"


def test_equal_calls_through_the_engine_are_charged_once(reach, comparisons):
    send, request = reach(), Judge().request(comparisons[0])
    assert send(request) == send(request)
    ledger = send.server.ledger.to_json()
    assert (ledger["charged"], ledger["repeats"]) == (1, 1)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"knobs": "fail=1"}, ServerFailed),
        ({"knobs": "hang=1", "timeout": 0.3}, TimedOut),
        ({"knobs": "drop=1"}, Disconnected),
        ({"key": "right"}, Forbidden),
        ({"key": "right", "sent": "wrong"}, Forbidden),
        ({"name": "fake-moon"}, NoSuchModel),
        ({"knobs": "context=300"}, TooLong),
    ],
)
def test_failures_arrive_as_what_they_are(reach, comparisons, settings, error):
    with pytest.raises(error) as caught:
        reach(**settings)(Judge().request(comparisons[0]))
    if error is TooLong:
        assert caught.value.limit == 300


def test_the_right_key_is_let_in(reach, comparisons):
    assert reach(key="right", sent="right")(Judge().request(comparisons[0])).finish == "stop"


def test_a_rate_limit_says_how_long_to_wait(reach, comparisons):
    send = reach("rate=0.2")
    send(Judge().request(comparisons[0]))
    with pytest.raises(RateLimited) as caught:
        send(Judge().request(comparisons[1]))
    assert 4 <= caught.value.wait <= 5
