"""Which things a window holds: read off its patches one by one, before they are averaged.

In an average a red star beside a blue ring is what a red ring beside a blue star is. A patch
mostly shows one thing, and can tell which. Knows features of patches; no films and no words.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pplava_core.models.backbones.nano_tokens import zero_linear

COLOURS, KINDS = 8, 6
"How many of each there are. A thing of one and of the other is of a sort."
SORTS = COLOURS * KINDS
MARKS = 21
"How many faces, digits and letters there are to be seen on things."
HELD = SORTS + MARKS
"Numbers that are read off a patch."
_HIDDEN_WIDTH = 256


class HeldThings(nn.Module):
    """Reads off every patch how many things of each sort, and of each mark, it holds.

    A thing is shared out among its patches, so that they can be added up, over windows and over
    frames, as in counting by density maps. Before training there are none.

    Args:
        width: of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.Sequential(
            nn.Linear(width, _HIDDEN_WIDTH), nn.GELU(), zero_linear(_HIDDEN_WIDTH, HELD)
        )

    @property
    def dtype(self) -> torch.dtype:
        """What its weights are kept in."""
        return next(self.parameters()).dtype

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(..., HELD)`` for features ``(..., D)``: the sorts first, then the marks."""
        held: Tensor = self.read(features)
        return held
