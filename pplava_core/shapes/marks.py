"""What is drawn on a shape: faces, digits and letters. Knows no scene and no colour.

Like every shape, a mark is a test of points, so that it is the same on any machine.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

_SUPERSAMPLING = 4
_GLYPH_HALF_HEIGHT, _GLYPH_HALF_WIDTH = 0.66, 0.5
# Five columns by seven rows, a row to a word.
_GLYPHS = {
    "1": "..#.. .##.. ..#.. ..#.. ..#.. ..#.. .###.",
    "2": ".###. #...# ....# ...#. ..#.. .#... #####",
    "3": ".###. #...# ....# ..##. ....# #...# .###.",
    "4": "...#. ..##. .#.#. #..#. ##### ...#. ...#.",
    "5": "##### #.... ####. ....# ....# #...# .###.",
    "6": ".###. #.... #.... ####. #...# #...# .###.",
    "7": "##### ....# ...#. ..#.. ..#.. .#... .#...",
    "8": ".###. #...# #...# .###. #...# #...# .###.",
    "9": ".###. #...# #...# .#### ....# ....# .###.",
    "A": "..#.. .#.#. #...# #...# ##### #...# #...#",
    "C": ".###. #...# #.... #.... #.... #...# .###.",
    "E": "##### #.... #.... ####. #.... #.... #####",
    "F": "##### #.... #.... ####. #.... #.... #....",
    "H": "#...# #...# #...# ##### #...# #...# #...#",
    "K": "#...# #..#. #.#.. ##... #.#.. #..#. #...#",
    "L": "#.... #.... #.... #.... #.... #.... #####",
    "P": "####. #...# #...# ####. #.... #.... #....",
    "T": "##### ..#.. ..#.. ..#.. ..#.. ..#.. ..#..",
    "X": "#...# #...# .#.#. ..#.. .#.#. #...# #...#",
}


@lru_cache(maxsize=4096)
def mark_sprite(mark: str, radius_y: int, radius_x: int) -> np.ndarray:
    """Return the coverage of a mark on a shape, ``(2 ry + 1, 2 rx + 1)`` int32 from 0 to 256.

    Raises:
        KeyError: nobody drew such a mark.
    """
    if mark in ("smile", "frown"):
        return supersampled(lambda x, y: _inside_face(mark, x, y), radius_y, radius_x)
    bitmap = np.array([[dot == "#" for dot in row] for row in _GLYPHS[mark].split()])
    return supersampled(lambda x, y: _inside_glyph(bitmap, x, y), radius_y, radius_x)


def supersampled(
    inside: Callable[[np.ndarray, np.ndarray], np.ndarray], radius_y: int, radius_x: int
) -> np.ndarray:
    """Return how much of every pixel lies inside a shape of radius 1, from 0 to 256.

    Args:
        inside: tells of points ``x (1, W)`` and ``y (H, 1)`` whether they are in it.
        radius_y: pixels.
        radius_x: pixels.
    """
    step_y, step_x = 2 * radius_y + 1, 2 * radius_x + 1
    y = (np.arange(step_y * _SUPERSAMPLING) + 0.5) / _SUPERSAMPLING - step_y / 2
    x = (np.arange(step_x * _SUPERSAMPLING) + 0.5) / _SUPERSAMPLING - step_x / 2
    points = inside((x / radius_x)[None, :], (y / radius_y)[:, None])
    cells = points.reshape(step_y, _SUPERSAMPLING, step_x, _SUPERSAMPLING)
    coverage: np.ndarray = cells.sum((1, 3), dtype=np.int32) * (256 // _SUPERSAMPLING**2)
    return coverage


def _inside_face(mark: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    beside = np.abs(x) - 0.34
    eyes = beside * beside + (y + 0.3) * (y + 0.3) <= 0.025
    bend = 1.3 * x * x
    middle = 0.5 - bend if mark == "smile" else 0.18 + bend
    mouth: np.ndarray = (np.abs(y - middle) <= 0.13) & (np.abs(x) <= 0.52)
    face: np.ndarray = eyes | mouth
    return face


def _inside_glyph(bitmap: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    rows, columns = bitmap.shape
    row = np.floor((y / _GLYPH_HALF_HEIGHT + 1) / 2 * rows).astype(int)
    column = np.floor((x / _GLYPH_HALF_WIDTH + 1) / 2 * columns).astype(int)
    within = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    drawn: np.ndarray = within & bitmap[row.clip(0, rows - 1), column.clip(0, columns - 1)]
    return drawn
