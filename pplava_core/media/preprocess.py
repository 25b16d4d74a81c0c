"""A picture of any size becomes the size that a vision tower reads.

Resizing only, on 8-bit RGB: numbers stay 0 to 255, and the tower's own mean and deviation
are applied later, by the model. Bicubic through Pillow, as the processors of the released
checkpoints do, so that the same picture gives the same numbers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pplava_core.types import PixelRule

if TYPE_CHECKING:
    import numpy as np


def resize_picture(picture: np.ndarray, pixels: PixelRule) -> np.ndarray:
    """Bring one picture to the size of a rule.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB.
        pixels: ``squash`` ignores the aspect ratio (the authors' way for CLIP towers); ``pad``
            keeps it and centres the picture on black; ``pad_short`` is the authors' way for
            SigLIP towers: as ``pad``, but where the padding is an odd number of pixels, one is
            left out and the whole is stretched by it.

    Returns:
        ``(pixels.height, pixels.width, 3)`` uint8. The same array when it fits already.
    """
    if pixels.resize == "squash":
        return _resize(picture, pixels.height, pixels.width)
    return _pad(picture, pixels.height, pixels.width, short=pixels.resize == "pad_short")


def _pad(picture: np.ndarray, height: int, width: int, *, short: bool) -> np.ndarray:
    import numpy as np

    scale = min(height / picture.shape[0], width / picture.shape[1])
    inner_height = min(height, math.ceil(picture.shape[0] * scale))
    inner_width = min(width, math.ceil(picture.shape[1] * scale))
    inner = _resize(picture, inner_height, inner_width)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    outer = (inner_height + 2 * top, inner_width + 2 * left) if short else (height, width)
    if inner.shape[:2] == outer:
        return _resize(inner, height, width)
    canvas = np.zeros((*outer, 3), dtype=np.uint8)
    canvas[top : top + inner_height, left : left + inner_width] = inner
    return _resize(canvas, height, width)


def _resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    if picture.shape[:2] == (height, width):
        return picture
    import numpy as np
    from PIL import Image

    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized)
