"""A stage for nano's tally alone, and for what reads things off patches: all else is frozen.

Beside the language model a tally learns slowly, since the tokens that it reads change, and every
step costs the language model's time. Alone a step takes a fraction of that.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor

from pplava_core.errors import RecipeError
from pplava_core.models.backbones.nano_tally import Counted
from pplava_core.models.videolm import VideoLM
from pplava_core.train.attending import (
    SortDensities,
    held_by_tokens,
    of_packs,
    sort_densities,
    tally_loss,
    true_come,
)
from pplava_core.train.batches import InstructBatch
from pplava_core.train.features import Progress
from pplava_core.train.instruct import VALIDATION_CLIPS, InstructStage, tallied
from pplava_core.train.packs import COUNTS
from pplava_core.train.recipe import Recipe

WHOLE = 0.05
"A moment that a thing hides in or leaves holds a part of it; only whole numbers are scored."


class Compared(NamedTuple):
    """What a tally counts of packs, and what it should have."""

    counted: Counted
    there: Tensor
    "``(P, T, N / T)``: how many of the asked-for things lie in a window."
    new: Tensor
    "``(P, T, N / T)``: how many of them are seen there for the first time."
    sorts: SortDensities | None
    "The same sort by sort; None where the tally lists nothing."


class TallyStage(InstructStage):
    """What the loop needs to train a tally: the instruct stage's batches, its own loss and score.

    Args:
        recipe: says what to learn from.
        model: one that `tells_count`.
        progress: called while grids are computed.

    Raises:
        RecipeError: the model has no tally.
    """

    trained = ("video.parts.things.", "video.parts.tally.count.")

    def __init__(self, recipe: Recipe, model: VideoLM, *, progress: Progress | None = None) -> None:
        if model.parts.tally is None:
            raise RecipeError("the tally stage needs a model with tells_count = true")
        super().__init__(recipe, model, progress=progress)

    def loss(self, batch: InstructBatch) -> tuple[Tensor, dict[str, float]]:
        """Return how far what is counted is from what is there, and how often it is right."""
        counted, there, new, sorts = self._compared(batch)
        loss = tally_loss(counted, there, new, sorts)
        come = true_come(new)
        scores = {
            "counted": (counted.come.argmax(-1) == come).float().mean().item(),
            "counted_all": (counted.in_all().argmax(-1) == come[:, -1]).float().mean().item(),
        }
        if sorts is not None:
            exact = (counted.by_sort() == sorts.come[:, -1]).all(1)
            scores["listed_all"] = exact.float().mean().item()
        return loss, scores

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return how often validation questions "how many?" are counted right, by type.

        `count` and the other types are shares of the films whose every thing was counted once;
        `count_there` and so on are shares of the moments at which as many are there. Of a
        model that lists, `listed` is the part of a film's things that are on the list, and
        `listed_all` the share of films whose list is right.
        """
        right: dict[str, list[float]] = {}
        for first in range(0, self.validation.kinds["films"].count, VALIDATION_CLIPS):
            batch = _only_counts(self.validation_batch("films", first))
            counted, there, new, sorts = self._compared(batch)
            come = (counted.in_all().argmax(-1) == true_come(new)[:, -1]).tolist()
            told = counted.density[..., 0].view(there.shape).sum(2).round()
            true = there.sum(2)
            whole = (true - true.round()).abs() < WHOLE
            for number, pack in enumerate(batch.packs):
                name = pack.questions[0].type
                right.setdefault(name, []).append(come[number])
                hits = (told[number] == true[number].round())[whole[number]]
                right.setdefault(f"{name}_there", []).extend(hits.float().tolist())
            if sorts is not None:
                listed, things = counted.by_sort(), sorts.come[:, -1]
                found = torch.minimum(listed, things).sum(1) / things.sum(1).clamp(min=1)
                exact = (listed == things).all(1).float()
                of_all = [pack.questions[0].type == "count" for pack in batch.packs]
                if any(of_all):
                    right.setdefault("listed", []).extend(found[of_all].tolist())
                    right.setdefault("listed_all", []).extend(exact[of_all].tolist())
        return {name: sum(hits) / len(hits) for name, hits in right.items()}

    def _compared(self, batch: InstructBatch) -> Compared:
        with torch.no_grad():
            relevance = self._relevance(batch)
        with tallied(self.video) as counted:
            self._visual_tokens(batch, relevance)
        held = held_by_tokens(batch.coverage, batch.window)
        device = self.video.device
        there, new = (of_packs(one, batch.packs).to(device) for one in (held.counted, held.new))
        sorts = None
        if counted[0].listed is not None:
            sorts = sort_densities(held, batch.packs, batch.scenes).to(device)
        return Compared(counted=counted[0], there=there, new=new, sorts=sorts)


def _only_counts(batch: InstructBatch) -> InstructBatch:
    """Leave out the packs that do not ask how many."""
    kept = [n for n, pack in enumerate(batch.packs) if pack.questions[0].type in COUNTS]
    packs = tuple(batch.packs[number] for number in kept)
    return dataclasses.replace(batch, packs=packs, targets=batch.targets[kept])
