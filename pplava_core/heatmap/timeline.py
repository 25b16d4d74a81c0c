"""A strip that shows how the relevance is spread over the clip's time.

One bar for each sampled frame, as wide as the time it stands for and as high as its mean
relevance in times the average; a dashed line marks the average, brackets above mark the
moments that weighed most. Knows nothing of the pictures themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pplava_core.evidence import STANDS_OUT, frame_edges, frame_shares
from pplava_core.heatmap.layout import Rectangle
from pplava_core.heatmap.lettering import clock, decimals_for, typeface
from pplava_core.types import Moment, Relevance

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

INK, FAINT, GROUND = (234, 235, 238), (160, 166, 176), (34, 37, 45)

_STANDING_OUT, _ORDINARY = (237, 121, 38), (104, 110, 122)
_BRACKETS, _AXIS = 24, 24
_STEPS_SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What the strip shows of one question."""

    relevance: Relevance
    span_seconds: tuple[float, float] | None
    "The range that was read; None for pictures, which are numbered from 1 instead."
    moments: tuple[Moment, ...]
    "The moments that weighed most, heaviest first."


def draw_timeline(
    draw: ImageDraw, rectangle: Rectangle, timeline: Timeline, *, highest: int
) -> None:
    """Draw the strip.

    Args:
        draw: where to.
        rectangle: `pplava_core.heatmap.layout.TIMELINE` pixels high.
        timeline: what to show.
        highest: the multiple of the average at the upper border, the same for all strips that
            are to be compared.
    """
    left, upper, right, lower = _plot(rectangle)
    draw.rectangle((left, upper, right - 1, lower - 1), fill=GROUND)
    heights = frame_multiples(timeline.relevance)
    positions = _places(timeline, frame_edges(timeline.relevance.seconds, timeline.span_seconds))
    borders = np.rint(left + positions * (right - left)).astype(int)
    for index, height in enumerate(heights):
        bar_top = min(round(lower - height / highest * (lower - upper)), lower - 1)
        bar = (borders[index], bar_top, max(borders[index], borders[index + 1] - 1), lower - 1)
        draw.rectangle(bar, fill=_STANDING_OUT if height >= STANDS_OUT else _ORDINARY)
    _draw_average(draw, (left, upper, right, lower), highest)
    _draw_moments(draw, (left, upper, right, lower), timeline)
    _draw_axis(draw, (left, upper, right, lower), timeline)


def mark_frame(draw: ImageDraw, rectangle: Rectangle, timeline: Timeline, index: int) -> None:
    """Point at one frame's bar, as the film plays."""
    left, upper, right, lower = _plot(rectangle)
    edges = frame_edges(timeline.relevance.seconds, timeline.span_seconds)
    start, stop = _places(timeline, edges[index : index + 2])
    box = (left + start * (right - left), upper, left + stop * (right - left) - 1, lower - 1)
    draw.rectangle((box[0], box[1], max(box[0] + 1, box[2]), box[3]), outline=INK, width=2)


def frame_multiples(relevance: Relevance) -> np.ndarray:
    """Give every frame's mean relevance in times the average: ``(T,)`` whose mean is 1."""
    shares = frame_shares(relevance.weights.double().numpy())
    return shares * len(shares)


def _plot(rectangle: Rectangle) -> Rectangle:
    left, upper, right, lower = rectangle
    return left, upper + _BRACKETS, right, lower - _AXIS


def _places(timeline: Timeline, seconds: np.ndarray) -> np.ndarray:
    """Give where times lie between the left end of the strip, 0, and the right, 1."""
    edges = frame_edges(timeline.relevance.seconds, timeline.span_seconds)
    places: np.ndarray = (np.asarray(seconds) - edges[0]) / max(edges[-1] - edges[0], 1e-9)
    return places


def _draw_average(draw: ImageDraw, plot: Rectangle, highest: int) -> None:
    left, upper, right, lower = plot
    average = round(lower - (lower - upper) / highest)
    for x in range(left, right, 10):
        draw.line((x, average, min(x + 4, right - 1), average), fill=FAINT)
    font = typeface(11)
    draw.text((left - 5, average), "×1", font=font, fill=FAINT, anchor="rm")
    draw.text((left - 5, upper + 5), f"×{highest}", font=font, fill=FAINT, anchor="rm")


def _draw_moments(draw: ImageDraw, plot: Rectangle, timeline: Timeline) -> None:
    """Draw a bracket over each moment with its share, left out where it would overlap."""
    left, upper, right, _ = plot
    font = typeface(13, bold=True)
    taken: list[tuple[float, float]] = []
    for moment in timeline.moments:
        ends = np.array([moment.start_seconds, moment.stop_seconds])
        start, stop = left + _places(timeline, ends) * (right - left)
        draw.line((start + 1, upper - 4, max(start + 3, stop - 2), upper - 4), fill=INK, width=3)
        text = f"{moment.share:.0%}"
        half = font.getlength(text) / 2
        middle = min(max((start + stop) / 2, left + half), right - half)
        if all(middle + half + 6 < low or high + 6 < middle - half for low, high in taken):
            draw.text((middle, upper - 8), text, font=font, fill=INK, anchor="ms")
            taken.append((middle - half, middle + half))


def _draw_axis(draw: ImageDraw, plot: Rectangle, timeline: Timeline) -> None:
    left, _, right, lower = plot
    font = typeface(13)
    for seconds, text in _axis_marks(timeline, right - left):
        x = left + float(_places(timeline, np.array(seconds))) * (right - left)
        draw.line((x, lower, x, lower + 4), fill=FAINT)
        half = font.getlength(text) / 2
        middle = min(max(x, left + half), right - half)
        draw.text((middle, lower + 6), text, font=font, fill=FAINT, anchor="ma")


def _axis_marks(timeline: Timeline, width_pixels: int) -> list[tuple[float, str]]:
    most = max(2, width_pixels // 90)
    if timeline.span_seconds is None:
        count = len(timeline.relevance.seconds)
        step = math.ceil(count / most)
        return [(index + 0.5, str(index + 1)) for index in range(0, count, step)]
    edges = frame_edges(timeline.relevance.seconds, timeline.span_seconds)
    start, stop = float(edges[0]), float(edges[-1])
    fitting = (step for step in _STEPS_SECONDS if (stop - start) / step <= most)
    gap = next(fitting, _STEPS_SECONDS[-1] * math.ceil((stop - start) / 7200 / most))
    numbers = range(math.ceil(start / gap - 1e-9), math.floor(stop / gap + 1e-9) + 1)
    return [(n * gap, clock(n * gap, decimals=decimals_for(gap))) for n in numbers]
