"""Parts that tests of writing share: an endpoint that streams to order, and a method that writes itself."""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from palate.core import Method

PIECES = ("Put ", "simply, ", "it ", "scatters.")


def frame(text=None, finish=None, **more):
    """One server-sent event of a chat completion."""
    delta = {} if text is None else {"content": text}
    body = {"id": "a", "object": "chat.completion.chunk", "model": "tiny", **more}
    body.setdefault("choices", [{"index": 0, "delta": delta, "finish_reason": finish}])
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def frames(pieces=PIECES, finish="stop"):
    """The events of a whole answer."""
    usage = {"prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 59}
    return [*map(frame, pieces), frame(finish=finish), frame(choices=[], usage=usage), b"data: [DONE]\n\n"]


class Endpoint:
    """An OpenAI-compatible endpoint on loopback that streams where it is asked to.

    ``does(body, number)`` returns what is sent as a stream: bytes, or callables that are called in between,
    such as to wait or to break the connection; or (status, body) for an error.
    """

    def __init__(self, does=lambda body, number: frames()):
        self.does, self.bodies, self.headers = does, [], []
        self.free = threading.Event()
        handler = type("Handler", (_Handler,), {"endpoint": self})
        server = type("Server", (ThreadingHTTPServer,), {"daemon_threads": True})
        self.server = server(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def spec(self):
        return f"openai/tiny@http://127.0.0.1:{self.server.server_address[1]}/v1"

    def hang(self):
        """Send nothing more until the end of the test."""
        self.free.wait(20)
        raise ConnectionAbortedError

    def cut(self):
        """Break the connection."""
        raise ConnectionAbortedError

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        self.free.set()
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.endpoint.bodies.append(body)
        self.endpoint.headers.append(dict(self.headers))
        done = self.endpoint.does(body, len(self.endpoint.bodies))
        try:
            if isinstance(done, tuple):
                self._plain(*done)
            elif body.get("stream"):
                self._stream(done)
            else:
                self._plain(200, _whole(done))
        except OSError:
            self.close_connection = True  # broken on purpose, or whoever asked is gone

    def _plain(self, status, found):
        out = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    def _stream(self, parts):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            if callable(part):
                part()
            else:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


def _whole(parts):
    """The same answer as one body."""
    text, finish = "", "stop"
    for part in parts:
        if callable(part):
            part()
        elif part.startswith(b"data: {"):
            for choice in json.loads(part[6:])["choices"]:
                text += choice["delta"].get("content", "")
                finish = choice["finish_reason"] or finish
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 59}
    return {"id": "a", "object": "chat.completion", "model": "tiny", "choices": [choice], "usage": usage}


@dataclass(kw_only=True, eq=False)
class Echo(Method):
    """Says who asks and what, shorter or longer as the user likes it; scores by length. A stub for tests."""

    name = "echo"
    silent: bool = False
    seed: int = 0

    def _learn(self, population):
        self.scale_ = 0.05

    def _condense(self, population):
        """float [users, 1]: -1 for a user who took the shorter answer each time, to 1."""
        taste = np.zeros((population.n_users, 1))
        for pair in range(len(population.pairs)):
            texts = [population.corpus.response(int(side[pair])) for side in _sides(population.pairs)]
            taste[population.pairs.user[pair], 0] += np.sign(len(texts[0]) - len(texts[1]))
        counts = np.bincount(population.pairs.user, minlength=population.n_users)
        return taste / np.maximum(1, counts)[:, None]

    def _log_odds(self, vectors, queries):
        lengths = np.array([len(queries.corpus.response(int(i))) for i in queries.options])
        return self.scale_ * vectors[queries.who[queries.option_query], 0] * lengths

    def generate_batch(self, personas, conversations, *, samples=1, temperature=1.0, longest=0, seed=0):
        self.asked = list(personas)
        if self.silent:
            return [[""] * samples for _ in personas]
        return [
            [f"{_name(p)}, {c[-1].content} " + "word " * (n + seed) for n in range(samples)]
            for p, c in zip(personas, conversations, strict=True)
        ]

    def stream(self, persona, conversation, *, temperature=1.0, longest=0, seed=0):
        self.asked = [persona]
        ((text,),) = self.generate_batch([persona], [conversation], seed=seed)
        yield from (f"{word} " for word in text.split())


def _sides(pairs):
    return pairs.winner, pairs.loser


def _name(persona):
    """Whom the vector says, so that a persona that never came through is seen."""
    if not persona.vector:
        return "Somebody"
    return "Brief one" if persona.vector[0] < 0 else "Ample one"
