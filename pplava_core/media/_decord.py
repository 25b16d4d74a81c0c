"""The reader `decord`: kept because the released models' cards name it, never the default.

It shows wrong frames on some files without saying so (open GOPs, MPEG-TS, edit lists), and
has been reported to loop for ever. So the file must pass PyAV's whitelists first, decord runs
single-threaded in a child process that is killed when it exceeds a time limit, and every clip
it reads carries a warning.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np

from pplava_core.errors import InputError, UsageError
from pplava_core.media._container import film_by_count, opened, video_stream
from pplava_core.media._film import Film
from pplava_core.media._guard import check_file, check_size, shown

TIME_LIMIT_SECONDS = 60.0
"How long decord may take for one answer."
IMPOSTORS = ("decord2", "eva-decord")
"Other packages that install a module called decord."
MAX_FILM_SECONDS = 1e7
"Clocks that claim more (four months) are broken."
_NOISE = re.compile(r"^(\[[\d:]+\] )?\S+:\d+: (\[.*?\] )?")
"What decord's messages begin with: the time of day and places in its source."
CHILD = Path(__file__).with_name("_decord_child.py")


class DecordReader:
    """Reads one video file through decord; see `FrameReader`."""

    name = "decord"

    def __init__(self, path: Path) -> None:
        check_file(path)
        check_installed()
        with opened(path) as container:  # decord itself would follow a playlist to other files
            video_stream(container, path)
        self.warnings = ["decord is not verified: it shows wrong frames on some files"]
        self._path = path
        with _Child(path) as child:
            self.film = self._described(child.answer())

    def _described(self, description: dict[str, Any]) -> Film:
        seconds = np.asarray(description["seconds"], dtype=np.float64)
        fps = float(description["fps"])
        if not len(seconds):
            raise InputError(f"{shown(self._path)}: decord finds no frames in it")
        length_seconds = description["stop_seconds"] - seconds[0]
        if not ((np.diff(seconds) >= 0).all() and 0 <= length_seconds < MAX_FILM_SECONDS):
            self.warnings.append("decord gives no usable times: they are counted from the rate")
            return film_by_count(len(seconds), fps if math.isfinite(fps) else 0.0)
        return Film(
            # decord's clock keeps the container's offset; the film's own clock does not
            seconds=seconds - seconds[0],
            usable=np.arange(len(seconds), dtype=np.int64),
            stop_seconds=float(length_seconds),
            fps=fps,
        )

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the pictures of these frames; see `FrameReader.read`."""
        with _Child(self._path) as child:
            child.answer()
            for index in dict.fromkeys(indices):
                yield index, child.frame(index)


def check_installed() -> None:
    """Make sure that the module called decord is decord.

    Raises:
        UsageError: it is missing, or another package has put its own in its place.
    """
    for impostor in IMPOSTORS:
        try:
            importlib.metadata.distribution(impostor)
        except importlib.metadata.PackageNotFoundError:
            continue
        raise UsageError(
            f"{impostor} has replaced decord and shows wrong frames; uninstall it, or leave "
            "--reader at pyav"
        )
    if importlib.util.find_spec("decord") is None:
        raise UsageError("decord is not installed (it has no wheel for some systems); use pyav")


class _Child:
    """A running child process, killed at the end of the ``with`` block or when it is late."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_late = False

    def __enter__(self) -> _Child:
        # -P: the folder of this package does not become a place to import from
        command = [sys.executable, "-P", os.fspath(CHILD), os.path.abspath(self._path)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        # closes the pipes and waits; what the child had still to say is of no use
        self._process.communicate()

    def frame(self, index: int) -> np.ndarray:
        """Ask for one frame, ``(H, W, 3)`` uint8 RGB."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"%d\n" % index)
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended() from error
        picture: np.ndarray = self.answer()["picture"]
        return picture

    def answer(self) -> dict[str, Any]:
        """Wait for one answer.

        Raises:
            InputError: decord reports an error, dies, or is too late.
        """
        watch = Timer(TIME_LIMIT_SECONDS, self._stop)
        watch.daemon = True
        watch.start()
        try:
            return self._read_answer()
        finally:
            watch.cancel()

    def _read_answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._ended()
        header: dict[str, Any] = json.loads(line)
        if "error" in header:
            reason = _NOISE.sub("", header["error"])
            raise InputError(f"{shown(self._path)}: decord cannot read it ({reason}); use pyav")
        if "shape" in header:
            height, width, channels = header["shape"]
            check_size(self._path, width, height)
            body = self._process.stdout.read(height * width * channels)
            if len(body) < height * width * channels:
                raise self._ended()
            header["picture"] = np.frombuffer(bytearray(body), dtype=np.uint8).reshape(
                header["shape"]
            )
        return header

    def _stop(self) -> None:
        self._is_late = True
        self._process.kill()

    def _ended(self) -> InputError:
        if self._is_late:
            limit = f"{TIME_LIMIT_SECONDS:g} s"
            return InputError(f"{shown(self._path)}: decord gave nothing for {limit}; use pyav")
        return InputError(f"{shown(self._path)}: decord broke down on it; use pyav")
