"""The process that makes personas anew, beside those that answer.

Made in threads of a server, personas would take the interpreter's turns from requests: with 200 choices a
second that alone makes the slowest hundredth wait five times as long. So `palate serve` starts one process
for that, of lower priority, whatever the number of workers. It is started again should it end; it ends when
the server closes its input, and so by itself where the server was killed. Jobs are taken by lease: what it
had begun is done again.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from types import TracebackType
from typing import Self

from palate.core import PalateError
from palate.serve.http.logs import log, log_as_json
from palate.serve.keeper import Keeper, Shelf
from palate.serve.settings import SETTINGS, Settings
from palate.serve.store.store import Store

__all__ = ["Background"]

_NICE = 10  # an eleventh of the processor where requests want all of it
_PAUSE, _LONGEST, _LAST = 1.0, 60.0, 30.0  # seconds: until it is started again, and until it must have ended


class Background:
    """Runs the process while the block lasts.

    Args:
        settings: The server's.
    """

    def __init__(self, settings: Settings) -> None:
        self._environment = {**os.environ, SETTINGS: settings.to_json()}
        self._end, self._door = threading.Event(), threading.Lock()
        self._process = self._started()
        self._watch = threading.Thread(target=self._keep_up, name="palate-background", daemon=True)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._door:
            self._end.set()
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(_LAST)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._watch.join()

    @property
    def pid(self) -> int:
        """The process as it runs now."""
        return self._process.pid

    def _started(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "palate.serve.background"], stdin=subprocess.PIPE, env=self._environment
        )

    def _keep_up(self) -> None:
        pause = _PAUSE
        while True:
            status = self._process.wait()
            if self._end.wait(pause):
                return
            log(
                "error", message=f"the process that makes personas anew ended ({status}): it is started again"
            )
            pause = min(_LONGEST, 2 * pause)
            with self._door:
                if self._end.is_set():
                    return
                self._process = self._started()


def main() -> int:
    """Make personas anew until the input ends or SIGTERM comes; return the process' exit status."""
    log_as_json()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the server too, which ends this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = Settings.from_json(os.environ[SETTINGS])
    try:
        with Store.open(settings.database, migrate=False) as store:
            _give_way()
            keeper = Keeper(store, Shelf.open(store, settings.model or None, settings.since))
            keeper.start()
            try:
                sys.stdin.buffer.read()
            finally:
                keeper.stop()
    except PalateError as error:
        log("error", message=f"personas are not made anew: {error}")
        return 1
    return 0


def _give_way() -> None:
    """Make this thread and those that it starts less urgent; on Linux the one that writes stays as it was.

    For while that one holds the database, requests wait for it.
    """
    with contextlib.suppress(OSError):  # not everywhere may a process be made less urgent
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)


if __name__ == "__main__":
    sys.exit(main())
