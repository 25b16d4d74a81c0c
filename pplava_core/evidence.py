"""Where in a clip the relevance lies: a few stretches of time, for a person to check.

A frame stands for the time around it: the border to its neighbour lies half-way between
the two, so that the frames together tile the range that was read. Knows relevance and
times; nothing of models, questions or pictures.

The rule. A frame's share is the sum of its patches' relevance; were the relevance even,
each of T frames would have 1/T. A frame stands out when it has at least `STANDS_OUT` times
that, and a moment is a longest row of neighbouring frames that all stand out. The moments
with the largest shares are given; the other frames belong to none, so shares add up to at
most 1. Where no frame stands out, the whole clip is the only moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pplava_core.errors import ShapeError, UsageError
from pplava_core.types import ClipSource, Moment, PixelRule, Relevance

if TYPE_CHECKING:
    from collections.abc import Iterator

Box = tuple[float, float, float, float]
"``(left, top, right, bottom)``, 0 to 1 across and down."

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

STANDS_OUT = 1.05
"Times the even level; less than this is the unevenness of a map that points nowhere."


def find_moments(
    relevance: Relevance,
    *,
    frame_span_seconds: tuple[float, float] | None,
    max_moments: int = 3,
    picture_box: Box = WHOLE,
) -> tuple[Moment, ...]:
    """Name the stretches of a clip that weighed most.

    Args:
        relevance: ``(T, H, W)`` over the sampled frames, with their times.
        frame_span_seconds: the range ``[start, stop)`` that was read, which the frames
            tile (`span_of` gives it); None for pictures, which have no clock: their
            "seconds" are then positions in the set, ``[n, n + 1)`` for picture n from 0.
        max_moments: at most so many are given.
        picture_box: where the picture lies in what the model saw; see `picture_box_of`.

    Returns:
        At least one moment, the heaviest first; none overlap.

    Raises:
        UsageError: ``max_moments`` is below 1.
        ShapeError: the relevance has no patch, or not one time for each frame.
    """
    if max_moments < 1:
        raise UsageError(f"max_moments is {max_moments}: ask for at least 1")
    weights = relevance.weights.double().numpy()
    if weights.ndim != 3 or weights.size == 0 or len(weights) != len(relevance.seconds):
        raise ShapeError(
            f"relevance of shape {weights.shape} with {len(relevance.seconds)} times: "
            "expected (T, H, W) with T times"
        )
    shares = frame_shares(weights)
    edges = frame_edges(relevance.seconds, frame_span_seconds)
    firsts = _first_of_each_time(relevance.seconds, frame_span_seconds)
    runs = sorted(_runs(shares, firsts), key=lambda run: (-shares[run].sum(), run.start))
    moments = []
    for run in runs[:max_moments]:
        peak = run.start + int(np.argmax(shares[run]))
        peak_seconds = float(peak if frame_span_seconds is None else relevance.seconds[peak])
        moments.append(
            Moment(
                start_seconds=float(edges[run.start]),
                stop_seconds=float(edges[run.stop]),
                share=float(shares[run].sum()),
                peak_seconds=peak_seconds,
                peak_box=_heaviest_patch(weights[peak], picture_box),
            )
        )
    return tuple(moments)


def frame_shares(weights: np.ndarray) -> np.ndarray:
    """Give each frame's part of the relevance.

    Args:
        weights: ``(T, H, W)``, not negative.

    Returns:
        ``(T,)`` float64 that sums to 1; even where there is no relevance at all.
    """
    sums = weights.reshape(len(weights), -1).sum(axis=1, dtype=np.float64)
    total = sums.sum()
    return sums / total if total > 0 else np.full(len(sums), 1 / len(sums))


def frame_edges(seconds: np.ndarray, frame_span_seconds: tuple[float, float] | None) -> np.ndarray:
    """Give the borders between the stretches of time that the frames stand for.

    Args:
        seconds: ``(T,)``, not decreasing. Frames with the same time (a film with fewer
            frames than were asked for) share their stretch evenly.
        frame_span_seconds: as in `find_moments`. It is widened where a frame lies outside,
            which a film whose header understates its length can cause.

    Returns:
        ``(T + 1,)``, not decreasing: frame i stands for ``[edges[i], edges[i + 1])``.
    """
    if frame_span_seconds is None:
        return np.arange(len(seconds) + 1, dtype=np.float64)
    times, counts = np.unique(np.asarray(seconds, np.float64), return_counts=True)
    middles = (times[1:] + times[:-1]) / 2
    start = min(frame_span_seconds[0], times[0])
    stop = frame_span_seconds[1]
    if stop <= times[-1]:
        stop = times[-1] + (times[-1] - middles[-1] if len(middles) else 0.0)
    borders = np.concatenate([[start], middles, [stop]])
    parts = [
        np.linspace(left, right, count, endpoint=False)
        for left, right, count in zip(borders[:-1], borders[1:], counts, strict=True)
    ]
    return np.concatenate([*parts, [stop]])


def span_of(source: ClipSource) -> tuple[float, float] | None:
    """Give the range that a clip's frames tile, or None where there is no clock."""
    if source.kind in ("image", "images") or source.fps <= 0:
        return None
    return source.start_seconds, source.stop_seconds


def picture_box_of(source: ClipSource, pixels: PixelRule) -> Box:
    """Give the part of what the model saw that is picture and not padding around it.

    Args:
        source: gives the shape of the first picture.
        pixels: the model's rule. Where it squashes, everything is picture, as it is where the
            picture was cut: the tile that shows all of it is squashed.
    """
    if pixels.resize == "squash" or source.tile_counts:
        return WHOLE
    scale = min(pixels.height / source.height, pixels.width / source.width)
    across = min(1.0, source.width * scale / pixels.width)
    down = min(1.0, source.height * scale / pixels.height)
    return (1 - across) / 2, (1 - down) / 2, (1 + across) / 2, (1 + down) / 2


def _first_of_each_time(
    seconds: np.ndarray, frame_span_seconds: tuple[float, float] | None
) -> np.ndarray:
    """Give the index of the first frame at each time: equal ones are one piece of evidence."""
    if frame_span_seconds is None:
        return np.arange(len(seconds))
    return np.unique(np.asarray(seconds, np.float64), return_index=True)[1]


def _runs(shares: np.ndarray, firsts: np.ndarray) -> Iterator[slice]:
    """Give the longest rows of frames that stand out, cut only between ``firsts``."""
    borders = np.append(firsts, len(shares))
    even = np.diff(borders) / len(shares)
    above = np.add.reduceat(shares, firsts) >= STANDS_OUT * even
    if not above.any():
        yield slice(0, len(shares))
        return
    changes = np.flatnonzero(np.diff(above, prepend=False, append=False))
    for start, stop in changes.reshape(-1, 2):
        yield slice(int(borders[start]), int(borders[stop]))


def _heaviest_patch(frame: np.ndarray, picture_box: Box) -> Box:
    """Give the box of the heaviest patch ``(H, W)``, in parts of the unpadded picture."""
    height, width = frame.shape
    row, column = np.unravel_index(int(np.argmax(frame)), frame.shape)
    left, top, right, bottom = picture_box
    across = (np.array([column, column + 1]) / width - left) / (right - left)
    down = (np.array([row, row + 1]) / height - top) / (bottom - top)
    across, down = across.clip(0, 1), down.clip(0, 1)
    return float(across[0]), float(down[0]), float(across[1]), float(down[1])
