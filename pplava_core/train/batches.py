"""Batches of the instruct stage: grids of a few clips, packs about them, and a window for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pplava_core.models.config import VideoLMConfig
from pplava_core.shapes.scene import Scene
from pplava_core.train.align import target_map
from pplava_core.train.features import FeatureStore
from pplava_core.train.packs import Pack
from pplava_core.train.recipe import Data
from pplava_core.window import Window


@dataclass(frozen=True, kw_only=True)
class InstructBatch:
    """A few grids of one shape and packs of questions about them."""

    features: Tensor
    "``(C, T, H, W, D)``."
    targets: Tensor
    "``(P, T H W)``: where each pack's things are, sums to 1; even where it is about nothing."
    coverage: Tensor
    "``(C, things, T, H, W)``: how much of every patch each thing covers."
    lengths_seconds: Tensor
    "``(C,)``; 0 is a picture."
    packs: tuple[Pack, ...]
    scenes: tuple[Scene, ...]
    "What the clips show."
    window: Window
    "What the grids are pooled with."


def batch_of(
    store: FeatureStore,
    kind: str,
    numbers: Sequence[int],
    scenes: Sequence[Scene],
    packs: Sequence[Pack],
    window: Window,
) -> InstructBatch:
    """Put grids, masks and packs together.

    Args:
        store: has grids and masks.
        kind: of the clips, `films`, `stills` or `long`.
        numbers: of the clips in the store.
        scenes: what they show.
        packs: about them, by their places in `numbers`.
        window: pools them.
    """
    features = np.stack([store.features[kind][n] for n in numbers])
    coverage = [store.coverage[kind][n].astype(np.float32) / 255 for n in numbers]
    even = np.full(features.shape[1:4], 1 / np.prod(features.shape[1:4]), np.float32)
    maps = [target_map(coverage[pack.clip], pack.targets) for pack in packs]
    lengths = [scene.duration_seconds for scene in scenes]
    return InstructBatch(
        features=torch.from_numpy(features),
        targets=torch.from_numpy(np.stack([even if m is None else m for m in maps])).flatten(1),
        coverage=torch.from_numpy(np.stack(coverage)),
        lengths_seconds=torch.tensor(lengths) * (kind != "stills"),
        packs=tuple(packs),
        scenes=tuple(scenes),
        window=window,
    )


def drawn_window(
    config: VideoLMConfig, data: Data, number: int, rng: np.random.Generator, kind: str
) -> Window:
    """Return the window of batch `number`: coarse ones come first and now and then later.

    Coarse windows leave a quarter of the tokens, so that words, colours and shapes are
    learned at a quarter of the price; and a model that has seen both takes any budget.
    """
    if kind == "stills":
        return config.image_window
    window = full_window(config, data, kind)
    if number >= data.coarse_batches and rng.random() >= data.coarse_share:
        return window
    frames, rows, columns = window.kernel
    return Window((frames, 2 * rows, 2 * columns))


def full_window(config: VideoLMConfig, data: Data, kind: str) -> Window:
    """Return the model's window for films, so much longer as a long film has more frames."""
    if kind != "long":
        return config.window
    frames, rows, columns = config.window.kernel
    return Window((frames * (data.long_frames // config.num_frames), rows, columns))
