"""The typed Python client of a Palate server.

    from palate.client import Palate

    with Palate("http://127.0.0.1:8000", key="pk_...") as palate:
        palate.choose(user="ann", conversation="Hi", responses=["Hello!", "Yo."], chosen=0)
        palate.rank(user="ann", conversation="Hi", responses=["Good day.", "Hey."])
        palate.persona("ann").statements

:class:`AsyncPalate` has the same methods, to be awaited. Bodies and answers are the classes of
``palate.serve.wire``, which the server uses too. ``palate.client.verl`` rewards for verl.
"""

from palate.core import MissingExtra

try:
    from palate.client.answered import (
        BadRequest,
        Conflict,
        NotAllowed,
        NotFound,
        ServerDown,
        ServerSaid,
        TooMany,
    )
    from palate.client.palate import AsyncPalate, Palate
except ModuleNotFoundError as error:  # what it needs is not part of the base install
    raise MissingExtra("palate.client", "serve", error.name or "httpx") from error

__all__ = [
    "AsyncPalate",
    "BadRequest",
    "Conflict",
    "NotAllowed",
    "NotFound",
    "Palate",
    "ServerDown",
    "ServerSaid",
    "TooMany",
]
