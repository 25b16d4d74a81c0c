"""Patch grids of a training set, computed once by the frozen tower and kept on disk.

Films and single pictures are two arrays of half-precision numbers that are read in
place, so that a training set larger than the memory works. The scenes themselves are
not kept: they are drawn again from their seeds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pplava_core.atomic import replacing
from pplava_core.models.videolm import VideoLM
from pplava_core.shapes.film import film_for_training
from pplava_core.shapes.scene import Scene, draw_scene, scene_seed
from pplava_core.train.loader import forked_loader
from pplava_core.train.recipe import Recipe

Progress = Callable[[str, int, int], None]
_STILLS_FROM = 10_000_000
"Numbers of scenes for single pictures start here, so that none is also a film's."


class FeatureStore:
    """The grids of one split.

    Args:
        recipe: seed and amount.
        model: whose tower encodes; it must not change while the store is in use.
        split: one of `shapes.scene.SPLITS`.
        film_count: films of ``config.num_frames`` frames.
        still_count: single pictures.
        progress: called with what is done, how many and of how many.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: VideoLM,
        split: str,
        film_count: int,
        still_count: int,
        progress: Progress | None = None,
    ) -> None:
        self.recipe, self.model, self.split = recipe, model, split
        self.grid = (model.parts.tower.rows,) * 2
        self.folder = Path(recipe.output) / "features"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = _key(recipe, model)
        frames = model.config.num_frames
        self.films = self._array("films", film_count, frames, progress)
        self.stills = self._array("stills", still_count, 1, progress)

    def scene(self, number: int, *, still: bool) -> Scene:
        """Draw again the scene of a grid."""
        offset = _STILLS_FROM if still else 0
        seed = scene_seed(self.split, self.recipe.seed, offset + number)
        return draw_scene(seed, all_still=still)

    def _array(
        self, name: str, count: int, frames: int, progress: Progress | None
    ) -> np.ndarray[Any, Any]:
        path = self.folder / f"{self.split}-{name}-{count}-{self.key}.npy"
        if not path.exists():
            width = self.model.config.tower["vision"]["hidden_size"]
            shape = (count, frames, *self.grid, width)
            with replacing(path) as temporary:
                array = np.lib.format.open_memmap(temporary, "w+", dtype=np.float16, shape=shape)
                films = forked_loader(_Rendered(self, count, frames))
                for number, pictures in enumerate(films):
                    array[number] = self._encode(pictures)
                    if progress:
                        progress(f"{self.split} {name}", number + 1, count)
                array.flush()
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]

    @torch.inference_mode()
    def _encode(self, pictures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(self.model.device)
        features: np.ndarray[Any, Any] = self.model.parts.tower(batch).cpu().numpy()
        return features

    def render(self, number: int, frames: int) -> np.ndarray[Any, Any]:
        """Film one scene: ``(T, height, width, 3)`` uint8."""
        scene = self.scene(number, still=frames == 1)
        rng = np.random.default_rng([self.recipe.seed, number, frames, len(self.split)])
        pictures, _ = film_for_training(
            scene,
            sampled_moments(rng, frames),
            rng,
            size=self.model.config.pixels.height,
            grid=self.grid,
            codec_share=self.recipe.data.codec_share,
        )
        return pictures


class _Rendered(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    """Films to be encoded, in order."""

    def __init__(self, store: FeatureStore, count: int, frames: int) -> None:
        self.store, self.count, self.frames = store, count, frames

    def __iter__(self) -> Iterator[np.ndarray[Any, Any]]:
        return (self.store.render(number, self.frames) for number in range(self.count))


def sampled_moments(rng: np.random.Generator, frames: int) -> list[float]:
    """Return fractions of a film near those at which a file's frames are taken."""
    shift = rng.uniform(-0.3, 0.3) + rng.uniform(-0.1, 0.1, frames)
    moments = (np.arange(frames) + 0.5 + shift) / frames
    clipped: list[float] = np.clip(moments, 0.0, 0.999).tolist()
    return clipped


def _key(recipe: Recipe, model: VideoLM) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.parts.tower.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.float().cpu().numpy().tobytes())
    settings: dict[str, Any] = {"seed": recipe.seed, "codec": recipe.data.codec_share}
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()[:12]
