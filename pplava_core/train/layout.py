"""What heads must read off a patch, so that a tower tells things apart and can be counted on.

How much of things' middles lies in it, of all and of each colour and kind, and of the thing that
covers it the size and where its middle is. The heads are thrown away after alignment. Knows scenes
and coverage; no texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pplava_core.shapes.scene import COLOURS, KINDS, Scene

_TYPICAL_RADIUS = 0.09
_DENSITY_SHARE = 50.0
"A patch's share of a thing is small, and so is the square of what is missed of it."
_OWNED = 3
"What is told of the thing on a patch."
SIZE = _OWNED + 1 + len(COLOURS) + len(KINDS)
"Numbers of a layout at each patch."


def lay_out(scene: Scene, coverage: np.ndarray, moments: Sequence[float]) -> np.ndarray:
    """Return the layout of one clip, ``(T, H, W, SIZE)``.

    For the thing on a patch the logarithm of its size, and how far its middle is to the right
    and down, in patches. Then how many things there are, each shared out among the four patches
    around its middle, and how many of each colour and of each kind.

    Args:
        scene: what is there.
        coverage: ``(things, T, H, W)``: how much of every patch each thing covers.
        moments: of the frames, as fractions of the film.
    """
    _, frames, rows, columns = coverage.shape
    layout = np.zeros((frames, rows, columns, SIZE), np.float32)
    most = coverage.argmax(0)
    at_rows, at_columns = np.mgrid[:rows, :columns] + 0.5
    for frame, moment in enumerate(moments):
        places = np.array([scene.place(thing, moment) for thing in scene.things])
        across, down = places[:, 0] * columns, places[:, 1] * rows
        owner = most[frame]
        sizes = np.array([thing.radius for thing in scene.things])
        layout[frame, ..., 0] = np.log(sizes / _TYPICAL_RADIUS)[owner]
        layout[frame, ..., 1] = across[owner] - at_columns
        layout[frame, ..., 2] = down[owner] - at_rows
        densities = layout[frame, ..., _OWNED:]
        for number, thing in enumerate(scene.things):
            if thing.visible(moment):
                colour = 1 + list(COLOURS).index(thing.colour)
                kind = 1 + len(COLOURS) + KINDS.index(thing.kind)
                for channel in (0, colour, kind):
                    share_out(densities[..., channel], down[number], across[number])
    return layout


def counts_told(told: Tensor) -> Tensor:
    """Return how many things, and of each colour and kind, a frame has, ``(C, T, SIZE - 3)``.

    Args:
        told: the heads' ``(C, T, H, W, SIZE)``, or a layout.
    """
    return told[..., _OWNED:].sum((2, 3))


def share_out(density: np.ndarray, down: float, across: float) -> None:
    """Add 1 to a density ``(H, W)``, in shares, around a place in patches; nothing outside it.

    So that its sum is the number of things, as in counting by density maps, and no share jumps
    where a thing crosses from one patch into the next.
    """
    rows, columns = density.shape
    if not (0 <= down < rows and 0 <= across < columns):
        return
    row, column = int(np.floor(down - 0.5)), int(np.floor(across - 0.5))
    lower, right = down - 0.5 - row, across - 0.5 - column
    for step_down, share_down in ((0, 1 - lower), (1, lower)):
        for step_across, share_across in ((0, 1 - right), (1, right)):
            at = (
                min(max(row + step_down, 0), rows - 1),
                min(max(column + step_across, 0), columns - 1),
            )
            density[at] += share_down * share_across


def layout_loss(guessed: Tensor, layout: Tensor, labels: Tensor) -> Tensor:
    """Return how far the heads' ``(C, T, H, W, SIZE)`` are from the layout, on average.

    All things, their colours and their kinds count alike.
    """
    sizes = [_OWNED, 1, len(COLOURS), len(KINDS)]
    told, *densities = torch.split(guessed, sizes, dim=-1)
    owned, *true = torch.split(layout, sizes, dim=-1)
    shown = labels >= 0
    loss = functional.smooth_l1_loss(told[shown], owned[shown])
    for density, right in zip(densities, true, strict=True):
        missed = (density - right).square().sum(-1).mean()
        counts = functional.smooth_l1_loss(density.sum((2, 3)), right.sum((2, 3)), reduction="none")
        loss = loss + _DENSITY_SHARE * missed + counts.sum(-1).mean()
    return loss
