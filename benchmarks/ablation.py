"""The paper's claim tested: ways of pooling trained on the same data for the same steps.

    pplava train --config configs/nano-align.toml
    python benchmarks/ablation.py runs/ablation --aligned runs/nano-align/model

Every run is a small language model that learns from the same films, seen by the same frozen
tower, for as many steps and through as many tokens; only the pooling differs. `--aligned` may
also be a whole model, of which the tower and the aligner are taken; with `--grown` every variant
goes on from its language model, too, which should know all ways of pooling (`pooled_in_turn.py`).
Pooled features are standardised per channel over the training set for every variant. A run that
is done is kept, one that was killed goes on: start the command again, also several at a time. The
table of all that is done is printed, and written into the folder as `table.json`.

Scored on held-out films by whether every token of the right answer is the likeliest one after
those before it, which is whether the greedy answer is right to the letter.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from pplava_core.atomic import replacing
from pplava_core.models.checkpoint import build_model, load_model, revision_of
from pplava_core.models.config import VideoLMConfig
from pplava_core.models.videolm import VideoLM
from pplava_core.train import Recipe, rebuilt
from pplava_core.train.batches import InstructBatch
from pplava_core.train.instruct import VALIDATION_COUNTS, InstructStage
from pplava_core.train.loop import precision_here, train
from pplava_core.train.recipe import Data, Optimiser
from pplava_core.window import Window

NANO = {"weighting": "window", "tells_magnitude": True}
VARIANTS: dict[str, dict[str, Any]] = {
    "average": {"weighting": "average"},
    "window": {"weighting": "window"},
    "authors": {"weighting": "authors"},
    "literal": {"weighting": "literal"},
    "apart": NANO,
    "apart, average beside it": {**NANO, "tells_average": True},
    "average and magnitude": {"weighting": "average", "tells_magnitude": True},
    "max": {"weighting": "max"},
    "none": {"weighting": "none"},
    "apart, shuffled question": NANO,
    "apart, masks as relevance": NANO,
    "literal, shuffled question": {"weighting": "literal"},
    "literal, masks as relevance": {"weighting": "literal"},
    "apart, aligner without masks": NANO,
    "literal, aligner without masks": {"weighting": "literal"},
}
UNMASKED = "aligner without masks"
RELEVANCE = {"shuffled question": "shuffled", "masks as relevance": "masks"}
CORE = (
    "average", "window", "authors", "literal", "apart", "apart, shuffled question",
    "apart, masks as relevance",
)  # fmt: skip
FRAMES = 16
LEARNING_RATE, GROWN_LEARNING_RATE = 1.5e-3, 7e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One variant, one kernel, so many frames a film, one seed."""

    variant: str
    kernel: tuple[int, int, int]
    frames: int
    seed: int

    @property
    def name(self) -> str:
        variant = self.variant.replace(", ", "-").replace(" ", "-")
        return f"{self.frames}-{'x'.join(map(str, self.kernel))}-{variant}-{self.seed}"


class OnceScoredStage(InstructStage):
    """Leaves scoring to what comes after training, which keeps every type and kind of film.

    Relevance may come from another aligner than the one that tells what pooled patches show.
    """

    pointing: Any = None

    def evaluate(self) -> dict[str, float]:
        return {}

    def _cosines(self, batch: InstructBatch) -> Tensor:
        own = self.video.aligner
        if self.pointing is None:
            return super()._cosines(batch)
        self.video.aligner = self.pointing
        try:
            cosines = super()._cosines(batch)
        finally:
            self.video.aligner = own
        # Both are multiplied by the own aligner's scale later.
        return cosines * (self.pointing.logit_scale - own.logit_scale).exp()


class UnpooledStage(OnceScoredStage):
    """Reads all the patches of a clip once for all of its questions, since none of them pools.

    What the questions see and learn is the same as with a row for each pack, at a fraction of
    the price.
    """

    def batch(self, number: int) -> InstructBatch:
        return one_row_per_clip(super().batch(number))

    def hits(self, batch: InstructBatch) -> list[tuple[str, bool]]:
        return super().hits(one_row_per_clip(batch))


