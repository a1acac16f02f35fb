"""A fake language model over real HTTP, as an OpenAI-compatible endpoint on this machine.

    with Server("fake:world?error=0.2", key="secret") as server:
        ...                        # openai/fake-world@{server.url}, with the key in the environment

    python -m palate.fakes.server --port 0 --knobs "error=0.2&rate=50"

It speaks ``POST /v1/chat/completions`` and ``GET /v1/models`` over connections that are kept alive. It has
the knobs and the reader of the fake in process, and gives equal answers to equal calls. Above temperature 0
the body's ``seed`` draws; where it has none, the idempotency key, which tells samples apart. With ``stream``
an answer comes token by token as server-sent events; there ``hang`` and ``drop`` strike in its middle.
``GET /ledger`` shows what was charged.
"""

import argparse
import json
import math
import socket
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from palate.core import ConfigError
from palate.fakes.knobs import Knobs
from palate.fakes.ledger import Ledger
from palate.fakes.reader import Reader, Settings, Transport, tokens
from palate.models.llm.engine import Completion, TooLong
from palate.models.llm.program import Message

__all__ = ["Server", "main"]

_MODELS = ("fake-world", "fake-world-small")
_LONGEST = 512  # tokens of an answer, where the call does not say
_MOST_CHOICES = 128
_FINISH = {"refusal": "content_filter"}


