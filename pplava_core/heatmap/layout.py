"""Where everything on a sheet goes: arithmetic on pixels, nothing is drawn here.

A sheet has one panel for each question, side by side. A panel has its title, a grid of
cells with a label line under each, and a time line; a caption stands above the panels and
the legend below them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pplava_core.errors import UsageError

Rectangle = tuple[int, int, int, int]
"``(left, top, right, bottom)`` in pixels, right and bottom excluded."

MARGIN = 36
TITLE_LINE = 32
LABEL = 24
TIMELINE = 124
LEGEND = 62
_CAPTION = 34
_CELL_GAP = 12
_PANEL_GAP = 44
_BLOCK_GAP = 16
_LEAST_PANEL_WIDTH = 460
_SHEET_WIDTH, _SHEET_SHAPE = 1480, 1.4
_CELL_WIDTHS = (96, 960)
_LARGEST_CELL_HEIGHT = 720


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The geometry of one sheet."""

    panel_count: int
    cell_count: int
    "In each panel."
    columns: int
    "Of cells in each panel."
    cell_width: int
    cell_height: int
    title_lines: int = 1
    has_timeline: bool = True
    "A single picture has no time to show."

    @property
    def rows(self) -> int:
        """How many rows of cells a panel has."""
        return math.ceil(self.cell_count / self.columns)

    @property
    def panel_width(self) -> int:
        """The width of a panel, which its cells may not fill."""
        return max(_LEAST_PANEL_WIDTH, self._grid_width)

    @property
    def size(self) -> tuple[int, int]:
        """The sheet's width and height; both even, as films must be."""
        panels = self.panel_count * self.panel_width + (self.panel_count - 1) * _PANEL_GAP
        width = 2 * MARGIN + panels
        height = self.legend[3] + MARGIN
        return width + width % 2, height + height % 2

    @property
    def caption(self) -> Rectangle:
        """The line above everything."""
        return MARGIN, MARGIN, self._right, MARGIN + _CAPTION

    @property
    def legend(self) -> Rectangle:
        """The strip below everything."""
        top = self.timeline(0)[3] + _BLOCK_GAP
        return MARGIN, top, self._right, top + LEGEND

    def title(self, panel: int) -> Rectangle:
        """The lines of a panel's question."""
        left = self._panel_left(panel)
        top = self.caption[3]
        bottom = top + self.title_lines * TITLE_LINE + _BLOCK_GAP
        return left, top, left + self.panel_width, bottom

    def cell(self, panel: int, index: int) -> Rectangle:
        """The picture of one frame; its label is the `LABEL` pixels below."""
        row, column = divmod(index, self.columns)
        spare = self.panel_width - self._grid_width
        left = self._panel_left(panel) + spare // 2 + column * (self.cell_width + _CELL_GAP)
        top = self.title(0)[3] + row * (self.cell_height + LABEL + _CELL_GAP)
        return left, top, left + self.cell_width, top + self.cell_height

    def timeline(self, panel: int) -> Rectangle:
        """The strip of relevance over time, of no height where there is none."""
        left = self._panel_left(panel)
        top = self.cell(0, self.cell_count - 1)[3] + LABEL + _BLOCK_GAP
        height = TIMELINE if self.has_timeline else 0
        return left, top, left + self.panel_width, top + height

    @property
    def _right(self) -> int:
        return self._panel_left(self.panel_count - 1) + self.panel_width

    @property
    def _grid_width(self) -> int:
        return self.columns * (self.cell_width + _CELL_GAP) - _CELL_GAP

    def _panel_left(self, panel: int) -> int:
        return MARGIN + panel * (self.panel_width + _PANEL_GAP)


def sheet_layout(panel_count: int, cell_count: int, *, aspect: float) -> Layout:
    """Lay all frames out so that the sheet comes close to the shape of a screen.

    Args:
        panel_count: one for each question.
        cell_count: the frames of the clip.
        aspect: width of a picture divided by its height.

    Raises:
        UsageError: there is nothing to lay out.
    """
    if panel_count < 1 or cell_count < 1:
        raise UsageError(f"{panel_count} questions about {cell_count} frames make no sheet")
    layouts = [
        _with_columns(columns, panel_count, cell_count, aspect)
        for columns in range(1, cell_count + 1)
    ]
    return min(layouts, key=_unlikeness_to_screen)


def page_layout(panel_count: int, *, aspect: float, cell_width: int) -> Layout:
    """Lay one frame out, large: as wide as asked, unless that would make it too high."""
    return _layout(panel_count, 1, columns=1, cell_width=cell_width, aspect=aspect)


def _with_columns(columns: int, panel_count: int, cell_count: int, aspect: float) -> Layout:
    spare = (_SHEET_WIDTH - (panel_count - 1) * _PANEL_GAP) / panel_count
    smallest, largest = _CELL_WIDTHS
    cell_width = max(smallest, min(spare / columns - _CELL_GAP, largest))
    return _layout(panel_count, cell_count, columns=columns, cell_width=cell_width, aspect=aspect)


def _layout(
    panel_count: int, cell_count: int, *, columns: int, cell_width: float, aspect: float
) -> Layout:
    width = max(1, round(min(cell_width, _LARGEST_CELL_HEIGHT * aspect)))
    return Layout(
        panel_count=panel_count,
        cell_count=cell_count,
        columns=columns,
        cell_width=width,
        cell_height=max(1, round(width / aspect)),
    )


def _unlikeness_to_screen(layout: Layout) -> float:
    """Grow with the distance from a screen's shape and with the part of cells left empty."""
    width, height = layout.size
    empty = layout.rows * layout.columns - layout.cell_count
    return abs(math.log(width / height / _SHEET_SHAPE)) + 2.5 * empty / layout.cell_count
