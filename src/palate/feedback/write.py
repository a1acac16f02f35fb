"""Write a population as JSON lines that :func:`palate.feedback.read` reads back equal."""

import contextlib
import gzip
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

from palate.core import ROLES, SPLITS, Conversation, Population, StorageError
from palate.feedback.streams import zstd

__all__ = ["write_jsonl"]

BUFFER = 1 << 20


def write_jsonl(population: Population, path: str | Path) -> Path:
    """Write one choice a line, users in order and each user's rows in time order.

    Roles, splits, times, reasons, profiles, ids, ties and users without a choice are kept. Pairs are
    written as chosen and rejected; where a second option was ever chosen, all as responses with the
    position of the chosen one. A name that ends in .gz or .zst is compressed. The file appears whole or
    not at all.

    Returns:
        The path.

    Raises:
        StorageError: If it cannot be written, for instance to a full disk; an older file is left as it was.

    >>> import tempfile
    >>> from palate.core import Feedback, as_conversation
    >>> from palate.feedback import read
    >>> people = Population.of([Feedback("ann", as_conversation("Hi"), ("Hello!", "Yo."), chosen=1)])
    >>> file = write_jsonl(people, Path(tempfile.mkdtemp()) / "people.jsonl.gz")
    >>> read(file).population.digest == people.digest
    True
    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with _opened(draft, target.name) as file:
            pending = bytearray()
            for row in _rows(population):
                pending += _dumped(row) + b"\n"
                if len(pending) > BUFFER:
                    file.write(pending)
                    pending = bytearray()
            file.write(pending)
        os.replace(draft, target)
    except OSError as error:
        raise StorageError(
            f"cannot write {target}: {error.strerror or error}; free some room or choose another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return target


@contextlib.contextmanager
def _opened(draft: Path, name: str) -> Iterator[IO[bytes] | Any]:
    """Open the draft; its bytes are on the disk when the block ends."""
    with open(draft, "wb") as raw:
        if name.endswith(".gz"):
            with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
                yield packed
        elif name.endswith((".zst", ".zstd")):
            with zstd().ZstdFile(raw, "wb") as packed:
                yield packed
        else:
            yield raw
        raw.flush()
        os.fsync(raw.fileno())


def _dumped(row: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(row)
    except TypeError:
        return json.dumps(row).encode()


def _rows(population: Population) -> Iterator[dict[str, Any]]:
    """Yield rows as objects; users without a choice as their name alone."""
    talks = [_talk(talk) for talk in population.corpus.conversations]
    texts, items = population.corpus.responses, population.corpus
    pairs = not (population.chosen[np.diff(population.option_offsets) == 2] == 1).any()
    begin, offers = population.offsets.tolist(), population.option_offsets.tolist()
    for number, user in enumerate(population.users.tolist()):
        about = _about(population, number, user)
        if begin[number] == begin[number + 1]:
            yield {"user": user, **about}
        for row in range(begin[number], begin[number + 1]):
            options = population.options[offers[row] : offers[row + 1]]
            responses = [texts[i] for i in items.item_response[options].tolist()]
            yield {
                "user": user,
                **about,
                **talks[int(items.item_conversation[options[0]])],
                **_choice(responses, int(population.chosen[row]), pairs),
                **_beside(population, row),
            }
            about.pop("profile", None)


def _talk(talk: Conversation) -> dict[str, Any]:
    if len(talk) == 1 and talk[0].role == "user" and talk[0].content.strip():
        return {"prompt": talk[0].content}
    return {"conversation": [{"role": turn.role, "content": turn.content} for turn in talk]}


def _about(population: Population, number: int, user: str) -> dict[str, Any]:
    role, profile = int(population.role[number]), population.profiles.get(user)
    told: dict[str, Any] = {"user_split": ROLES[role]} if role >= 0 else {}
    return {**told, "profile": dict(profile)} if profile else told


def _choice(responses: list[str], chosen: int, pairs: bool) -> dict[str, Any]:
    if len(responses) > 2 or not pairs:
        return {"responses": responses, "chosen": None if chosen < 0 else chosen}
    tie = {"tie": True} if chosen < 0 else {}
    return {"chosen": responses[0], "rejected": responses[1], **tie}


def _beside(population: Population, row: int) -> dict[str, Any]:
    name, time, split = str(population.ids[row]), float(population.times[row]), int(population.split[row])
    told: dict[str, Any] = {"id": name}
    if time == time:
        told["time"] = time
    if split >= 0:
        told["split"] = SPLITS[split]
    if name in population.reasons:
        told["reason"] = population.reasons[name]
    return told
