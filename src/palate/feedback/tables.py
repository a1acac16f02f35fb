"""Raw rows of a Parquet file, by duckdb."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from palate.core import DataError
from palate.feedback.report import BadRow

__all__ = ["parquet_rows"]

BATCH = 4096


def parquet_rows(path: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Yield an object a row; ``line`` is the row's number, from 1.

    Raises:
        DataError: If the file is missing or no Parquet.
    """
    import duckdb

    if not Path(path).is_file():
        raise DataError(f"there is no file {path}: check the path")
    number = 0
    with duckdb.connect() as link:
        try:
            rows, columns = _query(link, path)
        except duckdb.Error as error:
            first = str(error).splitlines()[0]
            raise DataError(f"{path} cannot be read as Parquet: {first}") from error
        while True:
            try:
                batch = rows.fetchmany(BATCH)
            except duckdb.Error as error:
                yield number + 1, BadRow("cut off", "", f"the file breaks off: {str(error).splitlines()[0]}")
                return
            if not batch:
                return
            for place, cells in enumerate(batch, 1):
                yield number + place, dict(zip(columns, cells, strict=True))
            number += len(batch)


def _query(link: Any, path: str) -> tuple[Any, list[str]]:
    """Return an open query over a file and its columns; moments with a zone come as seconds."""
    pattern = re.sub(r"([*?\[])", r"[\1]", path)
    described = link.execute("DESCRIBE SELECT * FROM read_parquet(?)", [pattern]).fetchall()
    moments = [name for name, kind, *_ in described if kind == "TIMESTAMP WITH TIME ZONE"]
    quoted = ['"' + name.replace('"', '""') + '"' for name in moments]
    replace = f" REPLACE ({', '.join(f'epoch({q}) AS {q}' for q in quoted)})" if quoted else ""
    rows = link.execute(f"SELECT *{replace} FROM read_parquet(?)", [pattern])
    return rows, [name for name, *_ in described]