def one_row_per_clip(batch: InstructBatch) -> InstructBatch:
    """Put the packs of each clip into one."""
    together: dict[int, list[int]] = defaultdict(list)
    for number, pack in enumerate(batch.packs):
        together[pack.clip].append(number)
    packs = []
    for numbers in together.values():
        own = [batch.packs[number] for number in numbers]
        questions = tuple(question for pack in own for question in pack.questions)
        targets = tuple(sorted({target for pack in own for target in pack.targets}))
        packs.append(dataclasses.replace(own[0], questions=questions, targets=targets))
    firsts = [numbers[0] for numbers in together.values()]
    return dataclasses.replace(batch, packs=tuple(packs), targets=batch.targets[firsts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where runs and tables go")
    parser.add_argument("--aligned", type=Path, required=True, help="whose tower and aligner")
    parser.add_argument("--unmasked", type=Path, help="model that `unmasked_aligner.py` made")
    parser.add_argument("--features", type=Path, help="grids to share with other runs")
    parser.add_argument("--variant", action="append", choices=list(VARIANTS), help="[the core]")
    parser.add_argument("--kernel", action="append", help="T,H,W; may be repeated [2,6,6 2,3,3]")
    parser.add_argument(
        "--frames", type=int, default=FRAMES, help="of a film; with fewer, no long ones"
    )
    parser.add_argument("--seed", type=int, action="append", help="may be repeated [0 1 2]")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--clips", type=int, default=9000)
    parser.add_argument("--long-clips", type=int, default=900)
    parser.add_argument("--scenes-seed", type=int, default=1, help="which films")
    parser.add_argument("--grown", action="store_true", help="go on from its language model")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only show what is done")
    chosen = parser.parse_args()
    if chosen.unmasked is None and any(v.endswith(UNMASKED) for v in chosen.variant or ()):
        parser.error("variants without masks need --unmasked, a model of unmasked_aligner.py")
    chosen.precision = precision_here(chosen.precision)  # a run that goes on must not change it
    torch.set_num_threads(chosen.threads)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    kernels = [Window.parse(kernel).kernel for kernel in chosen.kernel or ("2,6,6", "2,3,3")]
    runs = [
        Run(variant=variant, kernel=kernel, frames=chosen.frames, seed=seed)
        for kernel in kernels
        for seed in chosen.seed or range(3)
        for variant in chosen.variant or CORE
    ]
    for run in () if chosen.table else runs:
        _do(run, chosen)
    show(chosen.folder)


def _do(run: Run, chosen: argparse.Namespace) -> None:
    """Train and score a run unless it is done, or another process is at it."""
    folder = chosen.folder / run.name
    folder.mkdir(exist_ok=True)
    result = folder / "result.json"
    try:
        with FileLock(folder / "lock", timeout=0):
            recipe = _recipe(run, folder, chosen)
            if result.exists() and json.loads(result.read_text())["settings"] != recipe.text:
                raise SystemExit(f"{folder} was run with other settings; take another folder")
            if not result.exists():
                print(f"{run.name} …", flush=True)
                measured = _measure(run, recipe, chosen) | {"settings": recipe.text}
                with replacing(result) as temporary:
                    temporary.write_text(json.dumps(dataclasses.asdict(run) | measured, indent=1))
    except Timeout:
        print(f"{run.name}: another process is at it", flush=True)


def data_of(chosen: argparse.Namespace, *, takes_long: bool, relevance: str = "question") -> Data:
    """Say what every variant learns from."""
    return Data(
        clips=chosen.clips,
        clips_per_step=6,
        packs_per_clip=2,
        questions_per_clip=8,
        still_share=0.05,
        long_clips=chosen.long_clips if takes_long else 0,
        long_share=0.2 if takes_long else 0.0,
        history_share=0.0,
        long_prompt_share=0.0,
        coarse_share=0.0,
        codec_share=0.2,
        features=str(chosen.features or chosen.folder / "features"),
        scenes_seed=chosen.scenes_seed,
        relevance=relevance,
    )


def _recipe(run: Run, folder: Path, chosen: argparse.Namespace) -> Recipe:
    relevance = RELEVANCE.get(run.variant.partition(", ")[2], "question")
    # Without pooling a long film would be seven thousand tokens.
    takes_long = run.variant != "none" and run.frames == FRAMES
    data = data_of(chosen, takes_long=takes_long, relevance=relevance)
    revisions = revision_of(chosen.aligned)
    if run.variant.endswith(UNMASKED):
        revisions = f"{revisions} {revision_of(chosen.unmasked)}"
    rate = GROWN_LEARNING_RATE if chosen.grown else LEARNING_RATE
    # The text tower stays as it was aligned, so that every variant has the same relevance.
    optimiser = Optimiser(learning_rate=rate, weight_decay=0.02, text_tower_rate=0.0)
    known = dataclasses.replace(data, features=None)
    settings = f"{run} {chosen.steps} {chosen.precision} {optimiser} {known} {revisions}"
    return Recipe(
        stage="instruct",
        output=str(folder),
        initial=str(chosen.aligned),
        seed=run.seed,
        steps=chosen.steps,
        precision=chosen.precision,
        evaluate_every=chosen.steps,
        save_every=500,
        optimiser=optimiser,
        data=data,
        text=settings,
    )


def pooling_changes(
    variant: str, kernel: tuple[int, int, int], frames: int = FRAMES
) -> dict[str, Any]:
    """Return the settings of a model's config that a variant changes."""
    window = {"kernel": (1, 1, 1) if variant == "none" else kernel}
    return {
        "tells_magnitude": False,
        "tells_average": False,
        "tells_count": False,
        "tells_list": False,
        **VARIANTS[variant],
        "window": window,
        "image_window": {"kernel": (1, *window["kernel"][1:])},
        "most_time_steps": 8,
        "num_frames": frames,
    }


def continued(learned: VideoLM, changes: dict[str, Any]) -> VideoLM:
    """Return a model that pools in another way and keeps all else that one has learned."""
    config = VideoLMConfig.from_dict({**learned.config.to_dict(), **changes})
    model = build_model(config, learned.words.tokenizer)
    own = model.state_dict()
    known = {name: value for name, value in learned.state_dict().items() if name in own}
    model.load_state_dict({**own, **known})
    model.parts.scale.mean.zero_()  # to be measured for this way
    return model


def _measure(run: Run, recipe: Recipe, chosen: argparse.Namespace) -> dict[str, Any]:
    """Train one model and return what it gets right."""
    aligned = load_model(chosen.aligned)
    changes = pooling_changes(run.variant, run.kernel, run.frames)
    model = continued(aligned, changes) if chosen.grown else rebuilt(aligned, changes, run.seed)
    stage = (UnpooledStage if run.variant == "none" else OnceScoredStage)(recipe, model)
    if run.variant.endswith(UNMASKED):  # of the same tower; standardised as by the own aligner
        stage.pointing = load_model(chosen.unmasked).aligner
    started = time.monotonic()
    train(stage, recipe)
    seconds = time.monotonic() - started
    model.eval()
    hits: dict[str, dict[str, list[bool]]] = {}
    for kind in stage.validation.kinds.keys() - {"stills"}:
        found: dict[str, list[bool]] = defaultdict(list)
        for first in range(0, VALIDATION_COUNTS[kind], 8):
            with torch.no_grad():
                for name, hit in stage.hits(stage.validation_batch(kind, first)):
                    found[name].append(hit)
        hits[kind] = found
    return {
        "steps": recipe.steps,
        "seconds": round(seconds, 1),
        "tokens": math.prod(model.config.window.output_size((run.frames, 12, 12))),
        **{
            kind: {name: [sum(each), len(each)] for name, each in found.items()}
            for kind, found in sorted(hits.items())
        },
    }


def show(folder: Path) -> None:
    """Print and write the table of all runs that are done: mean over types, spread over seeds."""
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*/result.json"))]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        groups[(result["frames"], *result["kernel"], result["variant"])].append(result)
    table = [_line(key, found) for key, found in groups.items()]
    with replacing(folder / "table.json") as temporary:
        temporary.write_text(json.dumps(table, indent=1) + "\n")
    print("| frames | kernel | variant | tokens | seeds | plain | redundant | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for line in sorted(
        table, key=lambda one: (one["frames"], one["kernel"], -one["plain"]["mean"])
    ):
        print(
            f"| {line['frames']} | {line['kernel']} | {line['variant']} | {line['tokens']} "
            f"| {line['seeds']} | {_shown(line['plain'])} | {_shown(line['redundant'])} "
            f"| {line['seconds']:.0f} |"
        )


def _shown(measured: dict[str, Any]) -> str:
    """Return a mean and, over several seeds, their standard deviation."""
    if math.isnan(measured["mean"]):
        return "–"
    spread = f" ± {measured['spread']:.1%}" if len(measured["each"]) > 1 else ""
    return f"{measured['mean']:.1%}{spread}"


def _line(key: tuple[Any, ...], found: list[dict[str, Any]]) -> dict[str, Any]:
    frames, *kernel, variant = key
    types = sorted({name for one in found for name in one["films"]})
    return {
        "frames": frames,
        "kernel": "×".join(map(str, kernel)),
        "variant": variant,
        "tokens": found[0]["tokens"],
        "seeds": len(found),
        "plain": _over_seeds(_mean(one["films"].values()) for one in found),
        "redundant": _over_seeds(_mean(one["long"].values()) for one in found if "long" in one),
        "types": {
            name: _over_seeds(_mean([one["films"][name]]) for one in found if name in one["films"])
            for name in types
        },
        "seconds": statistics.mean(one["seconds"] for one in found),
    }


def _mean(counts: Iterable[list[int]]) -> float:
    """Return the mean over types of the share that is right."""
    return statistics.mean(hits / count for hits, count in counts)


def _over_seeds(values: Iterable[float]) -> dict[str, Any]:
    each = list(values) or [math.nan]
    spread = statistics.stdev(each) if len(each) > 1 else 0.0
    return {"mean": statistics.mean(each), "spread": spread, "each": each}


if __name__ == "__main__":
    main()
