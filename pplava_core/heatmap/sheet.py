"""Whole pictures: every frame of a clip on one sheet, or one frame on a page.

Both show, for one question or for two side by side, the frames with the relevance laid
over them, their times, the relevance over time, and a legend. Frames come one at a time
and are shrunk at once, so a long clip is never held in full. Knows nothing of files.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pplava_core.errors import ShapeError
from pplava_core.evidence import WHOLE, Box, find_moments, span_of
from pplava_core.heatmap.layout import TITLE_LINE, Layout, page_layout, sheet_layout
from pplava_core.heatmap.legend import draw_legend
from pplava_core.heatmap.lettering import broken, clock, decimals_for, fitted, times, typeface
from pplava_core.heatmap.overlay import overlay_frame
from pplava_core.heatmap.scale import HeatScale, multiples_of_average
from pplava_core.heatmap.timeline import (
    FAINT,
    INK,
    Timeline,
    draw_timeline,
    frame_multiples,
    mark_frame,
)
from pplava_core.types import ClipSource, Relevance

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageFont import FreeTypeFont

_BACKGROUND = (18, 20, 25)
_MOST_TITLE_LINES = 2


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    """What is to be seen: one or two questions about the same frames of one clip."""

    relevances: Sequence[Relevance]
    "One panel for each, all over the same frames."
    source: ClipSource
    "Gives the pictures' shape, the clock and the range."
    caption: str = ""
    "A line above everything, such as the film's name and the model's."
    smooth: bool = True
    "Let neighbouring patches run into each other; otherwise each keeps its borders."
    picture_box: Box = WHOLE
    "Where the picture lies in what the model saw, when that was padded."

    def __post_init__(self) -> None:
        counts = {len(relevance.seconds) for relevance in self.relevances}
        if len(counts) != 1 or counts == {0}:
            raise ShapeError(
                f"relevance over {sorted(counts)} frames: all questions need the same clip"
            )

    @property
    def frame_count(self) -> int:
        """How many frames there are to show."""
        return len(self.relevances[0].seconds)


def contact_sheet(heatmap: Heatmap, frames: Iterable[np.ndarray]) -> Picture:
    """Draw every frame on one sheet.

    Args:
        heatmap: what to show.
        frames: the sampled frames in order, each ``(height, width, 3)`` uint8 of any size.

    Raises:
        ShapeError: there are not as many frames as the relevance has.
    """
    layout = sheet_layout(
        len(heatmap.relevances), heatmap.frame_count, aspect=_aspect(heatmap.source)
    )
    artist = _Artist(heatmap, _completed(layout, heatmap))
    sheet = artist.background()
    for index, frame in _counted(heatmap, frames):
        artist.draw_frame(sheet, frame, index, cell=index)
    return sheet


def pages(
    heatmap: Heatmap, frames: Iterable[np.ndarray], *, picture_width: int
) -> Iterator[Picture]:
    """Draw one page for each frame, all of the same size.

    Args:
        heatmap: what to show.
        frames: as for `contact_sheet`; one is held at a time.
        picture_width: pixels across of each overlaid picture.

    Raises:
        ShapeError: there are not as many frames as the relevance has.
    """
    layout = page_layout(
        len(heatmap.relevances), aspect=_aspect(heatmap.source), cell_width=picture_width
    )
    artist = _Artist(heatmap, _completed(layout, heatmap))
    background = artist.background()
    for index, frame in _counted(heatmap, frames):
        page = background.copy()
        artist.draw_frame(page, frame, index, cell=0)
        artist.mark(page, index)
        yield page


class _Artist:
    """Draws one heatmap in one layout; what all its pages share is computed once."""

    def __init__(self, heatmap: Heatmap, layout: Layout) -> None:
        self._heatmap = heatmap
        self._layout = layout
        self._maps = [multiples_of_average(relevance) for relevance in heatmap.relevances]
        self._scale = HeatScale.covering(self._maps)
        span_seconds = span_of(heatmap.source)
        self._timelines = [
            Timeline(
                relevance=relevance,
                span_seconds=span_seconds,
                moments=find_moments(relevance, frame_span_seconds=span_seconds),
            )
            for relevance in heatmap.relevances
        ]
        self._labels = _frame_labels(heatmap.relevances[0].seconds, span_seconds)

    def background(self) -> Picture:
        """Draw all that does not change from frame to frame."""
        from PIL import Image, ImageDraw

        sheet = Image.new("RGB", self._layout.size, _BACKGROUND)
        draw = ImageDraw.Draw(sheet)
        left, top, right, _ = self._layout.caption
        font = typeface(15)
        caption = fitted(self._heatmap.caption, font, right - left)
        draw.text((left, top), caption, font=font, fill=FAINT)
        heights = [frame_multiples(relevance).max() for relevance in self._heatmap.relevances]
        highest = max(2, math.ceil(max(heights)))
        for panel, timeline in enumerate(self._timelines):
            left, top, right, _ = self._layout.title(panel)
            lines = _title_lines(self._heatmap.relevances[panel].text, right - left)
            for line, text in enumerate(lines):
                draw.text((left, top + line * TITLE_LINE), text, font=_title_font(), fill=INK)
            if self._layout.has_timeline:
                draw_timeline(draw, self._layout.timeline(panel), timeline, highest=highest)
        draw_legend(sheet, self._layout.legend, self._scale, has_timeline=self._layout.has_timeline)
        return sheet

    def draw_frame(self, sheet: Picture, frame: np.ndarray, index: int, *, cell: int) -> None:
        """Draw one frame in every panel, with its time and its mean relevance below."""
        from PIL import Image, ImageDraw

        draw = ImageDraw.Draw(sheet)
        small = _fitted_in(frame, self._layout.cell_width, self._layout.cell_height)
        for panel, values in enumerate(self._maps):
            left, top, right, bottom = self._layout.cell(panel, cell)
            picture = overlay_frame(
                small,
                values[index],
                scale=self._scale,
                smooth=self._heatmap.smooth,
                picture_box=self._heatmap.picture_box,
            )
            x = left + (right - left - small.shape[1]) // 2
            y = top + (bottom - top - small.shape[0]) // 2
            sheet.paste(Image.fromarray(picture), (x, y))
            label, mean = self._labels[index], times(values[index].mean())
            draw.text((left, bottom + 4), label, font=typeface(14, bold=True), fill=INK)
            if right - left > 110:
                draw.text((right, bottom + 4), mean, font=typeface(14), fill=FAINT, anchor="ra")

    def mark(self, page: Picture, index: int) -> None:
        """Point at a frame in the time lines."""
        from PIL import ImageDraw

        if not self._layout.has_timeline:
            return
        for panel, timeline in enumerate(self._timelines):
            mark_frame(ImageDraw.Draw(page), self._layout.timeline(panel), timeline, index)


def _completed(layout: Layout, heatmap: Heatmap) -> Layout:
    """Make room for the questions, and none for the time line of a single picture."""
    lines = [_title_lines(one.text, layout.panel_width) for one in heatmap.relevances]
    return dataclasses.replace(
        layout, title_lines=max(map(len, lines)), has_timeline=heatmap.frame_count > 1
    )


def _title_lines(question: str, width_pixels: int) -> list[str]:
    return broken(f"“{question}”", _title_font(), width_pixels, max_lines=_MOST_TITLE_LINES)


def _title_font() -> FreeTypeFont:
    return typeface(23, bold=True)


def _aspect(source: ClipSource) -> float:
    return source.width / source.height


def _frame_labels(seconds: np.ndarray, span_seconds: tuple[float, float] | None) -> list[str]:
    if span_seconds is None:
        return [f"picture {number}" for number in range(1, len(seconds) + 1)]
    gaps = np.diff(np.unique(seconds))
    decimals = decimals_for(min(float(gaps.min()), 0.9)) if len(gaps) else 1
    return [clock(float(time), decimals=decimals) for time in seconds]


def _counted(heatmap: Heatmap, frames: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Number the frames, and see to it that they are as many as the relevance has."""
    count = 0
    for index, frame in enumerate(frames):
        count = index + 1
        if count > heatmap.frame_count:
            break
        yield index, frame
    if count != heatmap.frame_count:
        raise ShapeError(f"relevance over {heatmap.frame_count} frames needs as many pictures")


def _fitted_in(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize a frame to the largest size that fits, keeping its shape."""
    from PIL import Image

    factor = min(width / frame.shape[1], height / frame.shape[0])
    size = (_snapped(frame.shape[1] * factor, width), _snapped(frame.shape[0] * factor, height))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))


def _snapped(length: float, available: int) -> int:
    """Round a length in pixels, to all that is available where only a sliver would be left."""
    return available if length > available - 1.5 else max(1, round(length))
