"""The tables of a benchmark's data folder: parquet, CSV or JSON, read whole and checked.

Whatever is wrong with one is a single line that names the file, the row and the column.
Knows no benchmark and no video; those are found by `pplava_core.evals.data.videos`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pplava_core.errors import InputError

Rows = list[dict[str, Any]]


def find_file(folder: Path, patterns: Sequence[str], *, what: str) -> Path:
    """Return the first file that matches the first pattern that matches anything.

    Args:
        folder: the data folder.
        patterns: as `Path.glob` reads them, the likeliest first.
        what: said when there is none: ``"questions of Video-MME"``.

    Raises:
        InputError: no folder, or no such file in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give the benchmark's data folder")
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if path.is_file():
                return path
    raise InputError(f"{folder} has no {what}: expected {' or '.join(patterns)} in it")


def read_rows(path: Path) -> Rows:
    """Read a table of parquet, CSV or JSON (a list of objects) as one dictionary a row.

    Raises:
        InputError: the file cannot be read, is cut off, or is no such table.
    """
    readers = {".parquet": _parquet_rows, ".csv": _csv_rows}
    return readers.get(path.suffix.lower(), _json_rows)(path)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: it cannot be read, is not UTF-8 or is no JSON; the line is named.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: not JSON ({error.msg}); the file is cut off or damaged"
        ) from error
    except RecursionError as error:
        raise InputError(f"{path} is nested too deeply to be a table; get it anew") from error


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        InputError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the name") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); get it anew") from error


def checked(rows: Rows, path: Path, columns: Mapping[str, type | tuple[type, ...]]) -> Rows:
    """Return the rows once every one has every column with a value of the right type.

    Raises:
        InputError: a column is missing, or a value has another type; the first is named.
    """
    if not rows:
        raise InputError(f"{path} has no rows: it is empty or cut off; get it anew")
    for number, row in enumerate(rows, 1):
        missing = [name for name in columns if name not in row]
        if missing:
            raise InputError(
                f"{path}, row {number}: no {_listed(missing)}; there are {_listed(row)}"
            )
        for name, types in columns.items():
            value, wanted = row[name], types if isinstance(types, tuple) else (types,)
            if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
                names = " or ".join(kind.__name__ for kind in wanted)
                raise InputError(
                    f"{path}, row {number}: {name} is {_short(value)}, "
                    f"a {type(value).__name__}; expected {names}"
                )
    return rows


def bad_value(path: Path, number: int, column: str, value: Any, expected: str) -> InputError:
    """Word that a row (counted from 1) holds a value that the benchmark does not have."""
    return InputError(f"{path}, row {number}: {column} is {_short(value)}; expected {expected}")


def check_unique(names: Iterable[str], path: Path) -> None:
    """Refuse two questions of one name.

    Raises:
        InputError: a name comes twice; it is named.
    """
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if name in seen:
            raise InputError(
                f"{path}, row {number}: question {name} was in row {seen[name]} already; "
                "two versions of the data may be mixed"
            )
        seen[name] = number


def _parquet_rows(path: Path) -> Rows:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows: Rows = file.read().to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{path} cannot be read as parquet ({reason}); it is cut off or damaged, get it anew"
        ) from error
    return rows


def _csv_rows(path: Path) -> Rows:
    import csv

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows: Rows = []
            for number, row in enumerate(csv.DictReader(file, strict=True), 1):
                if None in row or None in row.values():
                    raise InputError(
                        f"{path}, row {number}: not as many fields as columns; "
                        "it is cut off or damaged"
                    )
                rows.append(dict(row))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the name") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV ({error}); get it anew") from error
    return rows


def _json_rows(path: Path) -> Rows:
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path} is not a list of objects, one a question; is it another file?")
    return rows


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names)) or "nothing"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
