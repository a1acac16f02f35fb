"""Keys and tokens: who calls, what they may do, and whose data they reach.

A key comes as ``Authorization: Bearer pk_...``, or as the password of ``Basic`` for programs that can only
put it into an address. A user's token (``pu_...``) reaches that user alone: what it is told about others is
the same whether they exist or not.
"""

import base64
import binascii
import hashlib
import time
from typing import Annotated, NamedTuple
from urllib.parse import quote, unquote

from fastapi import Depends, Path
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request

from palate.serve.http.faults import Refusal
from palate.serve.keeper.lru import Lru
from palate.serve.store import clock, keys
from palate.serve.store.keys import Caller
from palate.serve.store.store import Store
from palate.serve.wire.texts import Name

__all__ = [
    "CALLER",
    "Anyone",
    "Caller",
    "Keyring",
    "Need",
    "Own",
    "Reader",
    "UserPath",
    "Visit",
    "need",
    "own",
    "own_user",
    "secret_of",
]

CALLER = "palate.caller"
_MOST = 10_000


class Keyring:
    """Who a secret belongs to, by the database; an API key is believed for some seconds without asking.

    A user's token is asked for each time, so that one which was revoked or erased is worth nothing at once.

    Args:
        store: Where keys are kept, as hashes.
        seconds: For how long an API key is believed.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        self._store, self._seconds = store, seconds
        self._known = Lru[bytes, tuple[float, int, Caller]](_MOST)
        self._forgot = 0

    async def caller(self, secret: str) -> Caller | None:
        """Return who calls, or None for a secret that is unknown, revoked or has run out."""
        if not 8 <= len(secret) <= 200:
            return None
        digest = hashlib.sha256(secret.encode("utf-8", "replace")).digest()
        now, forgot = time.monotonic(), self._forgot
        at, then, caller = self._known.get(digest) or (0.0, 0, None)
        if caller is None or then != forgot or now - at > self._seconds:
            caller = await run_in_threadpool(self._find, secret)
            if caller is None:
                self._known.drop(digest)
                return None
            if caller.user is None:
                self._known.put(digest, (now, forgot, caller))
        return caller if caller.expires is None or clock.now() < caller.expires else None

    def _find(self, secret: str) -> Caller | None:
        with self._store.read() as c:
            return keys.find(c, secret)

    def forget(self) -> None:
        """Ask the database anew from now on, for keys that are being looked up too: one was revoked."""
        self._forgot += 1


def secret_of(authorization: str) -> str:
    """Return the secret in the header Authorization, or "".

    >>> secret_of("Bearer pk_1"), secret_of("Basic cGFsYXRlOnBrXzE="), secret_of("Digest x")
    ('pk_1', 'pk_1', '')
    """
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


class Need:
    """A dependency: the caller, if their key has a scope."""

    def __init__(self, scope: str = "") -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Caller:
        """Return who calls.

        Raises:
            Refusal: 403, if the key lacks the scope.
        """
        return self.check(request.scope[CALLER])

    def check(self, caller: Caller) -> Caller:
        """Return the caller.

        Raises:
            Refusal: 403, if the key lacks the scope.
        """
        if self.scope and self.scope not in caller.scopes:
            raise Refusal(
                403,
                "forbidden",
                f"this key lacks the scope {self.scope!r}: it has {', '.join(sorted(caller.scopes))}",
            )
        return caller


def need(scope: str) -> Need:
    """Return a dependency for callers with a scope of :data:`palate.serve.wire.rights.SCOPES`."""
    return Need(scope)


def own_user(caller: Caller, user: str | None) -> str | None:
    """Return whose data a request is about: of a user's token that user, else the user it names.

    Raises:
        Refusal: 403, if a user's token names another user.
    """
    if caller.user is None:
        return user
    if user is not None and user != caller.user:
        raise Refusal(403, "forbidden", "this token reaches the data of its own user alone", "user")
    return caller.user


class _NameConvertor(Convertor[str]):
    """A name in a path, percent-decoded by itself, so that it may hold a slash."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value, errors="surrogateescape")  # what is no UTF-8 is refused as a name

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


register_url_convertor("name", _NameConvertor())

UserPath = Annotated[Name, Path(description="The user's name, percent-encoded: a slash is %2F.")]
"""The user in a path: write ``{user:name}`` in the decorator."""


class Visit(NamedTuple):
    """A caller at the data of a user whom they may reach."""

    caller: Caller
    tenant: str
    user: str


class Own(Need):
    """A dependency: the user in the path, if the caller has a scope and may reach them."""

    async def __call__(self, request: Request, user: UserPath) -> Visit:  # type: ignore[override]
        """Return who calls and about whom.

        Raises:
            Refusal: 403, if the key lacks the scope or is another user's token.
        """
        caller = self.check(request.scope[CALLER])
        own_user(caller, user)
        return Visit(caller, caller.tenant, user)


def own(scope: str) -> Own:
    """Return a dependency for routes with ``{user:name}`` in their path."""
    return Own(scope)


Anyone = Annotated[Caller, Depends(Need())]
"""A route's argument: whoever has a key."""
Reader = Annotated[Visit, Depends(own("read"))]
"""A route's argument: a user's data, to be read."""
