"""Where a count is lost: small probes read it off the tower's grid, and off what pooling leaves.

    python benchmarks/counting_probe.py --features runs/features [--clips 6000]

For every question "how many?" (of all, of a colour, of a kind) a small network tells of each
patch, or of each pooled token, how many of the asked-for things lie in it, so that the sum over a
moment is their number. It is given the patch's features and its relevance, or the token's and
how relevant its window is. Learned on films of the instruct stage's training set, scored on those
that are held out: in which share of the moments, at which the number is a whole one, the
rounded sum is right. Takes the grids that the instruct stage and `ablation.py` keep. The first two
rows are nano's own tally, which also says how many ever come; with `--learn-from 0` they are the
only ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pplava_core import pooling
from pplava_core.models.backbones.nano_tally import Counted
from pplava_core.models.backbones.nano_tokens import decades_of
from pplava_core.models.catalog import find_model
from pplava_core.models.checkpoint import load_model
from pplava_core.models.videolm import VideoLM
from pplava_core.shapes import questions as world
from pplava_core.train.align import patch_cosines
from pplava_core.train.attending import held_by_tokens
from pplava_core.train.features import FeatureStore
from pplava_core.train.instruct import tallied
from pplava_core.train.recipe import Data, Optimiser, Recipe
from pplava_core.train.tally import WHOLE
from pplava_core.window import Window

TYPES = ("count", "count_colour", "count_kind")
FILMS_PER_STEP, LEARNING_RATE, HIDDEN = 8, 3e-3, 256


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One film and its questions how many."""

    grid: Tensor
    "``(T, H, W, D)``."
    relevance: Tensor
    "``(Q, T, H, W)``."
    there: Tensor
    "``(Q, T', H' W')``: how many of the asked-for things lie in each window."
    there_by_patch: Tensor
    "``(Q, T, H W)``."
    types: tuple[str, ...]
    totals: tuple[int, ...]
    "How many things each question is about."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=Path, required=True, help="grids of an instruct stage")
    parser.add_argument("--clips", type=int, default=6000, help="as the stage was told")
    parser.add_argument("--still-share", type=float, default=0.05, help="as the stage was told")
    parser.add_argument("--scenes-seed", type=int, default=1)
    parser.add_argument("--learn-from", type=int, default=2000, help="films")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    model = load_model(find_model("nano").folder)
    model.eval()
    data = Data(features=str(chosen.features), scenes_seed=chosen.scenes_seed, codec_share=0.2)
    recipe = Recipe(
        stage="instruct", output=str(chosen.features), initial="", steps=chosen.steps,
        optimiser=Optimiser(learning_rate=LEARNING_RATE), data=data,
    )  # fmt: skip
    films = chosen.clips - round(chosen.clips * chosen.still_share)
    store = FeatureStore(recipe, model, "train", {"films": films})
    known = [asked_of(model, store, number) for number in range(chosen.learn_from)]
    held_out = FeatureStore(recipe, model, "validation", {"films": 160})
    unseen = [asked_of(model, held_out, number) for number in range(160)]
    print("| read off | a moment holds | " + " | ".join(TYPES) + " |\n|---|---|---|---|---|")
    if model.parts.tally is not None:
        show("nano's own tally", "16 tokens", scored(partial(own_tally, model), unseen))
        show("the same, of all that ever come", "128 in a film", ever_come(model, unseen))
    for name, per_moment in INPUTS.items() if known else ():
        show(name, per_moment, probed(model.config.window, name, known, unseen, chosen.steps))


def show(name: str, per_moment: str, right: dict[str, float]) -> None:
    shown = " | ".join(f"{right[kind]:.1%}" for kind in TYPES)
    print(f"| {name} | {per_moment} | {shown} |", flush=True)


INPUTS = {
    "the grid": "288 patches",
    "`window`": "16 tokens",
    "`window`, magnitude beside it": "16 tokens",
    "`literal`": "16 tokens",
    "`window`, magnitude and the average beside it": "16 tokens",
}
"What a probe is given, and of how much."


@torch.no_grad()
def asked_of(model: VideoLM, store: FeatureStore, number: int) -> Asked:
    """Ask of a film how many there are, and score its patches against every question."""
    questions = world.ask(store.scene("films", number), np.random.default_rng([number, 7]), TYPES)
    grid = torch.from_numpy(np.asarray(store.features["films"][number], np.float32))
    patches = functional.normalize(model.aligner.embed_patches(grid[None]).float(), dim=-1)
    texts = functional.normalize(model.embed_texts([q.text for q in questions]).float(), dim=-1)
    cosines = patch_cosines(patches, texts, torch.zeros(len(questions), dtype=torch.long))
    relevance = (model.aligner.logit_scale.exp() * cosines).softmax(-1)
    coverage = torch.from_numpy(store.coverage["films"][number].astype(np.float32) / 255)[None]

    def counted(window: Window) -> Tensor:
        held = held_by_tokens(coverage, window).counted[0]
        return torch.stack([held[list(question.targets)].sum(0) for question in questions])

    return Asked(
        grid=grid.half(),
        relevance=relevance.view(-1, *grid.shape[:3]),
        there=counted(model.config.window),
        there_by_patch=counted(Window((1, 1, 1))),
        types=tuple(question.type for question in questions),
        totals=tuple(len(question.targets) for question in questions),
    )


