"""Plain pairs of pictures (or films) and texts, for contrastive training without masks.

A pair is one line of a JSON Lines file: ``{"path": file, "text": …}``, paths relative to the
file; ``image`` or ``video`` may stand for ``path``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pplava_core.errors import RecipeError
from pplava_core.types import Clip, PixelRule, Sampling


class PairSource:
    """Frames and the texts that belong to them.

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

    def file(self, number: int) -> Path:
        """Return the picture or film of a pair."""
        return self.folder / self.pairs[number][0]

    def clip(self, number: int, num_frames: int) -> Clip:
        """Decode at most so many frames of a pair's picture or film.

        Raises:
            InputError: it cannot be read.
        """
        from pplava_core import media

        sampling = Sampling(num_frames=num_frames)
        return media.load_clip(self.file(number), sampling=sampling, pixels=self.pixels)

    def batch(
        self, rng: np.random.Generator, size: int, num_frames: int
    ) -> tuple[Tensor, list[str]]:
        """Return ``(C, T, 3, height, width)`` uint8 frames of different pairs, and their texts."""
        chosen = rng.permutation(len(self.pairs))[:size]
        frames, texts = [], []
        for number in chosen:
            clip = self.clip(number, num_frames)
            pictures = torch.from_numpy(clip.frames).permute(0, 3, 1, 2)
            repeats = -(-num_frames // len(pictures))
            frames.append(pictures.repeat(repeats, 1, 1, 1)[:num_frames])
            texts.append(self.pairs[number][1])
        return torch.stack(frames), texts


def _read_pair(path: str, number: int, line: str) -> tuple[str, str]:
    try:
        pair = json.loads(line)
        file, text = pair.get("path") or pair.get("image") or pair["video"], pair["text"]
        if not isinstance(file, str) or not isinstance(text, str):
            raise TypeError("neither may be anything but text")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise RecipeError(
            f'{path} line {number} is not a pair; write {{"path": "file", "text": "words"}}'
        ) from error
    return file, text
