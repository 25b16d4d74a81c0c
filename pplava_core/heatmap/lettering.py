"""Words on pictures: one typeface, shortened or broken to fit, and how times are written.

The typeface is the DejaVu Sans that comes with matplotlib, not Pillow's own, which has
neither a multiplication sign nor letters beyond plain Latin ones. Knows nothing of videos.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont


@functools.cache
def typeface(size_pixels: int, *, bold: bool = False) -> FreeTypeFont:
    """Give the one typeface in a size."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(path, size_pixels, layout_engine=ImageFont.Layout.BASIC)


def fitted(text: str, font: FreeTypeFont, width_pixels: float) -> str:
    """Shorten a text, with an ellipsis, until it is no wider than asked."""
    if font.getlength(text) <= width_pixels:
        return text
    while text and font.getlength(text + "…") > width_pixels:
        text = text[:-1]
    return text.rstrip() + "…"


def broken(text: str, font: FreeTypeFont, width_pixels: float, *, max_lines: int) -> list[str]:
    """Break a text between words into lines no wider than asked, and shorten the last one."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < max_lines - 1:
        count = 1
        while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= width_pixels:
            count += 1
        lines.append(" ".join(words[:count]))
        words = words[count:]
    if words:
        lines.append(" ".join(words))
    return [fitted(line, font, width_pixels) for line in lines]


def clock(seconds: float, *, decimals: int = 0) -> str:
    """Write a time as ``m:ss``, ``m:ss.s`` or ``h:mm:ss``, as the command line reads it."""
    ticks = round(abs(seconds) * 10**decimals)
    whole, rest = divmod(ticks, 10**decimals)
    minutes, whole_seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if seconds < 0 and ticks else ""
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    end = f".{rest:0{decimals}d}" if decimals else ""
    return f"{sign}{start}:{whole_seconds:02d}{end}"


def times(multiple: float) -> str:
    """Write a multiple of the average with two or three digits: ``×0.25``, ``×3.1``, ``×17``."""
    decimals = 2 if multiple < 0.995 else 1 if multiple < 9.95 else 0
    return f"×{multiple:.{decimals}f}"


def decimals_for(step_seconds: float) -> int:
    """Give how many decimals tell apart times that lie so far from each other."""
    if step_seconds >= 1:
        return 0 if step_seconds == int(step_seconds) else 1
    return 1 if step_seconds >= 0.2 else 2
