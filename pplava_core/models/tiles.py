"""A large picture as tiles of the size that a vision tower reads, and their tokens in a row again.

The cutting is transformers' own image processors', left at 8-bit numbers: each tower applies its
mean and deviation itself. Putting tokens back is LLaVA-NeXT's: the whole picture first, then the
tiles' rows as in the picture, without what is padding, each row ended by a token of its own. It
works on any grid, pooled or not. Knows no model and no features, and does not pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pplava_core.errors import ModelError, ShapeError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Pinpoints = Sequence[Sequence[int]]
"Sizes ``(height, width)`` in pixels that a picture may be brought to before it is cut."


def cut_llava_next(
    picture: np.ndarray, pinpoints: Pinpoints, size: int, *, short_padding: bool = False
) -> np.ndarray:
    """Cut a picture as LLaVA-NeXT does.

    The best of the sizes is the one that keeps most of the picture's pixels and wastes fewest;
    the picture is brought into it with its aspect kept, on black, and cut.

    Args:
        picture: ``(H, W, 3)`` uint8.
        pinpoints: sizes to choose from, each a multiple of ``size`` (a config's
            ``image_grid_pinpoints``).
        size: pixels of a tile's side.
        short_padding: where the padding is an odd number of pixels, leave one out, as
            transformers up to 4.45 did, which the authors used: the last tiles come out a pixel
            short, are enlarged and cropped to a square again. Otherwise as transformers does
            now, and LLaVA's own code always did.

    Returns:
        ``(N, size, size, 3)`` uint8: first the whole picture, squashed into one tile, then the
        tiles, row after row.

    Raises:
        ShapeError: the picture is not one.
        ModelError: the sizes cannot be cut into whole tiles.
    """
    return _cut(picture, pinpoints, size, {"shortest_edge": size}, short_padding)


def cut_llava_onevision(
    picture: np.ndarray, pinpoints: Pinpoints, size: int, *, short_padding: bool = False
) -> np.ndarray:
    """Cut a picture as LLaVA-OneVision does: as LLaVA-NeXT, but short tiles are stretched.

    See `cut_llava_next` for what goes in, comes out and is raised; the two differ where
    ``short_padding`` leaves tiles that are no squares, and nowhere else.
    """
    return _cut(picture, pinpoints, size, {"height": size, "width": size}, short_padding)


def _cut(
    picture: np.ndarray,
    pinpoints: Pinpoints,
    size: int,
    processor_size: dict[str, int],
    short_padding: bool,
) -> np.ndarray:
    from transformers.models.llava_next.image_processing_pil_llava_next import (
        LlavaNextImageProcessorPil,
    )

    class ShortPadding(LlavaNextImageProcessorPil):
        def _get_padding_size(self, *sizes: tuple[int, int]) -> tuple[tuple[int, int], ...]:
            (top, _), (left, _) = super()._get_padding_size(*sizes)
            return (top, top), (left, left)

    _check_picture(picture)
    processor = (ShortPadding if short_padding else LlavaNextImageProcessorPil)(
        do_rescale=False,
        do_normalize=False,
        do_pad=False,
        size=processor_size,
        crop_size={"height": size, "width": size},
        image_grid_pinpoints=_checked(pinpoints, size),
    )
    return _channels_last(processor(picture, input_data_format="channels_last")["pixel_values"][0])


def cut_internvl(
    picture: np.ndarray, size: int, *, min_tiles: int = 1, max_tiles: int = 12
) -> np.ndarray:
    """Cut a picture as InternVL does: into the grid whose aspect is closest, squashed to fit it.

    Args:
        picture: ``(H, W, 3)`` uint8.
        size: pixels of a tile's side.
        min_tiles: fewest tiles of the grid.
        max_tiles: most tiles of the grid; with 1 the picture stays whole.

    Returns:
        ``(N, size, size, 3)`` uint8: the tiles, row after row, and last, if there are several,
        the whole picture in one.

    Raises:
        ShapeError: the picture is not one, or there is no grid of so many tiles.
    """
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    _check_picture(picture)
    if not 1 <= min_tiles <= max_tiles:
        raise ShapeError(
            f"no grid has {min_tiles} to {max_tiles} tiles; give 1 or more, the smaller first"
        )
    processor = GotOcr2ImageProcessorPil(
        do_rescale=False,
        do_normalize=False,
        crop_to_patches=True,
        min_patches=min_tiles,
        max_patches=max_tiles,
        size={"height": size, "width": size},
    )
    return _channels_last(processor(picture, input_data_format="channels_last")["pixel_values"])


def arrange(
    tokens: Tensor,
    *,
    picture_size: tuple[int, int],
    pinpoints: Pinpoints,
    size: int,
    newline: Tensor | None,
    max_tiles: int | None = None,
) -> Tensor:
    """Put the tokens of a picture's tiles in a row, as LLaVA-NeXT does.

    Args:
        tokens: ``(1, N, H', W', D)`` of the tiles of the functions above, pooled or not.
        picture_size: height and width in pixels of the picture that was cut.
        pinpoints: the sizes it was cut with.
        size: pixels of a tile's side.
        newline: ``(D,)``, the token at the end of each row; None where a model has none.
        max_tiles: LLaVA-OneVision's limit: more tokens than so many tiles have are brought
            down by interpolation. None leaves them.

    Returns:
        ``(1, L, D)``: the whole picture's tokens, then the tiles' rows without padding.

    Raises:
        ShapeError: there are not as many tiles as such a picture is cut into.
    """
    import torch
    from transformers.models.llava_next.modeling_llava_next import (
        get_anyres_image_grid_shape,
        unpad_image,
    )

    if tokens.ndim != 5 or len(tokens) != 1 or tokens.shape[1] < 1:
        raise ShapeError(f"tokens of {tuple(tokens.shape)} are not one picture's (1, N, H, W, D)")
    whole = tokens[0, 0].flatten(0, 1)
    if tokens.shape[1] == 1:
        ends = whole[:0] if newline is None else newline.to(whole)[None]
        return torch.cat([whole, ends])[None]
    sizes = _checked(pinpoints, size)
    rows, columns = get_anyres_image_grid_shape(picture_size, sizes, size)  # type: ignore[no-untyped-call]
    if tokens.shape[1] != 1 + rows * columns:
        raise ShapeError(
            f"a picture of {picture_size[0]}x{picture_size[1]} pixels is cut into "
            f"{1 + rows * columns} tiles, not {tokens.shape[1]}"
        )
    canvas = tokens[0, 1:].reshape(rows, columns, *tokens.shape[2:]).permute(4, 0, 2, 1, 3)
    canvas = canvas.flatten(1, 2).flatten(2, 3)
    canvas = unpad_image(canvas, picture_size)  # type: ignore[no-untyped-call]
    if max_tiles is not None:
        canvas = _shrunk(canvas, max_tiles * tokens.shape[2] ** 2)
    if newline is not None:
        ends = newline.to(canvas)[:, None, None].expand(-1, canvas.shape[1], 1)
        canvas = torch.cat([canvas, ends], dim=2)
    return torch.cat([whole, canvas.flatten(1, 2).T])[None]


def _shrunk(canvas: Tensor, most: int) -> Tensor:
    """Bring ``(D, H, W)`` down to about ``most`` tokens where it has over a fifth more."""
    from torch.nn import functional as F

    _, height, width = canvas.shape
    ratio = (height * width / most) ** 0.5
    if ratio <= 1.1:
        return canvas
    target = [int(height // ratio), int(width // ratio)]
    return F.interpolate(canvas[None], target, mode="bilinear")[0]


def _checked(pinpoints: Pinpoints, size: int) -> list[list[int]]:
    """Return the sizes as transformers takes them, once each is whole tiles."""
    sizes = [list(map(int, pair)) for pair in pinpoints]
    if not sizes or any(len(pair) != 2 or min(pair) < 1 for pair in sizes):
        raise ModelError("image_grid_pinpoints must be pairs of height and width in pixels")
    for height, width in sizes:
        if height % size or width % size:
            raise ModelError(
                f"image_grid_pinpoints: {height}x{width} cannot be cut into tiles of {size} pixels"
            )
    return sizes


def _check_picture(picture: np.ndarray) -> None:
    shape = picture.shape
    if picture.dtype.name != "uint8" or len(shape) != 3 or shape[2] != 3 or not min(shape):
        raise ShapeError(f"a picture of {shape} {picture.dtype} is not (H, W, 3) uint8")


def _channels_last(tiles: object) -> np.ndarray:
    import numpy as np

    return np.ascontiguousarray(np.stack(list(tiles)).transpose(0, 2, 3, 1))  # type: ignore[call-overload]
