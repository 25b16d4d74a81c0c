"""The pictures of a clip as they are decoded: brought to its size, or cut into tiles, and kept.

Knows numbers of frames and pictures; opens no file.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING

from pplava_core.errors import UsageError
from pplava_core.media._guard import MAX_CLIP_BYTES
from pplava_core.media.preprocess import resize_picture
from pplava_core.types import PixelRule

if TYPE_CHECKING:
    import numpy as np


class Gathering(ABC):
    """Takes full-size pictures one at a time, and keeps of each what the clip shows."""

    def __init__(self, indices: list[int]) -> None:
        self.indices = indices
        self.unique = list(dict.fromkeys(indices))
        self.sizes: dict[int, tuple[int, int]] = {}
        "Height and width of every picture so far, by its index."

    def add(self, index: int, picture: np.ndarray) -> None:
        """Take the next picture."""
        self.sizes[index] = (picture.shape[0], picture.shape[1])
        self._keep(index, picture)

    @abstractmethod
    def _keep(self, index: int, picture: np.ndarray) -> None:
        """Keep what the clip shows of a picture."""

    @abstractmethod
    def frames(self) -> np.ndarray:
        """Return the clip's ``(T, H, W, 3)``, once every picture was taken."""

    def counts(self) -> list[int]:
        """Return how many frames of the clip each index gave."""
        return [1] * len(self.indices)


class Resizing(Gathering):
    """Keeps every picture at the size of the clip."""

    def __init__(self, indices: list[int], pixels: PixelRule | None) -> None:
        super().__init__(indices)
        self._frames: np.ndarray | None = None
        self._pixels = pixels

    def _keep(self, index: int, picture: np.ndarray) -> None:
        if self._frames is None:
            self._begin(picture)
        assert self._frames is not None
        assert self._pixels is not None
        first, stop = bisect_left(self.indices, index), bisect_right(self.indices, index)
        self._frames[first:stop] = resize_picture(picture, self._pixels)

    def _begin(self, picture: np.ndarray) -> None:
        """Learn the film's size from its first picture and make room for the clip."""
        import numpy as np

        if self._pixels is None:
            self._pixels = PixelRule(height=picture.shape[0], width=picture.shape[1])
        shape = (len(self.indices), self._pixels.height, self._pixels.width, 3)
        _check_room(len(self.indices), shape)
        self._frames = np.empty(shape, dtype=np.uint8)

    def frames(self) -> np.ndarray:
        """Return the clip's ``(T, H, W, 3)``, once every picture was taken."""
        assert self._frames is not None
        return self._frames


class Cutting(Gathering):
    """Keeps the tiles of every picture."""

    def __init__(self, indices: list[int], cut: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__(indices)
        self._cut = cut
        self._tiles: dict[int, np.ndarray] = {}

    def _keep(self, index: int, picture: np.ndarray) -> None:
        tiles = self._cut(picture)
        self._tiles[index] = tiles
        taken = sum(map(len, self._tiles.values()))
        _check_room(max(taken, len(self.indices)), tiles.shape)

    def frames(self) -> np.ndarray:
        """Return the clip's ``(T, H, W, 3)``, once every picture was taken."""
        import numpy as np

        return np.concatenate([self._tiles[index] for index in self.indices])

    def counts(self) -> list[int]:
        """Return how many tiles each index gave."""
        return [len(self._tiles[index]) for index in self.indices]


def _check_room(count: int, shape: tuple[int, ...]) -> None:
    """Refuse what would fill the memory: ``count`` frames of ``(…, H, W, 3)`` bytes."""
    size_bytes = count * math.prod(shape[1:])
    if size_bytes > MAX_CLIP_BYTES:
        raise UsageError(
            f"{count} frames of {shape[2]}x{shape[1]} pixels would take "
            f"{size_bytes / 1e9:.1f} GB; take fewer frames"
        )
