"""Scenes become pixels: anti-aliased shapes on textured, cluttered backgrounds.

The camera may tremble or pan and the light may fall and rise; what is drawn on a shape is
in `marks`. Only additions, multiplications and comparisons reach a pixel, so the same scene gives
the same bytes anywhere. Knows no codec and no question.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from pplava_core.shapes.marks import mark_sprite, supersampled
from pplava_core.shapes.scene import Scene

_LIGHT_SHADE = 330
"Sum of red, green and blue from which on marks are dark."
_STAR = (
    (0.0, -1.0), (0.235, -0.324), (0.951, -0.309), (0.38, 0.124), (0.588, 0.809),
    (0.0, 0.4), (-0.588, 0.809), (-0.38, 0.124), (-0.951, -0.309), (-0.235, -0.324),
)  # fmt: skip
_TRIANGLE = ((0.0, -0.95), (0.95, 0.8), (-0.95, 0.8))


def render(
    scene: Scene, moments: Sequence[float], *, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Film a scene at the given moments.

    Args:
        scene: what to film; its aspect ratio is squeezed into the given size.
        moments: fractions of the film, each 0 to 1.
        height: pixels.
        width: pixels.

    Returns:
        Frames ``(T, H, W, 3)`` uint8, and for every pixel the number of the thing seen
        there ``(T, H, W)`` int8, -1 for the background.
    """
    rng = np.random.default_rng(scene.backdrop_seed)
    sweep = scene.shake + max(map(abs, scene.pan)) / 2
    margin_y, margin_x = int(sweep * height) + bool(sweep), int(sweep * width) + bool(sweep)
    backdrop = _backdrop(rng, scene.clutter, height + 2 * margin_y, width + 2 * margin_x)
    grain = rng.integers(-9, 10, (4, height, width, 1), dtype=np.int16)
    frames = np.empty((len(moments), height, width, 3), np.uint8)
    owners = np.full((len(moments), height, width), -1, np.int8)
    for index, moment in enumerate(moments):
        across, down = scene.camera(moment)
        top, left = margin_y - round(down * height), margin_x - round(across * width)
        canvas = backdrop[top : top + height, left : left + width].copy()
        for number, thing in enumerate(scene.things):
            if thing.visible(moment):
                _paint(canvas, owners[index], scene, number, moment)
        if scene.flicker:
            canvas = canvas * round(scene.light(moment) * 256) // 256
        canvas += grain[index % len(grain)]
        frames[index] = np.clip(canvas, 0, 255)
    return frames, owners


def patch_coverage(owners: np.ndarray, thing_count: int, grid: tuple[int, int]) -> np.ndarray:
    """Return how much of every patch each thing covers, ``(things, T, H', W')`` from 0 to 1.

    Args:
        owners: ``(T, H, W)`` as `render` returns it.
        thing_count: number of things in the scene.
        grid: rows and columns of patches; rows and columns of pixels may not divide evenly.
    """
    rows = np.arange(grid[0]) * owners.shape[1] // grid[0]
    columns = np.arange(grid[1]) * owners.shape[2] // grid[1]
    hits = owners[None] == np.arange(thing_count, dtype=np.int8)[:, None, None, None]
    sums = np.add.reduceat(np.add.reduceat(hits, rows, axis=2, dtype=np.int32), columns, axis=3)
    sizes = np.diff([*rows, owners.shape[1]])[:, None] * np.diff([*columns, owners.shape[2]])
    shares: np.ndarray = (sums / sizes).astype(np.float32)
    return shares


def _paint(canvas: np.ndarray, owner: np.ndarray, scene: Scene, number: int, moment: float) -> None:
    height, width = owner.shape
    thing = scene.things[number]
    radius_y = max(round(thing.radius * height * min(1.0, scene.aspect)), 2)
    radius_x = max(round(thing.radius * width * min(1.0, 1.0 / scene.aspect)), 2)
    alpha = _sprite(thing.kind, radius_y, radius_x)
    x, y = scene.place(thing, moment)
    top, left = round(y * height) - alpha.shape[0] // 2, round(x * width) - alpha.shape[1] // 2
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + alpha.shape[0], height), min(left + alpha.shape[1], width)
    if y0 >= y1 or x0 >= x1:
        return
    part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    region = canvas[y0:y1, x0:x1]
    region += (np.array(thing.shade, np.int32) - region) * alpha[part][..., None] // 256
    if thing.mark:
        ink = 15 if sum(thing.shade) > _LIGHT_SHADE else 245
        drawn = mark_sprite(thing.mark, radius_y, radius_x)[part]
        region += (ink - region) * drawn[..., None] // 256
    owner[y0:y1, x0:x1][alpha[part] >= 128] = number


@lru_cache(maxsize=4096)
def _sprite(kind: str, radius_y: int, radius_x: int) -> np.ndarray:
    """Return the coverage of a shape, ``(2 ry + 1, 2 rx + 1)`` int32 from 0 to 256."""
    return supersampled(lambda x, y: _inside(kind, x, y), radius_y, radius_x)


def _inside(kind: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    inside: np.ndarray
    if kind == "circle":
        inside = x * x + y * y <= 1.0
    elif kind == "ring":
        squared = x * x + y * y
        inside = (squared <= 1.0) & (squared >= 0.3)
    elif kind == "square":
        inside = (np.abs(x) <= 0.84) & (np.abs(y) <= 0.84)
    elif kind == "cross":
        thin_x, thin_y = np.abs(x) <= 0.3, np.abs(y) <= 0.3
        inside = (thin_x & (np.abs(y) <= 1.0)) | (thin_y & (np.abs(x) <= 1.0))
    else:
        inside = _inside_polygon(_STAR if kind == "star" else _TRIANGLE, x, y)
    return inside


def _inside_polygon(
    corners: tuple[tuple[float, float], ...], x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), bool)
    for (x0, y0), (x1, y1) in zip(corners, (*corners[1:], corners[0]), strict=True):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


def _backdrop(rng: np.random.Generator, clutter: float, height: int, width: int) -> np.ndarray:
    """Return a muted background, ``(H, W, 3)`` int32: gradient, soft texture, grey scribbles."""
    base = rng.integers(35, 165) + rng.integers(-12, 13, 3)
    slope = rng.integers(-30, 31, 2)
    ramp_y = (np.arange(height, dtype=np.int32) * slope[0] // height)[:, None, None]
    ramp_x = (np.arange(width, dtype=np.int32) * slope[1] // width)[None, :, None]
    picture: np.ndarray = base.astype(np.int32) + ramp_y + ramp_x
    cells = int(rng.integers(3, 14))
    swing = int(4 + 30 * clutter)
    coarse = rng.integers(-swing, swing + 1, (cells, cells)).astype(np.int16) + 128
    texture = Image.fromarray(coarse.astype(np.uint8)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    picture += np.asarray(texture, np.int32)[..., None] - 128
    picture += _scribbles(rng, clutter, height, width)
    return picture


def _scribbles(rng: np.random.Generator, clutter: float, height: int, width: int) -> np.ndarray:
    sheet = Image.new("L", (width, height), 128)
    pen = ImageDraw.Draw(sheet)
    for _ in range(int(rng.integers(0, 1 + int(12 * clutter)))):
        points = rng.random((int(rng.integers(2, 5)), 2))
        line = [(int(px * width), int(py * height)) for px, py in points]
        thickness = max(1, min(height, width) // 96)
        pen.line(line, fill=int(128 + rng.integers(-55, 56)), width=thickness)
    shades: np.ndarray = np.asarray(sheet, np.int32)[..., None] - 128
    return shades
