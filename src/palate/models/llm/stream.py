"""An answer piece by piece, and still kept, shared, counted and capped like any other call.

    for piece in spoken(connect("openai/gpt-4o-mini"), request):
        print(piece, end="", flush=True)

The call itself goes the client's usual way, in a thread of its own; what the engine hears on the way is
passed on. A kept answer, one that an equal call brought, and one of a model that cannot stream come in one
piece. Until the first piece has come, what may pass is tried again; after it nothing is, since another try
might say something else.
"""

import threading
from collections.abc import Generator
from concurrent.futures import Future
from contextvars import copy_context
from queue import SimpleQueue

from palate.core import ModelError
from palate.models.llm.client import Client
from palate.models.llm.wire import Answer, Fault, Reply, Request

__all__ = ["spoken"]


def spoken(client: Client, request: Request, user: str = "", method: str = "") -> Generator[str, None, Reply]:
    """Yield an answer as it comes.

    Whoever stops listening does not stop the call: it is paid for, so it is awaited and kept.

    Args:
        client: Whom it is asked of.
        request: What is asked.
        user: Whom it is about.
        method: What traces and costs name as its method.

    Yields:
        Pieces; together they are the answer.

    Returns:
        The whole answer.

    Raises:
        ModelError: If it breaks off, after the pieces that came, or there is none; else as
            :meth:`palate.models.llm.client.Client.run`.
    """
    pieces: SimpleQueue[str | None] = SimpleQueue()
    done: Future[Answer] = Future()

    def ask() -> None:
        try:
            done.set_result(client.ask([request.but(heard=pieces.put)], user, method)[0])
        except BaseException as error:  # told to whoever listens
            done.set_exception(error)
        finally:
            pieces.put(None)

    worker = threading.Thread(target=copy_context().run, args=(ask,), name="palate-lm-spoken", daemon=True)
    worker.start()
    came = ""
    try:
        while (piece := pieces.get()) is not None:
            came += piece
            yield piece
    finally:
        worker.join()
    answer = done.result()
    if isinstance(answer, Fault):
        raise ModelError(_told(answer, came))
    if not came.strip():  # what came before an answer that had to be asked for again
        yield answer.text
    elif answer.text.startswith(came) and len(answer.text) > len(came):
        yield answer.text[len(came) :]
    return answer


def _told(fault: Fault, came: str) -> str:
    if came:
        return f"{fault.message}. What came is cut there; ask again, or wait for the whole with --no-stream"
    return f"no answer that can be used ({fault.kind}): {fault.message}"
