"""A fake upstream endpoint over real sockets, byte by byte as a test wants it.

`Fake` answers every call by a script: a coroutine that gets the call and writes bytes.
"""

import asyncio
import contextlib
import json
import threading
import time
from dataclasses import dataclass, field

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%b\r\n"


@dataclass
class Sent:
    """One call as the upstream saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def read(self):
        return json.loads(self.body)


@dataclass
class Fake:
    """An upstream in a thread; ``script`` is called with (Sent, StreamWriter) for each call."""

    script: object = None
    calls: list[Sent] = field(default_factory=list)
    gone: list[float] = field(default_factory=list)  # when a connection was closed by the other side
    url: str = ""

    def __enter__(self):
        ready = threading.Event()
        self.loop = asyncio.new_event_loop()

        def run():
            asyncio.set_event_loop(self.loop)
            server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            ready.set()
            self.loop.run_forever()
            server.close()
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0.01))
            self.loop.close()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        ready.wait()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    async def _serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines if line)
                headers = {name.lower(): value for name, value in headers.items()}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = first.split(" ")
                call = Sent(method, path, headers, body)
                self.calls.append(call)
                watch = asyncio.ensure_future(reader.read(1))
                work = asyncio.ensure_future(self.script(call, writer))
                await asyncio.wait({watch, work}, return_when=asyncio.FIRST_COMPLETED)
                if not work.done():  # the caller hung up
                    self.gone.append(time.perf_counter())
                    work.cancel()
                    break
                work.result()
                if writer.is_closing():
                    break
                watch.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    if await watch == b"":
                        break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def whole(body, status=b"200 OK", kind=b"application/json", more=b""):
    """A script that answers with these bytes at once."""

    async def script(call, writer):
        head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n"
        writer.write(head % (status, kind, len(body), more) + body)
        await writer.drain()

    return script


def chunked(pieces, pause=0.0, end=True, more=b""):
    """A script that streams pieces as chunks, with a pause before each; without ``end`` it breaks off."""

    async def script(call, writer):
        writer.write(HEAD % (b"text/event-stream", b"Transfer-Encoding: chunked\r\n" + more))
        for piece in pieces:
            await asyncio.sleep(pause)
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        if end:
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        else:
            writer.transport.abort()

    return script


def event(text):
    """A server-sent event of a completion, as vLLM writes it."""
    return b'data: {"choices":[{"index":0,"delta":{"content":%b}}]}\n\n' % json.dumps(text).encode()


def completion(*texts):
    """The body of a completion with these answers."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": t}, "finish_reason": "stop"}
        for i, t in enumerate(texts)
    ]
    return json.dumps({"id": "x", "object": "chat.completion", "choices": choices}).encode()


def until(condition, seconds=5.0):
    """Wait until something is so."""
    end = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end, "waited in vain"
        time.sleep(0.005)
