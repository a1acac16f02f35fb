"""Raw rows of Hugging Face data sets; ``datasets`` is imported on first use."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from palate.core import ConfigError, DataError, MissingExtra

__all__ = ["is_saved", "saved_columns", "saved_rows", "saved_splits", "stored_rows", "stored_splits"]

BATCH = 1000
HubRow = tuple[int, dict[str, Any]]
Splits = list[tuple[str, Callable[[], Iterator[HubRow]]]]


def is_saved(folder: Path) -> bool:
    """Tell whether ``datasets`` saved this folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def stored_rows(spec: str) -> Iterator[HubRow]:
    """Yield the rows of ID, ID:SPLIT or ID:CONFIG:SPLIT on the hub; ``line`` is the row's number.

    Raises:
        ConfigError: If there are several splits and none was named.
        DataError: If the data set cannot be loaded.
    """
    found, split = _stored(spec)
    yield from _rows(found, split, f"hf:{spec}")


def stored_splits(spec: str) -> Splits:
    """Return every split that the spec names, in order, with a function that gives its rows.

    Raises:
        ConfigError: If a split was named that is not there.
        DataError: If the data set cannot be loaded.
    """
    return _splits(*_stored(spec), f"hf:{spec}")


def saved_rows(folder: Path, split: str) -> Iterator[HubRow]:
    """Yield the rows of a folder that ``datasets`` saved.

    Raises:
        ConfigError: If there are several splits and none was named.
        DataError: If the folder cannot be loaded.
    """
    yield from _rows(_saved(folder), split, f"hf:{folder}")


def saved_splits(folder: Path, split: str) -> Splits:
    """Return every split of a folder that ``datasets`` saved, or the one that was named.

    Raises:
        ConfigError: If a split was named that is not there.
        DataError: If the folder cannot be loaded.
    """
    return _splits(_saved(folder), split, f"hf:{folder}")


def saved_columns(folder: Path) -> tuple[str, ...]:
    """Return the columns of a folder that ``datasets`` saved; of its first split, where it has several."""
    found = _saved(folder)
    first = next(iter(found.values())) if isinstance(found, dict) else found
    return tuple(first.column_names)


def _stored(spec: str) -> tuple[Any, str]:
    """Return the data set of a spec and the split that it names, empty where it names none."""
    name, *rest = spec.split(":")
    config, split = (rest[0], rest[1]) if len(rest) > 1 else ("", rest[0] if rest else "")
    load = _datasets().load_dataset
    try:
        return (load(name, config) if config else load(name)), split
    except Exception as error:
        raise DataError(
            f"the Hugging Face data set {name!r} cannot be loaded: {str(error).splitlines()[0]}; check the "
            "name (hf:OWNER/NAME, hf:OWNER/NAME:SPLIT, hf:OWNER/NAME:CONFIG:SPLIT) and the network"
        ) from error


def _saved(folder: Path) -> Any:
    load = _datasets().load_from_disk
    try:
        return load(str(folder))
    except Exception as error:
        raise DataError(f"{folder} cannot be loaded: {str(error).splitlines()[0]}") from error


def _splits(found: Any, split: str, name: str) -> Splits:
    def of(one: str) -> Callable[[], Iterator[HubRow]]:
        return lambda: _rows(found, one, name)

    if not isinstance(found, dict):
        return [(split, of(split))]
    if split and split not in found:
        raise ConfigError(f"{name}: there is no split {split!r}; it has {', '.join(found)}")
    return [(one, of(one)) for one in ([split] if split else found)]


def _rows(found: Any, split: str, name: str) -> Iterator[HubRow]:
    if isinstance(found, dict):
        names = list(found)
        if not split and len(names) > 1:
            raise ConfigError(
                f"{name} has the splits {', '.join(names)}: say which, such as {name}:{names[0]}"
            )
        if split and split not in names:
            raise ConfigError(f"{name}: there is no split {split!r}; it has {', '.join(names)}")
        found = found[split or names[0]]
    number = 0
    for batch in found.iter(batch_size=BATCH):
        columns = list(batch)
        for cells in zip(*batch.values(), strict=True):
            number += 1
            yield number, dict(zip(columns, cells, strict=True))


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingExtra(what="a Hugging Face data set", extra="hub", module="datasets") from None
    return datasets
