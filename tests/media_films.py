"""Films and pictures for the media tests, which say in every frame which frame they are.

A numbered picture has a strip on top, red on the left and green on the right, and below it 24
black or white cells: 18 bits of a number and 6 bits to check it. It survives compression and
resizing, and is readable only the right way up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

ROWS, COLUMNS = 4, 8
HEIGHT, WIDTH = 96, 128


def numbered_picture(number: int, *, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Draw ``(height, width, 3)`` uint8 RGB that shows a number below 2**18."""
    cells = np.zeros((ROWS, COLUMNS, 3), dtype=np.uint8)
    cells[0, : COLUMNS // 2] = (255, 0, 0)
    cells[0, COLUMNS // 2 :] = (0, 255, 0)
    cells[1:] = 255 * _bits(number).reshape(ROWS - 1, COLUMNS, 1)
    rows = np.arange(height) * ROWS // height
    columns = np.arange(width) * COLUMNS // width
    return cells[rows][:, columns]


def read_number(picture: np.ndarray) -> int | None:
    """Read the number of a picture; None when it is damaged, turned or another picture."""
    height, width = picture.shape[:2]
    rows = ((np.arange(ROWS) + 0.5) * height / ROWS).astype(int)
    columns = ((np.arange(COLUMNS) + 0.5) * width / COLUMNS).astype(int)
    cells = picture[rows][:, columns].astype(int)
    red, green = cells[0, 0] > 128, cells[0, -1] > 128
    if red.tolist() != [True, False, False] or green.tolist() != [False, True, False]:
        return None
    bits = (cells[1:].mean(-1) > 128).reshape(-1)
    number = int("".join("1" if bit else "0" for bit in bits[:18]), 2)
    return number if (_bits(number) == bits).all() else None


def read_numbers(pictures: Iterable[np.ndarray]) -> list[int | None]:
    return [read_number(picture) for picture in pictures]


def _bits(number: int) -> np.ndarray:
    code = (number << 6) | ((number * 29 + 5) % 64)
    return np.array([code >> place & 1 for place in range(23, -1, -1)], dtype=np.uint8)


def write_film(
    path: Path,
    numbers: Sequence[int],
    *,
    fps: int = 30,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    codec_options: dict[str, str] | None = None,
    muxer_options: dict[str, str] | None = None,
    muxer: str | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    rotation: int = 0,
    height: int = HEIGHT,
    width: int = WIDTH,
    silence_seconds: float = 0.0,
) -> Path:
    """Encode a film whose frames show these numbers.

    ``pts`` gives the frames' times in units of ``time_base``; without it they come at ``fps``.
    ``silence_seconds`` adds a sound track that starts at zero.
    """
    base = time_base or Fraction(1, fps)
    with av.open(str(path), "w", format=muxer, options=muxer_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=fps, options=codec_options or {})
        stream.height, stream.width, stream.pix_fmt = height, width, pixel_format
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 1
        if rotation:
            stream.set_display_rotation(rotation)
        if silence_seconds:
            _write_silence(container, silence_seconds)
        for place, number in enumerate(numbers):
            picture = numbered_picture(number, height=height, width=width)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = place if pts is None else pts[place]
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path, seconds: float = 0.5) -> Path:
    with av.open(str(path), "w") as container:
        _write_silence(container, seconds)
    return path


def _write_silence(container: Any, seconds: float) -> None:
    rate, samples = 8000, 1024
    stream = container.add_stream("aac", rate=rate, layout="mono")
    for start in range(0, int(seconds * rate), samples):
        silence = np.zeros((1, samples), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
