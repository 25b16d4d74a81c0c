"""The legend: what the colours of the overlays mean, with the scale's numbers.

Knows the scale and nothing of what was measured on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pplava_core.heatmap.layout import Rectangle
from pplava_core.heatmap.lettering import fitted, typeface
from pplava_core.heatmap.scale import HeatScale
from pplava_core.heatmap.timeline import FAINT, INK

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_MEASURE = "relevance of a patch; ×1 is the average over the whole clip"
_STRIP = ("bars: mean of each frame's patches", "brackets: share of the clip's relevance")
_BAR_WIDTH, _BAR_HEIGHT = 420, 14


def draw_legend(
    sheet: Picture, rectangle: Rectangle, scale: HeatScale, *, has_timeline: bool
) -> None:
    """Draw the bar of colours, its marks, and words on what is measured."""
    from PIL import Image, ImageDraw

    left, top, right, _ = rectangle
    draw = ImageDraw.Draw(sheet)
    font = typeface(13)
    draw.text((left, top), fitted(_MEASURE, font, right - left), font=font, fill=FAINT)
    bar_top = top + 22
    width = min(_BAR_WIDTH, right - left)
    row = scale.colours(np.linspace(0, 1, width))
    bar = Image.fromarray(np.broadcast_to(row, (_BAR_HEIGHT, width, 3)).copy())
    sheet.paste(bar, (left, bar_top))
    box = (left - 1, bar_top - 1, left + width, bar_top + _BAR_HEIGHT)
    draw.rectangle(box, outline=FAINT)
    for position, text in scale.ticks():
        x = left + position * (width - 1)
        draw.line((x, bar_top + _BAR_HEIGHT, x, bar_top + _BAR_HEIGHT + 4), fill=FAINT)
        half = font.getlength(text) / 2
        middle = min(max(x, left + half), left + width - half)
        draw.text((middle, bar_top + _BAR_HEIGHT + 6), text, font=font, fill=INK, anchor="ma")
    for line, text in enumerate(_STRIP if has_timeline else ()):
        if right - left - width > font.getlength(text) + 20:
            draw.text((right, bar_top + line * 19), text, font=font, fill=FAINT, anchor="ra")
