"""Files of predictions: one JSON line an answer, on the disk before the next question is asked.

A process that is killed leaves at most one line unfinished at the end; reading passes over
it and appending removes it. Knows no benchmark and no model.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from pplava_core.atomic import replacing
from pplava_core.errors import InputError, OutputError, UsageError
from pplava_core.evals.base import Prediction

FILE_NAME = "predictions.jsonl"


def shard_file_name(index: int) -> str:
    """Name the file that one of several processes appends to."""
    return f"predictions.rank-{index:03d}.jsonl"


def prediction_files(folder: Path) -> list[Path]:
    """List the files of predictions in a run's folder, what was merged before what was not."""
    merged = folder / FILE_NAME
    return [*([merged] if merged.is_file() else []), *sorted(folder.glob("predictions.rank-*"))]


def read_folder(folder: Path) -> dict[str, Prediction]:
    """Read all predictions of a run, whichever process wrote them; an answer beats an error.

    Raises:
        InputError: a file is damaged elsewhere than at its end.
    """
    found: dict[str, Prediction] = {}
    for path in prediction_files(folder):
        for name, prediction in read_predictions(path).items():
            if name not in found or found[name].error is not None:
                found[name] = prediction
    return found


def read_predictions(path: Path) -> dict[str, Prediction]:
    """Read one file; of several lines about an item the last one counts.

    Raises:
        InputError: the file cannot be read, or a line but the last is no prediction.
    """
    try:
        lines, _ = _whole_lines(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the name") from error
    found = {}
    for number, line in enumerate(lines, 1):
        try:
            prediction = _prediction(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{path}, line {number}: not a prediction ({error}); it needs an id and a text"
            ) from error
        found[prediction.id] = prediction
    return found


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write a whole file of predictions at once.

    Raises:
        OutputError: the disk is full or the folder may not be written into.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(b"".join(_line(prediction) for prediction in predictions))
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> OutputError:
    """Word what the system says of a file that cannot be written."""
    return OutputError(
        f"{path} cannot be written: {error.strerror or error}; "
        "what was written before is kept: make room or rights, and give the same command again"
    )


class PredictionLog:
    """A file that one process appends predictions to; use as a context manager.

    Args:
        path: made if it is not there; an unfinished line at its end is removed.

    Raises:
        OutputError: it cannot be written.
        UsageError: another process is appending to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = open(path, "r+b" if path.exists() else "x+b", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise unwritable(path, error) from error
        self._lock()
        data = self._file.read() or b""
        _, self._end_bytes = _whole_lines(data)
        self._file.truncate(self._end_bytes)
        self._file.seek(self._end_bytes)
        if self._end_bytes and data[self._end_bytes - 1 : self._end_bytes] != b"\n":
            self._write(b"\n")

    def append(self, prediction: Prediction) -> None:
        """Write one line and wait until the disk has it.

        Raises:
            OutputError: the disk does not take it; the lines before stay whole.
        """
        self._write(_line(prediction))

    def __enter__(self) -> PredictionLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def _write(self, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += self._file.write(data[written:]) or 0
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end_bytes)
                self._file.seek(self._end_bytes)
            raise unwritable(self.path, error) from error
        self._end_bytes += written

    def _lock(self) -> None:
        """Keep a second run out; the system takes the lock back however this process ends."""
        try:
            import fcntl
        except ImportError:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UsageError(
                f"{self.path.parent} is in use by another run: wait for it, or name another folder"
            ) from None
        except OSError:
            return  # a file system without locks


def _line(prediction: Prediction) -> bytes:
    record: dict[str, Any] = {"id": prediction.id, "text": prediction.text}
    if prediction.error is not None:
        record["error"] = prediction.error
    if prediction.details:
        record["details"] = dict(prediction.details)
    return json.dumps(record, allow_nan=False).encode() + b"\n"


def _prediction(record: Mapping[str, Any]) -> Prediction:
    name, text, error = record["id"], record.get("text", ""), record.get("error")
    if not isinstance(name, str) or not isinstance(text, str):
        raise TypeError("id and text must be strings")
    if error is not None and not isinstance(error, str):
        raise TypeError("error must be a string")
    return Prediction(id=name, text=text, error=error, details=dict(record.get("details", {})))


def _whole_lines(data: bytes) -> tuple[list[bytes], int]:
    """Split into lines, without one that was cut short; also say where the last one ends."""
    end = data.rfind(b"\n") + 1
    if end < len(data):
        with contextlib.suppress(ValueError):
            json.loads(data[end:])
            end = len(data)
    return [line for line in data[:end].split(b"\n") if line.strip()], end