def given(window: Window, name: str, film: Asked) -> tuple[Tensor, Tensor]:
    """Return what a probe is given, ``(Q, T', N, D')``, and what it is to tell, ``(Q, T', N)``."""
    grid = film.grid.float().expand(len(film.relevance), -1, -1, -1, -1)
    relevance = film.relevance
    if name == "the grid":
        told = torch.cat([grid, decades_of(relevance * relevance[0].numel())], dim=-1)
        return told.flatten(2, 3), film.there_by_patch
    parts = []
    for weighting in pooling.WEIGHTINGS:
        if f"`{weighting}`" in name:
            parts.append(pooling.pool(grid, relevance, window=window, weighting=weighting))
    if "magnitude" in name:
        parts.append(decades_of(pooling.window_magnitudes(relevance, window=window)))
    if "average" in name:
        parts.append(pooling.pool(grid, None, window=window))
    return torch.cat(parts, dim=-1).flatten(2, 3), film.there


def probed(
    window: Window, name: str, known: list[Asked], unseen: list[Asked], steps: int
) -> dict[str, float]:
    """Return of each type the share of held-out moments at which a probe counts right."""
    torch.manual_seed(0)
    some = torch.cat([given(window, name, film)[0].flatten(0, 2) for film in known[:100]])
    mean, spread = some.mean(0), some.std(0).clamp(min=1e-4)
    probe = nn.Sequential(
        nn.Linear(some.shape[1], HIDDEN), nn.GELU(),
        nn.Linear(HIDDEN, HIDDEN // 2), nn.GELU(),
        nn.Linear(HIDDEN // 2, 1),
    )  # fmt: skip

    def read(film: Asked) -> tuple[Tensor, Tensor]:
        told, there = given(window, name, film)
        return probe(torch.asinh((told - mean) / spread))[..., 0], there

    optimiser = torch.optim.AdamW(probe.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for step in range(steps):
        chosen = np.random.default_rng([step, 1]).permutation(len(known))[:FILMS_PER_STEP]
        losses = []
        for number in chosen:
            guessed, there = read(known[number])
            apart = functional.mse_loss(guessed, there) * there.shape[2]
            losses.append(apart + functional.smooth_l1_loss(guessed.sum(2), there.sum(2)))
        torch.stack(losses).mean().backward()
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
    return scored(lambda film: read(film)[0], unseen)


def own_tally(model: VideoLM, film: Asked) -> Tensor:
    """Return how many things nano itself counts in each window, ``(Q, T', N)``."""
    return own_counts(model, film).density[..., 0].view(film.there.shape)


def ever_come(model: VideoLM, unseen: list[Asked]) -> dict[str, float]:
    """Return of each type in which share of the films nano's tally says how many ever come."""
    right: dict[str, list[float]] = {kind: [] for kind in TYPES}
    with torch.no_grad():
        for film in unseen:
            told = own_counts(model, film).in_all().argmax(-1).tolist()
            for kind, count, total in zip(film.types, told, film.totals, strict=True):
                right[kind].append(count == total)
    return {kind: float(np.mean(found)) for kind, found in right.items()}


def own_counts(model: VideoLM, film: Asked) -> Counted:
    """Return what nano's tally counts."""
    grid = film.grid.float().expand(len(film.relevance), -1, -1, -1, -1)
    with tallied(model) as counted:
        model.visual_tokens(grid, film.relevance)
    return counted[0]


def scored(count: Callable[[Asked], Tensor], unseen: list[Asked]) -> dict[str, float]:
    """Return of each type the share of held-out moments that are counted right."""
    right: dict[str, list[float]] = {kind: [] for kind in TYPES}
    with torch.no_grad():
        for film in unseen:
            guessed = count(film)
            # Two frames of a moment are told apart on the grid, so their mean is taken there.
            told = guessed.sum(2).view(len(guessed), film.there.shape[1], -1).mean(2)
            true = film.there.sum(2)
            whole = (true - true.round()).abs() < WHOLE
            hits = told.round() == true.round()
            for number, kind in enumerate(film.types):
                right[kind] += hits[number][whole[number]].float().tolist()
    return {kind: float(np.mean(found)) for kind, found in right.items()}


if __name__ == "__main__":
    main()
