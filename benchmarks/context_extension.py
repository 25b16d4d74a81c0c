"""Ways to let a text tower read long prompts (Eq. 4), compared on where it looks.

    python benchmarks/context_extension.py runs/context.json \
        --aligned pplava_core/models/embedded/nano --features runs/features

A text tower of 77 positions learns from nothing, on texts that fit, which patches of a frozen
tower each speaks of, with the renderer's masks. Then its table of positions is stretched in
every way, and each learns on for a while, half of its texts now too long for 77. Measured on
held-out films: how often the peak of the relevance is on the thing asked for, by a short question
and by the same one after a hundred words, before the long texts are learned and after. "none" is
not stretched: it reads the first 77 tokens.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from unmasked_aligner import film_stores, named_questions, point

from pplava_core.atomic import replacing
from pplava_core.context import EXTENSIONS
from pplava_core.models.checkpoint import build_model, load_model
from pplava_core.models.videolm import VideoLM
from pplava_core.shapes.prompts import long_prompt
from pplava_core.shapes.scene import Scene
from pplava_core.train.align import grounding_loss, target_map
from pplava_core.train.features import FeatureStore

SHORT_POSITIONS = 77
CLIPS_PER_STEP, FRAMES, TEXTS_PER_CLIP = 8, 6, 3
LEARNING_RATE, LONG_LEARNING_RATE = 1e-3, 5e-4
_FITTING_DICE, _LONG_DICE = 7, 14
"Part the dice of the two times of learning."
_WORDY_SHARE = 0.25
Wording = Callable[[str, Scene, np.random.Generator], str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="where the figures go")
    parser.add_argument("--aligned", type=Path, required=True, help="whose tower and patch head")
    parser.add_argument("--features", type=Path, required=True, help="grids of the ablation")
    parser.add_argument("--clips", type=int, default=4500)
    parser.add_argument("--scenes-seed", type=int, default=7, help="which films")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500, help="on texts that fit")
    parser.add_argument("--long-steps", type=int, default=300, help="with long ones among them")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    aligned = load_model(chosen.aligned)
    store, held_out = film_stores(aligned, chosen.features, chosen.clips, chosen.scenes_seed)
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(chosen.seeds):
        short = short_sighted(aligned, seed)
        learn(short, store, fitting, chosen.steps, LEARNING_RATE, [seed, _FITTING_DICE])
        for how in ("none", *EXTENSIONS):
            model = copy.deepcopy(short)
            if how != "none":
                model.aligner.extend_context(how=how, generator=torch.Generator().manual_seed(seed))
            measured = {"before": _peaks(model, held_out)}
            learn(
                model,
                store,
                long_and_short,
                chosen.long_steps,
                LONG_LEARNING_RATE,
                [seed, _LONG_DICE],
            )
            measured["after"] = _peaks(model, held_out)
            flat = {f"{k} {n}": v for k, each in measured.items() for n, v in each.items()}
            found.setdefault(how, []).append(flat)
            print(f"seed {seed}, {how}: {flat}", flush=True)
    with replacing(chosen.table) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")
    _show(found)


def short_sighted(aligned: VideoLM, seed: int) -> VideoLM:
    """Return a model with the same tower and patch head, and a new text tower of 77 positions."""
    torch.manual_seed(seed)
    text = {**aligned.config.aligner["text"], "context_length": SHORT_POSITIONS}
    config = dataclasses.replace(aligned.config, aligner={**aligned.config.aligner, "text": text})
    model = build_model(config, aligned.words.tokenizer)
    model.parts.tower.load_state_dict(aligned.parts.tower.state_dict())
    model.aligner.patches.load_state_dict(aligned.aligner.patches.state_dict())
    model.aligner.logit_scale.data.copy_(aligned.aligner.logit_scale.data)
    return model


def learn(
    model: VideoLM, store: FeatureStore, worded: Wording, steps: int, rate: float, dice: list[int]
) -> None:
    """Train the text tower on which patches a text speaks of; all else stays as it is."""
    parameters = list(model.aligner.text.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    scale = model.aligner.logit_scale.detach().exp()
    for step in range(steps):
        rng = np.random.default_rng([dice[0], step, dice[1]])
        numbers = rng.permutation(store.kinds["films"].count)[:CLIPS_PER_STEP]
        frames = np.sort(rng.permutation(store.kinds["films"].frames)[:FRAMES])
        texts, clip_of, targets = [], [], []
        for clip, number in enumerate(numbers):
            scene = store.scene("films", int(number))
            coverage = store.coverage["films"][number][:, frames].astype(np.float32) / 255
            asked = named_questions(scene, rng)
            for index in rng.permutation(len(asked))[:TEXTS_PER_CLIP]:
                target = target_map(coverage, asked[index].targets)
                if target is not None:
                    texts.append(worded(asked[index].text, scene, rng))
                    clip_of.append(clip)
                    targets.append(target)
        features = np.stack([store.features["films"][n][frames] for n in numbers])
        with torch.no_grad():
            patches = functional.normalize(
                model.embed_patches(torch.from_numpy(features).float()), dim=-1
            )
        embedded = functional.normalize(model.embed_texts(texts), dim=-1)
        goals = torch.from_numpy(np.stack(targets)).float()
        loss = grounding_loss(patches, embedded, torch.tensor(clip_of), goals, scale)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {loss.detach():.3f}", flush=True)


def fitting(question: str, scene: Scene, rng: np.random.Generator) -> str:
    """Say now and then a sentence or two before a question, of which all fits into 77 tokens."""
    if rng.random() >= _WORDY_SHARE:
        return question
    return _behind(question, scene, rng, sentences=int(rng.integers(1, 3)))


def long_and_short(question: str, scene: Scene, rng: np.random.Generator) -> str:
    """Say a hundred words before every second question."""
    return _behind(question, scene, rng) if rng.random() < 0.5 else question


def _behind(
    question: str, scene: Scene, rng: np.random.Generator, sentences: int | None = None
) -> str:
    others = [f"the {thing.phrase}" for thing in scene.things]
    return long_prompt(question, rng, distractors=others, sentences=sentences)


def _peaks(model: VideoLM, store: FeatureStore) -> dict[str, float]:
    """Return how often the peak is on the thing, asked for shortly and behind many words."""
    return {
        "short": point(model, store)[0],
        "long": point(model, store, worded=_behind)[0],
    }


def _show(found: dict[str, list[dict[str, float]]]) -> None:
    columns = list(next(iter(found.values()))[0])
    print(f"| stretched | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for how, seeds in found.items():
        cells = [_shown([one[column] for one in seeds]) for column in columns]
        print(f"| {how} | {' | '.join(cells)} |")


def _shown(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1%}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1%}{spread}"


if __name__ == "__main__":
    main()
