"""A stage for nano's tally alone: it learns to count, all else is frozen.

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
    held_by_tokens,
    of_packs,
    tally_loss,
    true_come,
    true_ranks,
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
    ranks: Tensor
    "``(P, N, K)``: which of them a window shows."


class TallyStage(InstructStage):
    """What the loop needs to train a tally: the instruct stage's batches, its own loss and score.

    Args:
        recipe: says what to learn from.
        model: one that `tells_count`.
        progress: called while grids are computed.

    Raises:
        RecipeError: the model has no tally.
    """

    trained = ("video.parts.tally.count.",)

    def __init__(self, recipe: Recipe, model: VideoLM, *, progress: Progress | None = None) -> None:
        if model.parts.tally is None:
            raise RecipeError("the tally stage needs a model with tells_count = true")
        super().__init__(recipe, model, progress=progress)

    def loss(self, batch: InstructBatch) -> tuple[Tensor, dict[str, float]]:
        """Return how far what is counted is from what is there, and how often it is right."""
        counted, there, new, ranks = self._compared(batch)
        loss = tally_loss(counted, there, new, ranks)
        right = (counted.come.argmax(-1) == true_come(new)).float()
        scores = {"counted": right.mean().item(), "counted_all": right[:, -1].mean().item()}
        if counted.ranks is not None:
            found = found_by_rank(counted.ranks, ranks)
            scores["found"] = sum(map(sum, found)) / max(sum(map(len, found)), 1)
        return loss, scores

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return how often validation questions "how many?" are counted right, by type.

        `count` and the other types are shares of the films whose every thing was counted once;
        `count_there` and so on are shares of the moments at which as many are there. Of a
        model that ranks, `found` is the share of all things that are found by their number, and
        `found_all` the share of films in which all are.
        """
        right: dict[str, list[float]] = {}
        for first in range(0, self.validation.kinds["films"].count, VALIDATION_CLIPS):
            batch = _only_counts(self.validation_batch("films", first))
            counted, there, new, ranks = self._compared(batch)
            come = (counted.come[:, -1].argmax(-1) == true_come(new)[:, -1]).tolist()
            told = counted.density[..., 0].view(there.shape).sum(2).round()
            true = there.sum(2)
            whole = (true - true.round()).abs() < WHOLE
            for number, pack in enumerate(batch.packs):
                name = pack.questions[0].type
                right.setdefault(name, []).append(come[number])
                hits = (told[number] == true[number].round())[whole[number]]
                right.setdefault(f"{name}_there", []).extend(hits.float().tolist())
            if counted.ranks is not None:
                found = found_by_rank(counted.ranks, ranks)
                for pack, things in zip(batch.packs, found, strict=True):
                    if pack.questions[0].type == "count":
                        right.setdefault("found", []).extend(things)
                        right.setdefault("found_all", []).append(all(things))
        return {name: sum(hits) / len(hits) for name, hits in right.items()}

    def _compared(self, batch: InstructBatch) -> Compared:
        with torch.no_grad():
            relevance = self._relevance(batch)
        with tallied(self.video) as counted:
            self._visual_tokens(batch, relevance)
        held = held_by_tokens(batch.coverage, batch.window)
        device = self.video.device
        there, new = (of_packs(one, batch.packs).to(device) for one in (held.counted, held.new))
        ranks = true_ranks(held, batch.packs, batch.scenes).to(device)
        return Compared(counted=counted[0], there=there, new=new, ranks=ranks)


def found_by_rank(told: Tensor, true: Tensor) -> list[list[bool]]:
    """Return of every thing whether the window that most likely shows it does.

    Args:
        told: ``(P, N, K)`` logits, see `Counted.ranks`.
        true: ``(P, N, K)``, see `true_ranks`.

    Returns:
        For each pack a list, the first thing first; of things that no window shows nothing.
    """
    best = told.log_softmax(-1).argmax(1)
    shows = true > 0
    hits = shows.gather(1, best[:, None]).squeeze(1)
    return [
        [bool(hit) for hit, there in zip(row[1:], some[1:], strict=True) if there]
        for row, some in zip(hits.tolist(), shows.any(1).tolist(), strict=True)
    ]


def _only_counts(batch: InstructBatch) -> InstructBatch:
    """Leave out the packs that do not ask how many."""
    kept = [n for n, pack in enumerate(batch.packs) if pack.questions[0].type in COUNTS]
    packs = tuple(batch.packs[number] for number in kept)
    return dataclasses.replace(batch, packs=packs, targets=batch.targets[kept])