class _Wrong(Exception):
    """A call that is answered with an error: status, code, and headers to send along."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers or {}


class _Call(NamedTuple):
    """A call as it was sent."""

    model: str
    messages: tuple[Message, ...]
    settings: Settings
    choices: int
    stream: bool = False


class Server:
    """A fake endpoint on a free port of this machine, from ``with`` to its end.

    Args:
        spec: The fake and its knobs.
        key: The key that calls must bring; "" asks for none.
        port: 0 takes a free one.
        models: The names it answers to; each begins with ``fake-``.

    Attributes:
        url: Where it listens, with ``/v1``.
        ledger: What was charged.

    Raises:
        ConfigError: If a knob is unknown or a model's name does not say that it is a fake.

    >>> with Server("fake:world") as server:
    ...     server.url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(
        self, spec: str = "fake:world", key: str = "", port: int = 0, models: Sequence[str] = _MODELS
    ) -> None:
        named = [name for name in models if not name.startswith("fake-")]
        if named:
            raise ConfigError(f"a fake model's name begins with fake-, and {named[0]!r} does not")
        self.knobs = Knobs.of(spec)
        self.key, self.models = key, tuple(models)
        self.ledger = Ledger()
        self.reader, self.transport = Reader(self.knobs), Transport(self.knobs)
        self.closing = threading.Event()
        self._http = _Listener(self, port)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, and break the connections that are left."""
        self.closing.set()
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()

    def wait(self) -> None:
        """Wait until somebody interrupts."""
        while self._thread.is_alive():
            self._thread.join(1.0)


class _Listener(ThreadingHTTPServer):
    """Threads of a server; connections that are still open at the end are broken."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, fake: Server, port: int) -> None:
        self.fake = fake
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        with self._guard:
            left = list(self._open)
        for connection in left:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed meanwhile

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let a client that went away go; anything else is told."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        fake = self.server.fake
        try:
            if self.path == "/ledger":
                return self._send(200, fake.ledger.to_json())
            self._check_key()
            if self.path != "/v1/models":
                raise _Wrong(404, "not_found", f"there is no {self.path} here")
            models = [{"id": name, "object": "model", "owned_by": "palate fakes"} for name in fake.models]
            self._send(200, {"object": "list", "data": models})
        except _Wrong as wrong:
            self._refuse(wrong)

    def do_POST(self) -> None:
        try:
            length = self.headers.get("Content-Length") or "0"
            body = self.rfile.read(int(length)) if length.isdecimal() else b""
            self._check_key()
            if self.path != "/v1/chat/completions":
                raise _Wrong(404, "not_found", f"there is no {self.path} here")
            self._complete(body)
        except _Wrong as wrong:
            self._refuse(wrong)

    def _complete(self, body: bytes) -> None:
        """Answer a call for completions, or let go wrong what is to go wrong."""
        fake = self.server.fake
        key = self.headers.get("Idempotency-Key", "")
        call = _read_call(body, fake.models)
        if call.settings.seed is None and key:
            call = call._replace(settings=call.settings._replace(seed=zlib.crc32(key.encode())))
        wait = fake.transport.wait()
        if wait:
            headers = {"Retry-After": str(math.ceil(wait)), "retry-after-ms": str(math.ceil(wait * 1000))}
            raise _Wrong(429, "rate_limit_exceeded", f"at most {fake.knobs.rate:g} calls a second", headers)
        trouble = fake.transport.trouble(call.messages)
        if trouble == "fail":
            raise _Wrong(500, "server_error", "the fake failed on purpose")

        def make() -> tuple[Any, int, int]:
            if fake.knobs.latency:
                fake.closing.wait(fake.knobs.latency)
            answer = _answer(call, fake.reader)
            return answer, answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]

        try:
            answer = fake.ledger.answer(key, body, make)
        except TooLong as error:
            message = f"This model's maximum context length is {error.limit} tokens: {error}"
            raise _Wrong(400, "context_length_exceeded", message) from error
        if call.stream:
            return self._send_stream(_events(answer), trouble)
        if trouble == "hang":
            fake.closing.wait()
            self.close_connection = True
            return
        self._send(200, answer, whole=trouble != "drop")

    def _check_key(self) -> None:
        key = self.server.fake.key
        if key and self.headers.get("Authorization", "") != f"Bearer {key}":
            raise _Wrong(401, "invalid_api_key", "Incorrect API key provided.")

    def _refuse(self, wrong: _Wrong) -> None:
        kind = "server_error" if wrong.status >= 500 else "invalid_request_error"
        error = {"message": str(wrong), "type": kind, "param": None, "code": wrong.code}
        self._send(wrong.status, {"error": error}, wrong.headers)

    def _send(
        self, status: int, value: Any, headers: dict[str, str] | None = None, whole: bool = True
    ) -> None:
        """Send a value as JSON in one piece; or half of it, and break the connection."""
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self._headers_buffer: list[bytes]
        self._headers_buffer += [b"\r\n", body if whole else body[: len(body) // 2]]
        self.flush_headers()
        self.close_connection = self.close_connection or not whole

    def _send_stream(self, events: list[bytes], trouble: str) -> None:
        """Send events one by one; or half of them, and then nothing more, or break the connection."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events[: len(events) // 2] if trouble else events:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        if trouble == "hang":
            self.server.fake.closing.wait()
        if not trouble:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = self.close_connection or bool(trouble)


def _read_call(body: bytes, models: Sequence[str]) -> _Call:
    """Read the body of a call for completions."""
    try:
        sent = json.loads(body)
        messages = tuple(Message(str(m["role"]), _words(m.get("content"))) for m in sent["messages"])
        model = str(sent["model"])
        settings = Settings(
            temperature=float(sent.get("temperature") or 0.0),
            seed=sent.get("seed"),
            logprobs=max(1, int(sent.get("top_logprobs") or 0)) if sent.get("logprobs") else 0,
            longest=int(sent.get("max_completion_tokens") or sent.get("max_tokens") or _LONGEST),
        )
        choices = int(sent.get("n") or 1)
        if not (1 <= choices <= _MOST_CHOICES and 0 <= settings.temperature <= 2 and settings.longest > 0):
            raise ValueError("n, temperature or max_tokens is out of range")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Wrong(400, "invalid_body", f"the body is no call for chat completions: {error!r}") from error
    if model not in models:
        raise _Wrong(404, "model_not_found", f"The model {model!r} does not exist; here: {', '.join(models)}")
    return _Call(model, messages, settings, choices, bool(sent.get("stream")))


def _words(content: Any) -> str:
    """Return a message's text, whether it came as one or in parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def _answer(call: _Call, reader: Reader) -> dict[str, Any]:
    """Return the answer to a call as OpenAI's endpoint would put it."""
    made = [reader.answer(call.messages, call.settings._replace(sample=n)) for n in range(call.choices)]
    tokens_in, tokens_out = made[0].tokens_in, sum(each.tokens_out for each in made)
    return {
        "id": f"fake-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": call.model,
        "system_fingerprint": "fake",
        "choices": [_choice(number, each) for number, each in enumerate(made)],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }


def _events(answer: dict[str, Any]) -> list[bytes]:
    """Return an answer as server-sent events: a token each, how it ended, what it took, and the end."""
    shared = {**answer, "object": "chat.completion.chunk", "usage": None}
    sent = []
    for choice in answer["choices"]:
        for piece in tokens(choice["message"]["content"]):
            delta = {"index": choice["index"], "delta": {"role": "assistant", "content": piece}}
            sent.append({**shared, "choices": [{**delta, "finish_reason": None}]})
        end = {"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]}
        sent.append({**shared, "choices": [end]})
    sent.append({**shared, "choices": [], "usage": answer["usage"]})
    return [b"data: %b\n\n" % json.dumps(event).encode() for event in sent] + [b"data: [DONE]\n\n"]


def _choice(number: int, made: Completion) -> dict[str, Any]:
    content = [
        {**_token(token.text, token.logprob), "top_logprobs": [_token(*pair) for pair in token.top]}
        for token in made.logprobs
    ]
    return {
        "index": number,
        "message": {"role": "assistant", "content": made.text, "refusal": None},
        "finish_reason": _FINISH.get(made.finish, made.finish),
        "logprobs": {"content": content} if content else None,
    }


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "surrogatepass"))}


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve from the command line until interrupted; the first line printed is the URL."""
    parser = argparse.ArgumentParser(
        prog="python -m palate.fakes.server", description="A fake language model."
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--knobs", default="", help="such as error=0.2&bias=0.3&rate=50")
    parser.add_argument("--key", default="", help="the key that calls must bring; none if left out")
    chosen = parser.parse_args(arguments)
    try:
        with Server(f"fake:world?{chosen.knobs}", chosen.key, chosen.port) as server:
            print(server.url, flush=True)
            server.wait()
    except ConfigError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
