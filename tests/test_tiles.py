import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pplava_core.errors import ModelError, ShapeError
from pplava_core.models.tiles import (
    arrange,
    cut_internvl,
    cut_llava_next,
    cut_llava_onevision,
)

GOLDEN = np.load(Path(__file__).parent / "data" / "tiles.npz")
PINPOINTS = [[20, 40], [40, 20], [40, 40], [60, 20], [20, 60]]
SHAPES = [(20, 20), (33, 50), (50, 33), (7, 90), (90, 7), (41, 40), (1, 1), (61, 60), (25, 64)]


def picture(height, width):
    return np.random.default_rng(height * 100 + width).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )


def resized(pixels, height, width):
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def best_size(height, width, pinpoints):
    """The size that keeps most pixels, then wastes fewest, the first of equals."""

    def worth(size):
        scale = min(size[1] / width, size[0] / height)
        kept = min(int(width * scale) * int(height * scale), height * width)
        return kept, kept - size[0] * size[1]

    return max(pinpoints, key=worth)


def slow_cut(pixels, pinpoints, size):
    height, width = pixels.shape[:2]
    tall, wide = best_size(height, width, pinpoints)
    scale = min(wide / width, tall / height)
    inner = resized(
        pixels, min(tall, math.ceil(height * scale)), min(wide, math.ceil(width * scale))
    )
    canvas = np.zeros((tall, wide, 3), dtype=np.uint8)
    top, left = (tall - inner.shape[0]) // 2, (wide - inner.shape[1]) // 2
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    tiles = [resized(pixels, size, size)]
    for row in range(0, tall, size):
        for column in range(0, wide, size):
            tiles.append(canvas[row : row + size, column : column + size])
    return np.stack(tiles)


@pytest.mark.parametrize("shape", SHAPES)
def test_cutting_equals_pasting_on_black_and_slicing(shape):
    pixels = picture(*shape)
    tiles = cut_llava_next(pixels, PINPOINTS, 20)
    assert tiles.dtype == np.uint8
    assert np.array_equal(tiles, slow_cut(pixels, PINPOINTS, 20))


@pytest.mark.parametrize("shape", SHAPES)
def test_llava_onevision_cuts_no_other_way(shape):
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
        LlavaOnevisionImageProcessorPil,
    )

    processor = LlavaOnevisionImageProcessorPil(
        do_rescale=False, do_normalize=False, do_pad=False, image_grid_pinpoints=PINPOINTS,
        size={"height": 20, "width": 20},
    )  # fmt: skip
    pixels = picture(*shape)
    theirs = processor(pixels, input_data_format="channels_last")["pixel_values"][0]
    ours = cut_llava_onevision(pixels, PINPOINTS, 20)
    assert np.array_equal(ours, np.stack(theirs).transpose(0, 2, 3, 1))
    assert np.array_equal(ours, cut_llava_next(pixels, PINPOINTS, 20))


def test_the_authors_tiles_of_a_picture_with_odd_padding():
    pixels, expected = GOLDEN["clip.picture"], GOLDEN["clip.tiles"]
    pinpoints = GOLDEN["clip.pinpoints"]
    tiles = cut_llava_next(pixels, pinpoints, 84, short_padding=True)
    assert np.array_equal(tiles, expected)
    # what transformers does now differs in the last row of tiles only
    now = cut_llava_next(pixels, pinpoints, 84)
    assert np.array_equal(now[:3], expected[:3])
    assert not np.array_equal(now[3:], expected[3:])
    stretched = cut_llava_onevision(pixels, pinpoints, 84, short_padding=True)
    assert stretched.shape == expected.shape
    assert not np.array_equal(stretched[3:], expected[3:])


@pytest.mark.parametrize("cut", [cut_llava_next, cut_llava_onevision])
@pytest.mark.parametrize("short_padding", [False, True])
def test_even_padding_is_the_same_then_and_now(cut, short_padding):
    pinpoints = [[56, 112], [112, 56], [112, 112], [168, 56], [56, 168]]
    pixels, expected = GOLDEN["processor.picture"], GOLDEN["processor.tiles"]
    tiles = cut(pixels, pinpoints, 56, short_padding=short_padding)
    assert np.array_equal(tiles, expected)


def slow_internvl(pixels, size, fewest, most):
    height, width = pixels.shape[:2]
    grids = sorted(
        ((c, r) for c in range(1, most + 1) for r in range(1, most + 1) if fewest <= c * r <= most),
        key=lambda grid: grid[0] * grid[1],
    )
    best, least = (1, 1), math.inf
    for columns, rows in grids:
        difference = abs(width / height - columns / rows)
        large_enough = width * height > 0.5 * size * size * columns * rows
        if difference < least or (difference == least and large_enough):
            best, least = (columns, rows), difference
    columns, rows = best
    canvas = resized(pixels, rows * size, columns * size)
    tiles = [
        canvas[r * size : (r + 1) * size, c * size : (c + 1) * size]
        for r in range(rows)
        for c in range(columns)
    ]
    return np.stack(tiles + ([resized(pixels, size, size)] if len(tiles) > 1 else []))


