"""JSON in and out of the database, and digests by which a replay is told from something else."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from palate.core import DataError

__all__ = ["digest", "pack", "unpack"]


def pack(value: Any) -> str:
    """Return a value as JSON.

    Raises:
        DataError: If it holds what JSON cannot, such as half of a surrogate pair.

    >>> pack({"a": [1, None]})
    '{"a":[1,null]}'
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    except (TypeError, ValueError) as error:
        raise DataError(f"this cannot be kept as JSON: {error}") from error


def unpack(text: str | None) -> Any:
    """Return the value of JSON, or None for none.

    >>> unpack('{"a":[1,null]}'), unpack(None)
    ({'a': [1, None]}, None)
    """
    return None if text is None else orjson.loads(text)


def digest(value: Mapping[str, Any]) -> bytes:
    """Return 16 bytes that are equal for equal values, whatever the order of their keys.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError) as error:
        raise DataError(f"this cannot be kept as JSON: {error}") from error
    return hashlib.blake2b(text, digest_size=16).digest()
