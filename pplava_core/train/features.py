"""Patch grids of a training set, computed once by the frozen tower and kept on disk.

Films, long films and single pictures are arrays of half-precision numbers that are read in
place, so that a training set larger than the memory works; beside each lies how much of every
patch each thing covers. The scenes themselves are not kept: they are drawn again from their
seeds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from pplava_core.atomic import replacing
from pplava_core.models.videolm import VideoLM
from pplava_core.shapes.drawing import draw_redundant_scene, draw_scene
from pplava_core.shapes.film import film_for_training
from pplava_core.shapes.scene import MAX_THINGS, WORLD, Scene, scene_seed
from pplava_core.train.loader import forked_loader
from pplava_core.train.recipe import Recipe

Progress = Callable[[str, int, int], None]
_CROWD = 3
"So many things of one colour or one kind are a crowd."
_LONG_SECONDS = (20.0, 40.0)
"So long that a frame a second or more is taken of every long film."


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One of the kinds of clips that a stage learns from."""

    name: str
    first: int
    "Numbers of its scenes start here, so that none is also another kind's."
    frames: int
    count: int

    def draw(self, split: str, seed: int, number: int) -> Scene:
        """Draw the scene of a clip."""
        drawn = scene_seed(split, seed, self.first + number)
        if self.name == "long":
            return draw_redundant_scene(drawn, seconds=_LONG_SECONDS)
        return draw_scene(drawn, all_still=self.name == "stills")


class FeatureStore:
    """The grids of one split.

    Args:
        recipe: seed and amount.
        model: whose tower encodes; it must not change while the store is in use.
        split: one of `shapes.scene.SPLITS`.
        counts: clips of each kind, `films`, `stills` and `long`.
        progress: called with what is done, how many and of how many.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: VideoLM,
        split: str,
        counts: dict[str, int],
        progress: Progress | None = None,
    ) -> None:
        self.recipe, self.model, self.split = recipe, model, split
        scenes_seed = recipe.data.scenes_seed
        self.seed = recipe.seed if scenes_seed is None else scenes_seed
        self.grid = (model.parts.tower.rows,) * 2
        self.folder = Path(recipe.data.features or Path(recipe.output) / "features")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = _key(recipe, model, self.seed)
        frames = {"films": model.config.num_frames, "stills": 1, "long": recipe.data.long_frames}
        firsts = {"films": 0, "stills": 10_000_000, "long": 20_000_000}
        self.kinds = {
            name: Kind(name=name, first=firsts[name], frames=frames[name], count=count)
            for name, count in counts.items()
        }
        arrays = {name: self._arrays(kind, progress) for name, kind in self.kinds.items()}
        self.features = {name: pair[0] for name, pair in arrays.items()}
        "``(N, T, H, W, D)`` float16 of each kind."
        self.coverage = {name: pair[1] for name, pair in arrays.items()}
        "``(N, things, T, H, W)`` uint8, 255 is a patch that a thing covers wholly."

    def scene(self, kind: str, number: int) -> Scene:
        """Draw again the scene of a grid."""
        return self.kinds[kind].draw(self.split, self.seed, number)

    def crowds(self, kind: str) -> list[list[int]]:
        """Return the clips of a kind in which many things share a colour or a kind.

        Most scenes have one or two red things, and no more is learned of larger numbers than
        what is shown. One list for each number of things from `_CROWD` on that is found.
        """
        found: dict[int, list[int]] = {}
        for number in range(self.kinds[kind].count):
            alike = self.scene(kind, number).most_alike
            if alike >= _CROWD:
                found.setdefault(alike, []).append(number)
        return [found[alike] for alike in sorted(found)]

    def _arrays(self, kind: Kind, progress: Progress | None) -> tuple[Any, Any]:
        stem = f"{self.split}-{kind.name}-{kind.count}x{kind.frames}-{self.key}"
        paths = [self.folder / f"{stem}.npy", self.folder / f"{stem}-coverage.npy"]
        # One of several processes makes them, the others wait.
        with FileLock(self.folder / f"{stem}.lock"):
            if not all(path.exists() for path in paths):
                self._make(kind, paths, progress)
        return np.load(paths[0], mmap_mode="r"), np.load(paths[1], mmap_mode="r")

    def _make(self, kind: Kind, paths: Sequence[Path], progress: Progress | None) -> None:
        """Render and encode every clip of a kind into two files, which appear once whole."""
        width = self.model.config.tower["vision"]["hidden_size"]
        size = (kind.frames, *self.grid)
        with replacing(paths[0]) as grids, replacing(paths[1]) as masks:
            features = _new(grids, np.float16, (kind.count, *size, width))
            coverage = _new(masks, np.uint8, (kind.count, MAX_THINGS, *size))
            films = forked_loader(_Rendered(self, kind))
            for number, (pictures, covered) in enumerate(films):
                features[number] = self._encode(pictures)
                coverage[number, : len(covered)] = np.round(covered * 255)
                if progress:
                    progress(f"{self.split} {kind.name}", number + 1, kind.count)
            features.flush()
            coverage.flush()

    @torch.inference_mode()
    def _encode(self, pictures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(self.model.device)
        features: np.ndarray[Any, Any] = self.model.parts.tower(batch).cpu().numpy()
        return features

    def render(self, kind: Kind, number: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Film one scene: ``(T, height, width, 3)`` uint8 and the coverage of its things."""
        scene = kind.draw(self.split, self.seed, number)
        rng = np.random.default_rng([self.seed, number, kind.frames, len(self.split)])
        return film_for_training(
            scene,
            sampled_moments(rng, kind.frames),
            rng,
            size=self.model.config.pixels.height,
            grid=self.grid,
            codec_share=self.recipe.data.codec_share,
        )


class _Rendered(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    """Films to be encoded, in order."""

    def __init__(self, store: FeatureStore, kind: Kind) -> None:
        self.store, self.kind = store, kind

    def __iter__(self) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        return (self.store.render(self.kind, number) for number in range(self.kind.count))


def sampled_moments(rng: np.random.Generator, frames: int) -> list[float]:
    """Return fractions of a film near those at which a file's frames are taken."""
    shift = rng.uniform(-0.3, 0.3) + rng.uniform(-0.1, 0.1, frames)
    moments = (np.arange(frames) + 0.5 + shift) / frames
    clipped: list[float] = np.clip(moments, 0.0, 0.999).tolist()
    return clipped


def _new(path: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    return np.lib.format.open_memmap(path, "w+", dtype=dtype, shape=shape)


def _key(recipe: Recipe, model: VideoLM, seed: int) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.parts.tower.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.float().cpu().numpy().tobytes())
    settings: dict[str, Any] = {
        "seed": seed,
        "codec": recipe.data.codec_share,
        "tower": model.config.tower,
        "pixels": dataclasses.asdict(model.config.pixels),
        "world": WORLD,
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()[:12]
