"""One picture with the relevance of its patches laid over it.

The picture loses half its colour, so that it is not mistaken for the map's, and turns darker
where the patches weigh little. Knows nothing of titles, files or films.
"""

from __future__ import annotations

import numpy as np

from pplava_core.errors import ShapeError
from pplava_core.evidence import WHOLE, Box
from pplava_core.heatmap.scale import HeatScale

_COVER_LOWEST, _COVER_HIGHEST = 0.36, 0.68
"How much of the map's colour is mixed in at either end of the scale; the rest is picture."

_COLOUR_KEPT = 0.5


def overlay_frame(
    picture: np.ndarray,
    multiples: np.ndarray,
    *,
    scale: HeatScale,
    smooth: bool = True,
    picture_box: Box = WHOLE,
) -> np.ndarray:
    """Lay a map of patches over the picture it is about.

    Args:
        picture: ``(height, width, 3)`` uint8 RGB, of any size.
        multiples: ``(H, W)`` relevance of its patches, in times the average.
        scale: gives the colours.
        smooth: let neighbouring patches run into each other; otherwise each keeps its borders.
        picture_box: where the picture lies in what the model saw, when that was padded.

    Returns:
        ``(height, width, 3)`` uint8.

    Raises:
        ShapeError: the picture or the map is not of these shapes.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or multiples.ndim != 2:
        raise ShapeError(
            f"a picture of shape {picture.shape} with a map of shape {multiples.shape}: "
            "expected (height, width, 3) and (H, W)"
        )
    positions = _stretched(
        scale.positions(multiples), picture.shape[:2], smooth=smooth, picture_box=picture_box
    )
    grey = (picture @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    paler = _COLOUR_KEPT * picture + (1 - _COLOUR_KEPT) * grey
    cover = (_COVER_LOWEST + (_COVER_HIGHEST - _COVER_LOWEST) * positions)[..., None]
    mixed = np.rint(cover * scale.colours(positions) + (1 - cover) * paler)
    overlaid: np.ndarray = mixed.clip(0, 255).astype(np.uint8)
    return overlaid


def _stretched(
    positions: np.ndarray, size: tuple[int, int], *, smooth: bool, picture_box: Box
) -> np.ndarray:
    """Enlarge the part of a map ``(H, W)`` that the picture covers to ``(height, width)``."""
    from PIL import Image

    height, width = positions.shape
    left, top, right, bottom = picture_box
    stretched = Image.fromarray(positions.astype(np.float32)).resize(
        (size[1], size[0]),
        Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST,
        box=(left * width, top * height, right * width, bottom * height),
    )
    return np.asarray(stretched).clip(0, 1)
