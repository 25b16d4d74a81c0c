"""A stage for the tower and what reads things off its patches; the features stay what they are.

What a patch of a small thing shows is known as well as the tower's features tell it, and these
were learned before anything read things off them. Here both learn together. What the language
model has learned to read must not change under it, so the features may move away from what they
were only a little. Knows pictures and coverage; no texts.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pplava_core.errors import RecipeError
from pplava_core.models.backbones.nano_things import SORTS
from pplava_core.models.videolm import VideoLM
from pplava_core.shapes.film import film_for_training
from pplava_core.train.align import drawn_moments, drawn_scene
from pplava_core.train.attending import by_sort, held_loss, shared_out
from pplava_core.train.recipe import Recipe

_KEPT_SHARE = 3.0
"How much it counts to move away from the old features, as a part of their variance."
_LEAST = 1e-6
"Variance that a channel is taken to have at least, so that one that never changes may stay so."
_VALIDATION_BATCHES = 12


@dataclass(frozen=True, kw_only=True)
class ThingsBatch:
    """A few clips, and which things their patches hold."""

    frames: Tensor
    "``(C, T, 3, height, width)`` uint8."
    held: Tensor
    "``(C, T, H, W, HELD)``."


class ThingsStage:
    """What the loop needs of this stage: batches, a loss, a score.

    Args:
        recipe: says what to learn from.
        model: one that `tells_list`.

    Raises:
        RecipeError: nothing is read off the model's patches.
    """

    trained = ("video.parts.tower.", "video.parts.things.")

    def __init__(self, recipe: Recipe, model: VideoLM) -> None:
        if model.parts.things is None:
            raise RecipeError("the things stage needs a model with tells_list = true")
        self.recipe, self.video = recipe, model
        self.model = nn.ModuleDict({"video": model})
        self.before = copy.deepcopy(model.parts.tower).eval().requires_grad_(False)
        self.size = model.config.pixels.height
        self.grid = (model.parts.tower.rows,) * 2

    def batch(self, number: int, split: str = "train") -> ThingsBatch:
        """Return batch `number`, made from the recipe's seed and this number alone."""
        data = self.recipe.data
        rng = np.random.default_rng([self.recipe.seed, number, len(split)])
        frames, held = [], []
        for clip in range(data.clips_per_step):
            first = 2 * (number * data.clips_per_step + clip)
            scene, other = (drawn_scene(split, self.recipe.seed, first + n) for n in range(2))
            if rng.random() < data.crowd_share and len(other.things) > len(scene.things):
                scene = other
            pictures, coverage = film_for_training(
                scene,
                drawn_moments(scene, rng, data.frames_per_clip),
                rng,
                size=self.size,
                grid=self.grid,
                codec_share=data.codec_share,
            )
            frames.append(torch.from_numpy(pictures).permute(0, 3, 1, 2))
            held.append(by_sort(shared_out(torch.from_numpy(coverage).float()), scene))
        return ThingsBatch(frames=torch.stack(frames), held=torch.stack(held))

    def loss(self, batch: ThingsBatch) -> tuple[Tensor, dict[str, float]]:
        """Return how far what is read off patches is from what they hold, and features from before.

        The latter as a part of their variance, channel by channel.
        """
        told, moved = self._read(batch)
        held = held_loss(told.flatten(1, 3), batch.held.flatten(2, 3).to(told.device))
        return held + _KEPT_SHARE * moved, {"held": held.item(), "moved": moved.item()}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return in how many frames all sorts are counted right, and how far features moved."""
        right: list[Tensor] = []
        far: list[float] = []
        for number in range(_VALIDATION_BATCHES):
            batch = self.batch(number, "validation")
            told, moved = self._read(batch)
            counts, true = told.cpu().sum((2, 3)), batch.held.sum((2, 3))
            right.append((counts.round() == true.round())[..., :SORTS].all(-1))
            far.append(moved.item())
        return {
            "sorts": torch.cat(right).float().mean().item(),
            "moved": float(np.mean(far)),
        }

    def _read(self, batch: ThingsBatch) -> tuple[Tensor, Tensor]:
        """Return what is read off patches ``(C, T, H, W, HELD)``, and how far features moved."""
        pictures = batch.frames.flatten(0, 1).to(self.video.device)
        features = self.video.parts.tower(pictures)
        with torch.no_grad():
            before = self.before.to(pictures.device)(pictures).float()
        told = self.video.parts.read_things(features.unflatten(0, batch.frames.shape[:2]))
        spread = before.var((0, 1, 2)).clamp(min=_LEAST)
        moved = (features.float() - before).square().mean((0, 1, 2)) / spread
        return told.float(), moved.mean()
