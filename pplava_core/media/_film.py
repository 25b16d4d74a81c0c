"""What every reader offers, and what it knows of a film before any frame is decoded.

A reader is one small class: it opens one input, describes it as a `Film`, and yields the
pictures of asked-for frames one at a time at full size. It does not choose frames and does
not resize. Readers are told apart by name here and imported only when one is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pplava_core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

READERS = ("pyav", "decord")


@dataclass(frozen=True, kw_only=True)
class Film:
    """The frames of one input, by time."""

    seconds: np.ndarray
    "``(F,)`` float64, never decreasing: presentation time of every frame, on the film's clock."
    usable: np.ndarray
    "``(U,)`` int64, increasing: the frames that can be decoded, as far as is known."
    stop_seconds: float
    "When the last frame leaves the screen; 0 when there is no clock."
    fps: float
    "Average frames per second; 0 when there is no clock."


class FramesMissingError(Exception):
    """Some asked-for frames cannot be decoded; the reader's `film` now says which can."""


class FrameReader(Protocol):
    """Gives the pictures of one input."""

    name: str
    film: Film
    warnings: list[str]
    "What the user should hear of this input; grows while frames are read."

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(index, picture)`` for each of the indices, which increase.

        A picture is ``(H, W, 3)`` uint8 RGB, turned upright.

        Raises:
            FramesMissingError: some cannot be decoded; choose again from ``film.usable``.
            InputError: nothing can be decoded.
        """
        ...


def open_video(path: Path, reader: str) -> FrameReader:
    """Open a video with the reader of that name.

    Raises:
        UsageError: there is no such reader.
        InputError: it cannot read the file.
    """
    if reader == "pyav":
        from pplava_core.media._pyav import PyavReader

        return PyavReader(path)
    if reader == "decord":
        from pplava_core.media._decord import DecordReader

        return DecordReader(path)
    raise UsageError(f"there is no reader {reader!r}; choose one of {', '.join(READERS)}")
