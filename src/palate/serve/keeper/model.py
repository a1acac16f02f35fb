"""The fitted model that is served, and how another takes its place without a request being dropped.

A request holds the :class:`Served` it began with. Another model is loaded beside it; once loaded it is
written into the table ``models``, which every worker process looks at each second, and then served. Personas
of the model before are made anew where they are asked for, and by jobs in the background; where that is dear
(a language model is asked) the model before stays at hand and serves them meanwhile.
"""

import logging
import math
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

from sqlalchemy import Connection

from palate.catalogue import load
from palate.core import ConfigError, Method, PalateError, Persona, StorageError, Updates
from palate.gate import Gate
from palate.serve.store import Store, jobs, models

__all__ = ["Served", "Shelf", "announce"]

_AGAIN = 30.0  # seconds
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Served:
    """A fitted model with the method that finds words for its users.

    Attributes:
        method: What ranks.
        words: What finds statements without a language model, or None.
        folder: Where it was loaded from; "" for one made in this process.
    """

    method: Method
    words: Method | None = None
    folder: str = ""

    @classmethod
    def load(cls, folder: str | Path) -> "Served":
        """Read a folder that `palate fit` wrote.

        Raises:
            StorageError: If it holds no model.
        """
        path = Path(folder)
        words = load(path / "words") if (path / "words" / "model.json").exists() else None
        return cls(load(path), words, str(folder)).warm()

    @property
    def label(self) -> str:
        """What people call it."""
        return self.method.label

    @cached_property
    def fingerprint(self) -> str:
        """Which model a persona's vector belongs to."""
        return self.method.fingerprint

    @cached_property
    def cheap(self) -> bool:
        """Whether a persona can be made while a request waits: no language model is asked, none is tuned."""
        maker = self.method.method if isinstance(self.method, Gate) else self.method
        return not (maker.uses_lm or maker.tunes)

    @cached_property
    def updates(self) -> Updates | None:
        """The method, if it takes choices in one by one."""
        return self.method if isinstance(self.method, Updates) else None

    @cached_property
    def finds_claims(self) -> bool:
        """Whether what ranks is the very method that finds words: its text without claims says nothing."""
        maker = self.method.method if isinstance(self.method, Gate) else self.method
        return self.words is not None and maker.name == self.words.name

    def warm(self) -> Self:
        """Score once, so that no user waits for what is made on first use."""
        if self.cheap:
            self.method.score(Persona(), "Hello", ["Good day.", "Hi."])
        return self


@dataclass
class Shelf:
    """The model that is served now, and the one before.

    Attributes:
        active: What new requests are served by.
        previous: What was active before, kept where personas of it are dear to make anew.
        loading: Folder that is being loaded, or None.
        fault: Why the last one that was to be loaded is not served, or None.
    """

    active: Served
    previous: Served | None = None
    loading: str | None = None
    fault: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _seen: tuple[str, float] = (
        "",
        0.0,
    )  # what was followed last, so that one that fails is not tried at once

    @classmethod
    def open(cls, store: Store, folder: str | Path | None = None, since: float = math.inf) -> "Shelf":
        """Load the model of a folder, or the one that was served last, and have it served from now on.

        Args:
            store: Where it is written down which model is served.
            folder: One that `palate fit` wrote; None takes the last that was served.
            since: A model that was made the active one after this moment goes before ``folder``.

        Raises:
            ConfigError: If no folder is given and none was served before.
            StorageError: If the folder holds no model.
        """
        with store.read() as c:
            last = models.active(c)
        if last is not None and (folder is None or last.activated > since):
            return cls(Served.load(last.folder))
        if folder is None:
            raise ConfigError("no model to serve: give --model FOLDER, which `palate fit` wrote")
        shelf = cls(Served.load(folder))
        announce(store, shelf.active)
        return shelf

    def known(self, model: str) -> Served | None:
        """Return what made a persona, if it is at hand."""
        for served in (self.active, self.previous):
            if served is not None and served.fingerprint == model:
                return served
        return None

    def swap(self, store: Store, folder: str | Path) -> threading.Thread:
        """Load another model in the background, and serve it once it is ready.

        Args:
            store: Where it is written down which model is served.
            folder: One that `palate fit` wrote.

        Returns:
            The thread that loads it.

        Raises:
            StorageError: If the folder holds no model.
            ConfigError: If another one is being loaded.
        """
        if not (Path(folder) / "model.json").is_file():
            raise StorageError(
                f"{Path(folder).name} holds no model.json: name a folder that `palate fit` wrote"
            )

        thread = threading.Thread(
            target=self._load, args=(str(folder), store), name="palate-load", daemon=True
        )
        with self._lock:
            if self.loading is not None:
                raise ConfigError("another model is being loaded: wait until it is served, then try again")
            self.loading, self.fault = str(folder), None
        thread.start()
        return thread

    def follow(self, store: Store) -> bool:
        """Serve what another process made the active model; return whether there was a change.

        A folder that cannot be loaded here is tried again after half a minute.
        """
        with store.read() as c:
            last = models.active(c)
        if last is None or last.fingerprint == self.active.fingerprint:
            return False
        with self._lock:
            tried, when = self._seen
            if self.loading is not None or (tried == last.fingerprint and time.monotonic() - when < _AGAIN):
                return False
            self.loading, self.fault, self._seen = last.folder, None, (last.fingerprint, time.monotonic())
        return self._load(last.folder)

    def serve(self, served: Served) -> None:
        """Serve another model from now on; requests that began with the one before end with it."""
        with self._lock:
            if served.fingerprint == self.active.fingerprint:
                return
            self.previous = None if served.cheap else self.active
            self.active = served

    def _load(self, folder: str, store: Store | None = None) -> bool:
        try:
            served = Served.load(folder)
            if store is not None:
                announce(store, served)
            self.serve(served)
            return True
        except PalateError as error:
            _log.warning("a model could not be loaded: %s", error)
            self.fault = str(error)
        except Exception as error:  # a damaged folder may fail in any way; the model before is served on
            _log.exception("a model could not be loaded")
            self.fault = f"{type(error).__name__}: it could not be loaded"
        finally:
            self.loading = None
        return False


def announce(store: Store, served: Served) -> None:
    """Write down that a model is served, and that personas of others are to be made anew."""

    def op(c: Connection) -> None:
        last = models.active(c)
        if last is None or (last.fingerprint, last.folder) != (served.fingerprint, served.folder):
            models.activate(c, served.fingerprint, served.folder, served.label)
            jobs.queue_all(c, served.fingerprint)

    store.write(op)
