"""A call through the proxy's pipe: bytes there and back untouched, as they come, whatever goes wrong."""

import asyncio
import gzip
import json
import socket
import time

import httpx
import pytest
from serve_live import listening
from serve_upstream import Fake, chunked, completion, event, until, whole
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from palate.core import DataError
from palate.serve.upstream import Passing, Upstream, UpstreamFault, read_call, several, with_words

WORDS = "Likes lists."
CALL = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


class Pipe:
    """The upstream behind an app of one route, both over real HTTP."""

    def __init__(self):
        self.upstream = Upstream("")
        self.loop = None

    def use(self, upstream):
        """Put another endpoint in place, the old one's connections closed."""
        if self.loop:
            asyncio.run_coroutine_threadsafe(self.upstream.close(), self.loop).result(5)
        self.upstream = upstream

    async def chat(self, request: Request):
        self.loop = asyncio.get_running_loop()
        call = read_call(await request.body())
        body = with_words(call, WORDS)
        passed = self.upstream.request("POST", "/chat/completions", body, request.headers, request.url.query)
        return Passing(self.upstream, passed, {"X-Palate-Persona": "version=1; weight=1.00"})


@pytest.fixture(scope="module")
def pipe():
    held = Pipe()

    async def fault(request, error):
        return JSONResponse({"error": {"code": error.code, "message": str(error)}}, error.status)

    app = Starlette(
        routes=[Route("/chat", held.chat, methods=["POST"])], exception_handlers={UpstreamFault: fault}
    )
    with Fake() as fake, listening(app, lifespan="off", log_level="critical") as url:
        held.fake, held.url = fake, url + "/chat"
        yield held
        held.use(Upstream(""))


@pytest.fixture
def over(pipe):
    """Set the script and the endpoint's settings; returns the pipe."""

    def set_up(script=None, **fields):
        pipe.fake.script = script
        pipe.fake.calls.clear()
        pipe.fake.gone.clear()
        pipe.use(Upstream(pipe.fake.url, "sk-upstream", **fields))
        return pipe

    return set_up


def raw_post(url, body, headers=b""):
    """Send a call over a bare socket; yields what comes back, read by read, with the time of each."""
    where = httpx.URL(url)
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
    with socket.create_connection((where.host, where.port)) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.settimeout(10)
        s.sendall(head % (where.raw_path, headers, len(body)) + body)
        while piece := s.recv(65536):
            yield time.perf_counter(), piece


# ---- there ------------------------------------------------------------------------------------------------

ODD = (
    b'{ "temperature": 1.0e0, "unknown":{"a":[1,2.50,null]},"seed":123456789012345678901234567890,\n'
    b'"messages" :[ {"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;'
    b'base64,AAAA"}},{"type":"text","text":"caf\\u00e9 \xe2\x98\x83"}]}],"tools":[{"type":"function"}],'
    b'"n":2,"logprobs":true,"response_format":{"type":"json_object"},"user":"ann","stream":false }'
)


def test_only_the_words_are_added(over):
    pipe = over(whole(completion("Yes.")))
    httpx.post(pipe.url, content=ODD, headers={"content-type": "application/json"})
    (call,) = pipe.fake.calls
    added = json.dumps({"role": "system", "content": WORDS}).encode() + b", "
    at = ODD.index(b'{"role":"user"')
    assert call.body == ODD[:at] + added + ODD[at:]
    assert call.path == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (
            '[{"role":"system","content":"Be kind."}]',
            '[{"role":"system","content":"Likes lists.\\n\\nBe kind."}]',
        ),
        ('[{"content":"","role":"system"}]', '[{"content":"Likes lists.","role":"system"}]'),
        (
            '[{"role":"developer","content":[{"type":"text","text":"x"}]}]',
            '[{"role":"developer","content":[{"type": "text", "text": "Likes lists."}, '
            '{"type":"text","text":"x"}]}]',
        ),
        (
            '[{"role":"system","content":[]}]',
            '[{"role":"system","content":[{"type": "text", "text": "Likes lists."}]}]',
        ),
        (
            '[ {"role":"system","content":null}]',
            '[ {"role": "system", "content": "Likes lists."}, {"role":"system","content":null}]',
        ),
        (  # which of two roles counts is the reader's guess: a message of its own
            '[{"role":"user","role":"system","content":"x"}]',
            '[{"role": "system", "content": "Likes lists."}, {"role":"user","role":"system","content":"x"}]',
        ),
        ("[]", "[]"),
        ('["odd"]', '[{"role": "system", "content": "Likes lists."}, "odd"]'),
    ],
)
def test_where_the_words_go(messages, expected):
    body = f'{{"a":1,"messages":{messages},"z":[]}}'
    made = with_words(read_call(body.encode()), WORDS).decode()
    assert made == f'{{"a":1,"messages":{expected},"z":[]}}'
    assert json.loads(made)


