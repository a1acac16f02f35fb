"""Raw rows of Hugging Face data sets; ``datasets`` is imported on first use."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from palate.core import ConfigError, DataError, MissingExtra

__all__ = ["is_saved", "saved_rows", "stored_rows"]

BATCH = 1000


def is_saved(folder: Path) -> bool:
    """Tell whether ``datasets`` saved this folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def stored_rows(spec: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of ID, ID:SPLIT or ID:CONFIG:SPLIT on the hub; ``line`` is the row's number.

    Raises:
        ConfigError: If there are several splits and none was named.
        DataError: If the data set cannot be loaded.
    """
    name, *rest = spec.split(":")
    config, split = (rest[0], rest[1]) if len(rest) > 1 else (None, rest[0] if rest else None)
    load = _datasets().load_dataset
    try:
        found = load(name, config) if config else load(name)
    except Exception as error:
        raise DataError(
            f"the Hugging Face data set {name!r} cannot be loaded: {str(error).splitlines()[0]}; check the "
            "name (hf:OWNER/NAME, hf:OWNER/NAME:SPLIT, hf:OWNER/NAME:CONFIG:SPLIT) and the network"
        ) from error
    yield from _rows(found, split or "", f"hf:{spec}")


def saved_rows(folder: Path, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a folder that ``datasets`` saved.

    Raises:
        ConfigError: If there are several splits and none was named.
        DataError: If the folder cannot be loaded.
    """
    load = _datasets().load_from_disk
    try:
        found = load(str(folder))
    except Exception as error:
        raise DataError(f"{folder} cannot be loaded: {str(error).splitlines()[0]}") from error
    yield from _rows(found, split, f"hf:{folder}")


def _rows(found: Any, split: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
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
