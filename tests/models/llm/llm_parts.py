"""Parts that tests of the language-model client share: programs, an engine and an endpoint to order."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from palate.models.llm.engine import Completion
from palate.models.llm.program import Malformed, Program, Section
from palate.models.llm.wire import Request


def read_number(text):
    """The number after "Answer:"."""
    _, found, rest = text.rpartition("Answer:")
    if not found or not rest.split() or not rest.split()[0].strip("[]").isdigit():
        raise Malformed('the last line must be "Answer: NUMBER"')
    return int(rest.split()[0])


SAY = Program("say", "Say something", "Be plain.", "Write one line.", "Something plain.", max_tokens=40)
COUNT = Program(
    "count", "Count", "Count well.", "End with Answer: NUMBER", "Answer: 7", read_number, max_tokens=20
)


def say(text, **fields):
    return Request(SAY, (Section("text", text),), **fields)


def count(text, **fields):
    return Request(COUNT, (Section("text", text),), **fields)


def told(messages):
    """What stands in the prompt's material."""
    return messages[1].content.partition("<text>\n")[2].partition("\n</text>")[0]


def asking(*texts, make=say):
    """A conversation that asks about one text after another and returns all answers."""
    answers = []
    for text in texts:
        answers += yield [make(text)]
    return answers


class Order:
    """An engine to order: ``does(text, request, number)`` returns words, a completion or an error."""

    def __init__(self, does: Callable = lambda text, request, number: f"about {text}", latency: float = 0.0):
        self.does, self.latency = does, latency
        self.seen, self.now, self.most = [], 0, 0
        self.lock = threading.Lock()

    def complete(self, model, messages, request):
        with self.lock:
            self.seen.append((told(messages), request, messages))
            number = len(self.seen)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            if self.latency:
                time.sleep(self.latency)
            done = self.does(told(messages), request, number)
        finally:
            with self.lock:
                self.now -= 1
        if isinstance(done, BaseException):
            raise done
        return Completion(done, tokens_in=10, tokens_out=5) if isinstance(done, str) else done

    @property
    def texts(self):
        return [text for text, _, _ in self.seen]


def words(text, **more):
    """The body of an answer in the form of OpenAI's chat endpoint."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **more}
    usage = {"prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 59}
    return {"id": "a", "object": "chat.completion", "model": "tiny", "choices": [choice], "usage": usage}


class Endpoint:
    """An OpenAI-compatible endpoint on loopback that counts what it charges.

    ``does(text, body, number)`` returns a body, or (status, body, headers). With ``honours``, a call of a
    name (Idempotency-Key) that was charged before is answered again and not charged.
    """

    def __init__(self, does=lambda text, body, number: words(f"about {text}"), latency=0.0, honours=False):
        self.does, self.latency, self.honours = does, latency, honours
        self.charges, self.names, self.headers, self.bodies = Counter(), {}, [], []
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"endpoint": self})
        self.server = type(
            "Server", (ThreadingHTTPServer,), {"daemon_threads": True, "request_queue_size": 128}
        )(("127.0.0.1", 0), handler)
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    @property
    def spec(self):
        return f"openai/tiny@http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, headers, body):
        text = body["messages"][-1]["content"].partition("<text>\n")[2].partition("\n</text>")[0]
        name = headers.get("Idempotency-Key")
        with self.lock:
            self.headers.append(dict(headers))
            self.bodies.append(body)
            number = len(self.bodies)
            if self.honours and name in self.names:
                return 200, self.names[name], {}
        time.sleep(self.latency)
        done = self.does(text, body, number)
        status, found, more = done if isinstance(done, tuple) else (200, done, {})
        if status == 200:
            with self.lock:
                if not (self.honours and name in self.names):
                    self.charges[text] += 1
                    self.names[name] = found
        return status, found, more


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, found, more = self.endpoint.answer(self.headers, body)
        out = found if isinstance(found, bytes) else json.dumps(found).encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **more}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(out)))
            self.end_headers()
            self.wfile.write(out)
        except OSError:
            self.close_connection = True  # whoever asked is gone

    def log_message(self, *args):
        pass