@pytest.mark.parametrize("limits", [(1, 12), (1, 1), (2, 6), (4, 4)])
@pytest.mark.parametrize("shape", SHAPES)
def test_internvl_cuts_the_closest_grid_and_ends_with_the_whole(shape, limits):
    pixels = picture(*shape)
    tiles = cut_internvl(pixels, 20, min_tiles=limits[0], max_tiles=limits[1])
    assert tiles.dtype == np.uint8
    assert np.array_equal(tiles, slow_internvl(pixels, 20, *limits))


def slow_row(tokens, height, width, newline):
    """The tokens one by one: the whole, then every row of the canvas that shows the picture."""
    count, tall, wide = tokens.shape[1:4]
    out = [tokens[0, 0, row, column] for row in range(tall) for column in range(wide)]
    if count == 1:
        return torch.stack(out + ([] if newline is None else [newline]))
    size = best_size(height, width, PINPOINTS)
    rows, columns = size[0] // 20 * tall, size[1] // 20 * wide
    top = left = 0
    if width / height > columns / rows:
        top = (rows - int(round(height * (columns / width), 7))) // 2
    else:
        left = (columns - int(round(width * (rows / height), 7))) // 2
    for row in range(top, rows - top):
        for column in range(left, columns - left):
            tile = 1 + (row // tall) * (columns // wide) + column // wide
            out.append(tokens[0, tile, row % tall, column % wide])
        if newline is not None:
            out.append(newline)
    return torch.stack(out)


@pytest.mark.parametrize("grid", [(3, 3), (2, 5), (1, 1)])
@pytest.mark.parametrize("with_newline", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_tokens_come_back_row_by_row(shape, with_newline, grid):
    torch.manual_seed(0)
    count = len(slow_cut(picture(*shape), PINPOINTS, 20))
    tokens, newline = torch.randn(1, count, *grid, 4), torch.randn(4) if with_newline else None
    row = arrange(tokens, picture_size=shape, pinpoints=PINPOINTS, size=20, newline=newline)
    assert torch.equal(row[0], slow_row(tokens, *shape, newline))


def test_a_single_tile_ends_with_the_newline_too():
    tokens, newline = torch.randn(1, 1, 2, 3, 4), torch.randn(4)
    options = {"picture_size": (20, 20), "pinpoints": PINPOINTS, "size": 20}
    row = arrange(tokens, newline=newline, **options)
    assert torch.equal(row[0], torch.cat([tokens.view(6, 4), newline[None]]))
    assert arrange(tokens, newline=None, **options).shape == (1, 6, 4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("max_tiles", [None, 1, 9])
def test_unpooled_tokens_lie_as_transformers_lays_them(shape, max_tiles):
    if max_tiles is None:
        from transformers.models.llava_next.modeling_llava_next import LlavaNextModel as Model

        options = {"vision_feature_select_strategy": "default"}
    else:
        from transformers.models.llava_onevision.modeling_llava_onevision import (
            LlavaOnevisionModel as Model,
        )

        options = {"vision_aspect_ratio": f"anyres_max_{max_tiles}"}
    vision = SimpleNamespace(image_size=20, patch_size=4)
    config = SimpleNamespace(vision_config=vision, image_grid_pinpoints=PINPOINTS)
    tokens = torch.randn(1, len(slow_cut(picture(*shape), PINPOINTS, 20)), 5, 5, 3)
    newline = torch.randn(3)
    theirs, _ = Model.pack_image_features(
        SimpleNamespace(config=config), [tokens[0].flatten(1, 2)], [shape],
        image_newline=newline, **options,
    )  # fmt: skip
    ours = arrange(
        tokens, picture_size=shape, pinpoints=PINPOINTS, size=20, newline=newline,
        max_tiles=max_tiles,
    )  # fmt: skip
    assert torch.equal(ours[0], theirs[0])


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
    ids=lambda pixels: f"{pixels.shape} {pixels.dtype}",
)
def test_what_is_no_picture_is_refused(pixels):
    with pytest.raises(ShapeError, match=r"is not \(H, W, 3\) uint8"):
        cut_llava_next(pixels, PINPOINTS, 20)
    with pytest.raises(ShapeError, match=r"is not \(H, W, 3\) uint8"):
        cut_internvl(pixels, 20)


@pytest.mark.parametrize("pinpoints", [[], [[20]], [[0, 20]], [[20, 30]], [[20, 20, 20]]])
def test_sizes_that_are_not_whole_tiles_are_the_models_fault(pinpoints):
    with pytest.raises(ModelError, match="image_grid_pinpoints"):
        cut_llava_next(picture(9, 9), pinpoints, 20)


def test_tokens_of_another_picture_are_refused():
    options = {"pinpoints": PINPOINTS, "size": 20, "newline": None}
    with pytest.raises(ShapeError, match="30x60 pixels is cut into 3 tiles, not 4"):
        arrange(torch.zeros(1, 4, 2, 2, 3), picture_size=(30, 60), **options)
    with pytest.raises(ShapeError, match="one picture's"):
        arrange(torch.zeros(2, 4, 2, 2, 3), picture_size=(30, 60), **options)
    with pytest.raises(ShapeError, match="no grid has 3 to 2 tiles"):
        cut_internvl(picture(9, 9), 20, min_tiles=3, max_tiles=2)
