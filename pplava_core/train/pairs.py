"""Plain pairs of pictures (or films) and texts, for contrastive training without masks.

A pair is one line of a JSON Lines file: ``{"image": path, "text": …}`` or
``{"video": path, "text": …}``, paths relative to the file.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pplava_core.errors import RecipeError
from pplava_core.types import PixelRule, Sampling


class PairSource:
    """Batches of frames and the texts that belong to them.

    Args:
        path: the JSON Lines file.
        pixels: size of the pictures.

    Raises:
        RecipeError: the file cannot be read, or a line is not a pair.
    """

    def __init__(self, path: str, pixels: PixelRule) -> None:
        self.folder, self.pixels = Path(path).parent, pixels
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise RecipeError(f"{path}: {error.strerror}; give a JSON Lines file") from error
        self.pairs = [_read_pair(path, number, line) for number, line in enumerate(lines, 1)]
        if len(self.pairs) < 2:
            raise RecipeError(f"{path} has {len(self.pairs)} pairs; contrast needs at least two")

    def batch(
        self, rng: np.random.Generator, size: int, num_frames: int
    ) -> tuple[Tensor, list[str]]:
        """Return ``(C, T, 3, height, width)`` uint8 frames of different pairs, and their texts."""
        from pplava_core import media

        chosen = rng.permutation(len(self.pairs))[:size]
        frames, texts = [], []
        for index in chosen:
            file, text = self.pairs[index]
            clip = media.load_clip(
                self.folder / file, sampling=Sampling(num_frames=num_frames), pixels=self.pixels
            )
            pictures = torch.from_numpy(clip.frames).permute(0, 3, 1, 2)
            repeats = -(-num_frames // len(pictures))
            frames.append(pictures.repeat(repeats, 1, 1, 1)[:num_frames])
            texts.append(text)
        return torch.stack(frames), texts


def _read_pair(path: str, number: int, line: str) -> tuple[str, str]:
    try:
        pair = json.loads(line)
        return pair.get("image") or pair["video"], pair["text"]
    except (ValueError, KeyError, AttributeError) as error:
        raise RecipeError(
            f'{path} line {number} is not a pair; write {{"image": "file", "text": "words"}}'
        ) from error