def test_words_cannot_leave_their_string():
    words = 'a "quote", a \\ and \n a line, \u2028 and \ud800 half a pair'
    made = json.loads(with_words(read_call(json.dumps(CALL).encode()), words))
    assert made["messages"][0]["content"] == words.replace("\ud800", "?")
    assert made["messages"][1:] == CALL["messages"]


def test_without_words_nothing_is_added():
    assert with_words(read_call(ODD), "") == ODD


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"[]", b"null", b'{"messages": 3}', b'{"messages": {}}', b'{"messages": []',
        b'{"messages": [], "messages": []}', b'{"messages": []} x', b'{"messages": [],}', b'{"messages" []}',
        b'{messages: []}', b"\xff\xfe{}", b'{"messages": "\xe9"}', b'{"a": ' + b"[" * 100_000,
        b'{"messages": [', b'{"a":1 "b":2}',
    ],
)  # fmt: skip
def test_what_is_no_call_is_refused_kindly(body):
    with pytest.raises(DataError, match=r"messages|JSON"):
        read_call(body)


def test_headers_that_are_passed_on_and_the_key_that_is_not(over):
    pipe = over(whole(completion("Yes.")))
    headers = {
        "Authorization": "Bearer pk_mine", "Cookie": "a=b", "OpenAI-Organization": "org",
        "X-Palate-User": "ann", "Idempotency-Key": "k1", "Accept": "text/event-stream",
        "X-Forwarded-For": "10.0.0.1",
    }  # fmt: skip
    httpx.post(pipe.url + "?api-version=2", json=CALL, headers=headers)
    (call,) = pipe.fake.calls
    assert call.path == "/v1/chat/completions?api-version=2"
    assert call.headers["authorization"] == "Bearer sk-upstream"
    assert call.headers["openai-organization"] == "org"
    assert call.headers["idempotency-key"] == "k1"
    assert call.headers["accept"] == "text/event-stream"
    assert not {"cookie", "x-palate-user", "x-forwarded-for"} & set(call.headers)
    assert "pk_mine" not in json.dumps(call.headers)


def test_a_key_of_the_callers_own_where_it_is_allowed(over):
    headers = {"X-Upstream-Authorization": "Bearer sk-own"}
    pipe = over(whole(completion("Yes.")), own_key=True)
    httpx.post(pipe.url, json=CALL, headers=headers)
    assert pipe.fake.calls[0].headers["authorization"] == "Bearer sk-own"
    pipe = over(whole(completion("Yes.")))
    refused = httpx.post(pipe.url, json=CALL, headers=headers)
    assert (refused.status_code, pipe.fake.calls) == (403, [])


# ---- and back ---------------------------------------------------------------------------------------------


def test_the_answers_bytes_come_back_untouched(over):
    body = b'{"b": 1.0,\n "a" :"\\u00e9 \xc3\xa9"}  '
    more = b"x-request-id: up1\r\nopenai-version: 7\r\nSet-Cookie: a=b\r\nAlt-Svc: h3\r\nX-RateLimit: 3\r\n"
    pipe = over(whole(body, more=more))
    answer = httpx.post(pipe.url, json=CALL)
    assert answer.content == body
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["x-upstream-request-id"] == "up1"
    assert answer.headers["openai-version"] == "7"
    assert answer.headers["x-ratelimit"] == "3"
    assert answer.headers["x-palate-persona"] == "version=1; weight=1.00"
    assert not {"set-cookie", "alt-svc"} & set(answer.headers)


