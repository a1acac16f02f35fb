"""What `palate serve` is told: where data and model are, whom it listens to, and its limits.

Every field can be given by an option of the command or by the environment, as ``PALATE_SERVE_DATABASE``;
secrets belong there. An option wins over the environment.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from palate.core import ConfigError

__all__ = ["PREFIX", "SETTINGS", "Settings"]

PREFIX = "PALATE_SERVE_"
SETTINGS = PREFIX + "SETTINGS"
"""The variable by which processes that a server starts are told its settings."""
_NUMBERS: dict[str, tuple[float, float]] = {
    "port": (0, 65535),
    "workers": (1, 64),
    "threads": (1, 1000),
    "body_limit": (1024, 2**30),
    "bulk_limit": (1024, 2**30),
    "request_s": (0.05, 3600),
    "body_s": (0.05, 3600),
    "grace_s": (0, 3600),
    "key_s": (0, 60),
    "rate": (0, 1e9),
    "rate_user": (0, 1e9),
    "rate_refused": (0, 1e9),
    "upstream_connect_s": (0.01, 3600),
    "upstream_read_s": (0.01, 3600),
    "upstream_connections": (1, 10_000),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a server. The values given are checked; the environment is read by :meth:`of`.

    Attributes:
        database: ``sqlite:///palate.db`` or ``postgresql+psycopg://user:password@host/name``.
        model: Folder that `palate fit` wrote; "" serves the one that was served last.
        model_root: Folder below which ``PUT /v1/model`` may name folders; "" allows no swap.
        upstream: Base URL of an OpenAI-compatible endpoint, with ``/v1``; "" has no chat.
        upstream_key: Its key.
        upstream_own_key: Whether callers may send a key of their own for it.
        upstream_connect_s: Longest wait for its connection, in seconds.
        upstream_read_s: Its longest silence.
        upstream_connections: Most calls to it at once.
        report: A ``report.json`` of `palate bench`, for the leaderboard of the people page.
        host: Address to listen on.
        port: Port; 0 takes a free one.
        workers: Processes.
        threads: Requests that one process works on at once.
        body_limit: Largest body in bytes.
        bulk_limit: The same where many rows, or pictures, are sent.
        request_s: Longest time until an answer begins, in seconds.
        body_s: Longest time for a body to come in.
        grace_s: How long requests in flight may go on after SIGTERM.
        key_s: For how long a key is believed without asking the database: a key that is revoked in one
            process stops at once there, and after so many seconds in the others.
        rate: Requests a second of one API key in one process; 0 is no limit. Twice as many may come at once.
        rate_user: The same of one user's token.
        rate_refused: Requests a second with a wrong key from one address.
        cors: Origins whose pages may call, comma-separated; "" allows none.
        open_metrics: Whether /metrics is told without a key.
        quiet: Whether requests are left out of the log.
        since: When the server started; a model that was made the active one later wins over ``model``, so
            that a process that takes another's place serves what the others do.

    >>> Settings(port=9000).port, Settings.of({"workers": "2"}, {"PALATE_SERVE_PORT": "81"}).port
    (9000, 81)
    """

    database: str = "sqlite:///palate.db"
    model: str = ""
    model_root: str = ""
    upstream: str = ""
    upstream_key: str = ""
    upstream_own_key: bool = False
    upstream_connect_s: float = 5.0
    upstream_read_s: float = 120.0
    upstream_connections: int = 100
    report: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    threads: int = 40
    body_limit: int = 1 << 20
    bulk_limit: int = 8 << 20
    request_s: float = 60.0
    body_s: float = 30.0
    grace_s: float = 20.0
    key_s: float = 2.0
    rate: float = 1000.0
    rate_user: float = 50.0
    rate_refused: float = 20.0
    cors: str = ""
    open_metrics: bool = False
    quiet: bool = False
    since: float = math.inf

    def __post_init__(self) -> None:
        for name, (low, high) in _NUMBERS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}: expected a number from {low:g} to {high:g}")
        if not self.database.startswith(("sqlite:", "postgresql")):
            raise ConfigError(
                f"the database URL begins with {self.database.partition(':')[0]!r}: expected sqlite:///FILE "
                "or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
            )
        if self.upstream and not self.upstream.startswith(("http://", "https://")):
            raise ConfigError(
                f"upstream is {self.upstream!r}: expected a URL such as http://127.0.0.1:8001/v1"
            )

    @classmethod
    def of(cls, given: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Self:
        """Read settings: those given, where None or "" is not given; else the environment's; else defaults.

        Args:
            given: Values by field; texts are read as the field's type.
            environment: Variables such as ``PALATE_SERVE_PORT``; None takes the process' own.

        Raises:
            ConfigError: If a value cannot be read or is out of bounds.
        """
        around = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = given.get(field.name)
            if value is None or value == "":
                value = around.get(PREFIX + field.name.upper())
            if value is not None and value != "":
                values[field.name] = _read(field.name, type(field.default), value)
        return cls(**values)

    def folder_below_root(self, folder: str) -> str:
        """Return the folder of a model that a caller names, below ``model_root``.

        Raises:
            ConfigError: If there is no root, the folder lies elsewhere, or it holds no model.
        """
        if not self.model_root:
            raise ConfigError("the server was started without --model-root: it serves one model alone")
        root = Path(self.model_root).resolve()
        try:
            path = (root / folder).resolve()
            found = path.is_relative_to(root) and (path / "model.json").is_file()
        except (OSError, ValueError):  # a name that no file can have
            found = False
        if not found:
            raise ConfigError(
                "the folder holds no model below the server's model root: `palate fit` writes one"
            )
        return str(path)

    def to_json(self) -> str:
        """Return them in one line, for the worker processes. It holds secrets."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read :meth:`to_json`'s line."""
        return cls(**json.loads(text))

    def __repr__(self) -> str:
        return f"Settings(host={self.host!r}, port={self.port}, workers={self.workers})"  # nothing secret


def _read(name: str, kind: type, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if kind is bool:
        if value.lower() not in ("1", "true", "yes", "on", "0", "false", "no", "off"):
            raise ConfigError(f"{PREFIX}{name.upper()} is {value!r}: expected yes or no")
        return value.lower() in ("1", "true", "yes", "on")
    try:
        return kind(value)
    except ValueError:
        raise ConfigError(f"{PREFIX}{name.upper()} is {value!r}: expected a number") from None
