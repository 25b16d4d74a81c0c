"""A language model that has read every way of pooling: what `ablation.py --grown` begins with.

    python benchmarks/pooled_in_turn.py runs/in-turn --learned pplava_core/models/embedded/nano
    python benchmarks/ablation.py runs/grown --grown --aligned runs/in-turn/model

A language model that begins from nothing shows how fast one learns to read what is pooled, not
what it can be read for. The one that ships can read, but only what nano pools. So it learns on for
a while with all ways of pooling in turn, standardised each by itself, without a tally and a plain
average beside, and every variant of the ablation begins there. The text tower stays as it was.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ablation import (
    FRAMES,
    GROWN_LEARNING_RATE,
    OnceScoredStage,
    continued,
    data_of,
    one_row_per_clip,
    pooling_changes,
)
from torch import Tensor

from pplava_core.models.checkpoint import load_model, save_model
from pplava_core.models.config import VideoLMConfig
from pplava_core.models.videolm import VideoLM
from pplava_core.train import fresh_model
from pplava_core.train.batches import InstructBatch
from pplava_core.train.loop import precision_here, train
from pplava_core.train.recipe import Optimiser, Recipe

POOLED = ("average", "window", "authors", "literal", "apart")
KERNELS = ((2, 3, 3), (2, 6, 6))


@dataclass(frozen=True, kw_only=True)
class BatchInTurn(InstructBatch):
    """A batch, and the number of the way in which it is pooled."""

    way: int


class InTurnStage(OnceScoredStage):
    """Pools every batch in the next of several ways.

    Args:
        recipe: says what to learn from.
        model: one that `tells_magnitude`; ways that do not leave that part alone.
        ways: settings of its config, in turn.
    """

    def __init__(self, recipe: Recipe, model: VideoLM, ways: list[VideoLMConfig]) -> None:
        self.ways = ways
        super().__init__(recipe, model)
        self.scales = [self._scale_of(way) for way in ways]

    def batch(self, number: int) -> BatchInTurn:
        """Return batch `number`, with the window of its way."""
        way = number % len(self.ways)
        self.video.config = self.ways[way]
        batch = super().batch(number)
        if self.ways[way].weighting == "none":
            batch = one_row_per_clip(batch)
        return BatchInTurn(**vars(batch), way=way)

    def loss(self, batch: InstructBatch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch pooled in its way."""
        assert isinstance(batch, BatchInTurn)
        self.video.config = self.ways[batch.way]
        scale = self.video.parts.scale
        scale.mean, scale.spread = self.scales[batch.way]
        return super().loss(batch)

    def _scale_of(self, way: VideoLMConfig) -> tuple[Tensor, Tensor]:
        """Measure mean and spread of every channel of what a way pools."""
        scale, every = self.video.parts.scale, self.ways
        scale.mean, scale.spread = torch.zeros_like(scale.mean), torch.ones_like(scale.spread)
        self.ways = [way]  # of every batch
        fresh_model.measure_scales(self.video, self._pool_films)
        self.ways = every
        return scale.mean, scale.spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the model goes")
    parser.add_argument("--learned", type=Path, required=True, help="who learns on")
    parser.add_argument("--features", type=Path, help="grids to share with other runs")
    parser.add_argument("--frames", type=int, default=FRAMES, help="with fewer, also unpooled")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--clips", type=int, default=4500)
    parser.add_argument("--long-clips", type=int, default=450)
    parser.add_argument("--scenes-seed", type=int, default=7, help="which films")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    changes = pooling_changes("apart", KERNELS[0], chosen.frames)
    model = continued(load_model(chosen.learned), changes)
    rate = Optimiser(learning_rate=GROWN_LEARNING_RATE, weight_decay=0.02, text_tower_rate=0.0)
    recipe = Recipe(
        stage="instruct",
        output=str(chosen.folder),
        initial=str(chosen.learned),
        seed=0,
        steps=chosen.steps,
        precision=precision_here("auto"),
        evaluate_every=chosen.steps,
        save_every=200,
        optimiser=rate,
        data=data_of(chosen, takes_long=chosen.frames == FRAMES),
        text=str({name: str(value) for name, value in vars(chosen).items()}),
    )
    own = model.config
    train(InTurnStage(recipe, model, ways_of(own, chosen.frames)), recipe)
    model.config = own
    save_model(model, chosen.folder / "model")


def ways_of(config: VideoLMConfig, frames: int) -> list[VideoLMConfig]:
    """Return every way of pooling; with few frames every third batch is not pooled at all."""
    if frames == FRAMES:
        variants = [(variant, kernel) for kernel in KERNELS for variant in POOLED]
    else:
        turns = [*POOLED, "apart"]
        for place in (2, 5, 8):
            turns.insert(place, "none")
        variants = [(variant, KERNELS[0]) for variant in turns]
    known: dict[str, Any] = config.to_dict()
    return [
        VideoLMConfig.from_dict({**known, **pooling_changes(variant, kernel, frames)})
        for variant, kernel in variants
    ]


if __name__ == "__main__":
    main()