def test_a_compressed_answer_stays_as_it_is(over):
    body = gzip.compress(completion("Yes."))
    pipe = over(whole(body, more=b"Content-Encoding: gzip\r\n"))
    with httpx.stream("POST", pipe.url, json=CALL, headers={"Accept-Encoding": "gzip"}) as answer:
        assert b"".join(answer.iter_raw()) == body
    assert pipe.fake.calls[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    "status", [b"400 Bad Request", b"401 No", b"404 Not Found", b"429 Slow", b"500 Oh", b"503 Busy"]
)
def test_the_upstreams_errors_are_passed_on(over, status):
    body = b'{"error":{"message":"as the upstream says","type":"x"}}'
    pipe = over(whole(body, status, more=b"Retry-After: 7\r\n"))
    answer = httpx.post(pipe.url, json=CALL)
    assert (answer.status_code, answer.content) == (int(status[:3]), body)
    assert answer.headers["retry-after"] == "7"


def test_a_stream_comes_chunk_by_chunk_as_it_was_cut(over):
    pieces = [event("a"), event("b") + event("c"), b'data: {"cut', b' anywhere"}\n\n', b"data: [DONE]\n\n"]
    pipe = over(chunked(pieces, pause=0.03))
    got = b"".join(
        piece for _, piece in raw_post(pipe.url, json.dumps(CALL).encode(), b"Connection: close\r\n")
    )
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower()
    assert b"text/event-stream" in head
    assert body == b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def test_a_stream_is_not_held_back(over):
    """Each event is there long before the next is sent: nothing waits for more."""
    pipe = over(chunked([event(str(n)) for n in range(5)], pause=0.1))
    with httpx.stream("POST", pipe.url, json=CALL) as answer:
        times = [time.perf_counter() for _ in answer.iter_raw()]
    assert len(times) == 5
    assert all(gap > 0.02 for gap in map(float.__sub__, times[1:], times))


# ---- what goes wrong --------------------------------------------------------------------------------------


def test_an_upstream_that_says_nothing_is_let_go(over):
    async def hang(call, writer):
        await asyncio.sleep(60)

    pipe = over(hang, read_s=0.2)
    answer = httpx.post(pipe.url, json=CALL)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout")
    until(lambda: pipe.fake.gone)


def test_an_upstream_that_takes_no_connection(over):
    pipe = over()
    pipe.use(Upstream("http://127.0.0.1:9/v1", "k"))
    answer = httpx.post(pipe.url, json=CALL)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_down")
    assert "127.0.0.1" not in answer.text


def test_an_upstream_that_breaks_before_it_answers(over):
    async def broken(call, writer):
        writer.transport.abort()

    answer = httpx.post(over(broken).url, json=CALL)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_broke")


def test_an_upstream_that_speaks_no_http(over):
    async def nonsense(call, writer):
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        writer.close()

    answer = httpx.post(over(nonsense).url, json=CALL)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_broke")


def test_a_redirection_is_not_followed(over):
    pipe = over(whole(b"", b"307 Elsewhere", more=b"Location: http://127.0.0.1:1/secret\r\n"))
    answer = httpx.post(pipe.url, json=CALL)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_moved")
    assert len(pipe.fake.calls) == 1
    assert "secret" not in answer.text + str(answer.headers)


def test_no_upstream_at_all(over):
    pipe = over()
    pipe.use(Upstream(""))
    answer = httpx.post(pipe.url, json=CALL)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_upstream")


def test_half_a_stream_never_looks_whole(over):
    pieces = [event("a"), event("b")]
    pipe = over(chunked(pieces, pause=0.02, end=False))
    with httpx.stream("POST", pipe.url, json=CALL) as answer:
        got = answer.iter_raw()
        assert next(got) == pieces[0]
        with pytest.raises(httpx.RemoteProtocolError):
            list(got)


def test_half_a_body_never_looks_whole(over):
    async def half(call, writer):
        writer.write(
            b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"choices"'
        )
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.close()

    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(over(half).url, json=CALL)


def test_a_stream_that_falls_silent_is_broken_off(over):
    async def stuck(call, writer):
        await chunked([event("a")], end=True)(call, Kept(writer))
        await asyncio.sleep(60)

    pipe = over(stuck, read_s=0.2)
    with pytest.raises(httpx.RemoteProtocolError), httpx.stream("POST", pipe.url, json=CALL) as answer:
        list(answer.iter_raw())
    until(lambda: pipe.fake.gone)


class Kept:
    """A writer that leaves out the end of a stream."""

    def __init__(self, writer):
        self.writer = writer

    def write(self, data):
        if data != b"0\r\n\r\n":
            self.writer.write(data)

    async def drain(self):
        await self.writer.drain()


