"""Bytes of a file or of standard input: opened, decompressed by their first bytes, split into lines.

A stream that breaks off keeps what came before; ``damage`` then says how it ended.
"""

import gzip
import importlib
import io
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from palate.core import DataError

__all__ = ["Stream", "zstd"]

CHUNK = 1 << 20
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
BOM = b"\xef\xbb\xbf"


def zstd() -> Any:
    """Return the zstd module: the standard library's from Python 3.14 on, else its backport."""
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return importlib.import_module(name)


class Stream:
    """A binary stream, read once from front to back.

    Args:
        path: A file, or "-" for standard input.

    Attributes:
        name: How messages call it.
        head: The first bytes, decompressed.
        damage: How the stream broke off, or None.

    Raises:
        DataError: If it cannot be opened, is empty, or is UTF-16.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = "standard input" if str(path) == "-" else str(path)
        self.damage: str | None = None
        self._raw, self._size = self._open(path)
        if not self._raw.peek(1):
            self.close()
            raise DataError(f"{self.name} is empty: expected one choice, vote or rating a row")
        self._plain = self._decompressed()
        self.head = self._read()
        if self.head.startswith(UTF16):
            self.close()
            raise DataError(
                f"{self.name} is UTF-16, expected UTF-8: iconv -f utf-16 -t utf-8 FILE > NEW, and read that"
            )

    def _open(self, path: str | Path) -> tuple[io.BufferedReader, int | None]:
        if str(path) == "-":
            raw: Any = sys.stdin.buffer
            return raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw), None
        try:
            return open(path, "rb"), os.path.getsize(path)
        except FileNotFoundError:
            raise DataError(
                f"there is no file {self.name}: check the path; a Hugging Face data set is hf:OWNER/NAME"
            ) from None
        except OSError as error:
            raise DataError(f"{self.name} cannot be read: {error.strerror or error}") from error

    def _decompressed(self) -> Any:
        magic = self._raw.peek(4)[:4]
        if magic.startswith(GZIP):
            return gzip.GzipFile(fileobj=self._raw)
        return zstd().ZstdFile(self._raw) if magic == ZSTD else self._raw

    def _read(self) -> bytes:
        """Return the next bytes; nothing at the end, or where the stream breaks off."""
        if self.damage:
            return b""
        try:
            return bytes(self._plain.read1(CHUNK))
        except EOFError:
            self.damage = "the compressed file is cut off before its end"
        except (OSError, zlib.error, zstd().ZstdError) as error:
            self.damage = f"the file breaks off: {error}"
        return b""

    @property
    def share(self) -> float | None:
        """How much of the file was read, 0 to 1; None where its size is unknown."""
        if not self._size or self._raw.closed:
            return None
        return min(1.0, self._raw.tell() / self._size)

    @property
    def looks_binary(self) -> bool:
        """Whether the first bytes are none that a text file has."""
        return b"\0" in self.head[:8192]

    def chunks(self) -> Iterator[bytes]:
        """Yield all bytes once, a byte order mark left out; closes the file."""
        try:
            chunk = self.head.removeprefix(BOM)
            while chunk:
                yield chunk
                chunk = self._read()
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self.name != "standard input":
            self._raw.close()

    def lines(self) -> Iterator[bytes]:
        """Yield lines without their ends. The last part of a stream that broke off is left out."""
        pending: list[bytes] = []
        for chunk in self.chunks():
            head, newline, tail = chunk.partition(b"\n")
            pending.append(head)
            if newline:
                yield b"".join(pending)
                *whole, last = tail.split(b"\n")
                yield from whole
                pending = [last]
        rest = b"".join(pending)
        if rest and not self.damage:
            yield rest