def test_a_client_that_goes_away_ends_the_call_before_the_first_byte(over):
    async def slow(call, writer):
        await asyncio.sleep(60)

    pipe = over(slow)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(pipe.url, json=CALL, timeout=0.2)
    until(lambda: pipe.fake.gone)


def test_a_client_that_goes_away_ends_the_call_in_the_middle(over):
    pipe = over(chunked([event(str(n)) for n in range(600)], pause=0.05))
    with httpx.stream("POST", pipe.url, json=CALL) as answer:
        next(answer.iter_raw())
    began = time.perf_counter()
    until(lambda: pipe.fake.gone)
    assert pipe.fake.gone[0] - began < 1.0


def test_a_slow_reader_holds_the_upstream_back_and_gets_all(over):
    piece = b"x" * 65536
    pipe = over(chunked([piece] * 200))
    size = 0
    with httpx.stream("POST", pipe.url, json=CALL) as answer:
        for number, got in enumerate(answer.iter_raw()):
            size += len(got)
            if number < 5:
                time.sleep(0.05)
    assert size == 200 * len(piece)


def test_all_connections_in_use(over):
    async def slow(call, writer):
        await asyncio.sleep(1.0)
        await whole(completion("Yes."))(call, writer)

    pipe = over(slow, connections=1, connect_s=0.2)

    async def both():
        async with httpx.AsyncClient() as client:
            return await asyncio.gather(*(client.post(pipe.url, json=CALL) for _ in range(2)))

    assert sorted(answer.status_code for answer in asyncio.run(both())) == [200, 503]


def test_connections_are_kept_and_used_again(over):
    pipe = over(whole(completion("Yes.")))
    ports = set()
    script = pipe.fake.script

    async def noting(call, writer):
        ports.add(writer.get_extra_info("peername")[1])
        await script(call, writer)

    pipe.fake.script = noting
    with httpx.Client() as client:
        for _ in range(5):
            client.post(pipe.url, json=CALL)
    assert len(ports) == 1


# ---- several answers --------------------------------------------------------------------------------------


def ask_several(fake, n=3, **fields):
    async def run():
        upstream = Upstream(fake.url, "k", **fields)
        try:
            return await several(upstream, CALL | {"temperature": 1.0}, WORDS, n, {})
        finally:
            await upstream.close()

    return asyncio.run(run())


def test_several_answers_in_one_call(over):
    pipe = over(whole(completion("A", "B", "C")))
    assert ask_several(pipe.fake) == ["A", "B", "C"]
    (call,) = pipe.fake.calls
    assert (call.read["n"], call.read["messages"][0]["content"]) == (3, WORDS)


def test_an_upstream_that_gives_one_is_asked_again(over):
    pipe = over()
    letters = iter("ABCDEF")

    async def one(call, writer):
        await whole(completion(next(letters)))(call, writer)

    pipe.fake.script = one
    assert sorted(ask_several(pipe.fake)) == ["A", "B", "C"]
    assert [call.read.get("n") for call in pipe.fake.calls] == [3, None, None]


def test_an_upstream_that_refuses_n_is_asked_one_by_one(over):
    pipe = over()

    async def picky(call, writer):
        if "n" in call.read:
            await whole(b'{"error": {"message": "n must be 1"}}', b"400 Bad")(call, writer)
        else:
            await whole(completion(f"A{len(pipe.fake.calls)}"))(call, writer)

    pipe.fake.script = picky
    assert len(ask_several(pipe.fake)) == 3


def test_empty_answers_and_refusals_are_left_out(over):
    body = json.dumps(
        {
            "choices": [
                {"message": {"content": None, "refusal": "no"}},
                {"message": {"content": " "}},
                {"message": {"content": "B"}},
            ]
        }
    ).encode()
    pipe = over(whole(body))
    assert set(ask_several(pipe.fake)) == {"B"}


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        (whole(b'{"error": {"message": "no such model"}}', b"404 No"), 502, "status 404: no such model"),
        (whole(b"{}", b"429 Slow"), 503, "status 429"),
        (whole(b"<html>"), 502, "no completion"),
        (whole(b'{"choices": []}'), 502, "gave no answer"),
    ],
)
def test_no_answer_at_all_is_told(over, script, status, words):
    pipe = over(script)
    with pytest.raises(UpstreamFault, match=words) as raised:
        ask_several(pipe.fake)
    assert raised.value.status == status
