"""An aligner that was never shown a mask, for the tower of one that was.

    python benchmarks/unmasked_aligner.py runs/unmasked --aligned runs/nano-align/model

nano's alignment uses the renderer's masks, which is supervision that CLIP never had. This makes
the control for `ablation.py`: text tower and patch head start anew and learn from films and
texts alone, which text belongs to which film (`text_clip_scores`: the relevance that falls on a
film is its score). The tower stays as it is, so that both aligners look at the same patches.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pplava_core.models.checkpoint import build_model, load_model, save_model
from pplava_core.models.videolm import VideoLM
from pplava_core.shapes import questions as world
from pplava_core.shapes.scene import Scene
from pplava_core.train.align import patch_cosines, target_map
from pplava_core.train.align_base import text_clip_scores
from pplava_core.train.features import FeatureStore
from pplava_core.train.loop import precision_here
from pplava_core.train.recipe import Data, Optimiser, Recipe

CLIPS_PER_STEP, FRAMES = 24, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the model goes")
    parser.add_argument("--aligned", type=Path, required=True, help="model of the align stage")
    parser.add_argument("--features", type=Path, required=True, help="grids of the ablation")
    parser.add_argument("--clips", type=int, default=6000)
    parser.add_argument("--scenes-seed", type=int, default=1, help="which films")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    torch.manual_seed(chosen.seed)
    aligned = load_model(chosen.aligned)
    model = build_model(aligned.config, aligned.words.tokenizer)
    model.parts.tower.load_state_dict(aligned.parts.tower.state_dict())
    store, held_out = film_stores(model, chosen.features, chosen.clips, chosen.scenes_seed)
    learn(model, store, chosen.steps, chosen.seed)
    for name, judged in (("with masks", aligned), ("without masks", model)):
        peak, mass, chance = point(judged, held_out)
        print(
            f"{name}: peak on the thing {peak:.1%}, relevance on it {mass:.1%}; even {chance:.1%}"
        )
    training = {**aligned.config.training}
    training["align"] = {**training["align"], "masks": False, "tower": "trained with masks"}
    model.config = dataclasses.replace(model.config, training=training)
    save_model(model, chosen.folder)


def film_stores(
    model: VideoLM, features: Path, clips: int, scenes_seed: int
) -> tuple[FeatureStore, FeatureStore]:
    """Return the ablation's films to learn from, and held-out ones."""
    recipe = Recipe(
        stage="instruct", output=str(features), initial="", seed=scenes_seed, steps=1,
        optimiser=Optimiser(learning_rate=1e-3),
        data=Data(features=str(features), scenes_seed=scenes_seed, codec_share=0.2),
    )  # fmt: skip
    films = clips - round(clips * 0.05)
    return (
        FeatureStore(recipe, model, "train", {"films": films}),
        FeatureStore(recipe, model, "validation", {"films": 160}),
    )


def learn(model: VideoLM, store: FeatureStore, steps: int, seed: int) -> None:
    """Train text tower and patch head on which text belongs to which film."""
    parameters = list(model.aligner.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps)
    for step in range(steps):
        rng = np.random.default_rng([seed, step])
        numbers = rng.permutation(store.kinds["films"].count)[:CLIPS_PER_STEP]
        frames = np.sort(rng.permutation(store.kinds["films"].frames)[:FRAMES])
        features = np.stack([store.features["films"][n][frames] for n in numbers])
        texts = [_text(store.scene("films", int(n)), rng) for n in numbers]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision_here("auto") == "bf16"):
            patches = model.embed_patches(torch.from_numpy(features).float()).float()
            embedded = model.embed_texts(texts).float()
        patches = functional.normalize(patches, dim=-1).flatten(1, 3)
        scale = model.aligner.logit_scale.exp().clamp(max=100.0)
        scores = text_clip_scores(patches, functional.normalize(embedded, dim=-1), scale)
        own = torch.arange(len(scores))
        loss = functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)
        loss.backward()
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if (step + 1) % 200 == 0:
            found = (scores.argmax(1) == own).float().mean()
            print(f"step {step + 1}: loss {loss.detach():.3f}, found {found:.2f}", flush=True)


def _text(scene: Scene, rng: np.random.Generator) -> str:
    """Return a phrase for one thing of a scene, or a question about it."""
    thing = scene.things[int(rng.integers(len(scene.things)))]
    if rng.random() < 0.5:
        return f"the {thing.phrase}"
    named = named_questions(scene, rng, world.STATIC_TYPES)
    return named[int(rng.integers(len(named)))].text if named else f"the {thing.phrase}"


def named_questions(
    scene: Scene, rng: np.random.Generator, types: Sequence[str] = world.TYPES
) -> list[world.Question]:
    """Ask about a scene; return the questions that name a thing which is there."""
    return [q for q in world.ask(scene, rng, types) if q.named and q.targets]


@torch.no_grad()
def point(
    model: VideoLM,
    store: FeatureStore,
    worded: Callable[[str, Scene, np.random.Generator], str] | None = None,
) -> tuple[float, float, float]:
    """Return how often the peak is on the thing asked for, the relevance on it, and its size.

    Args:
        model: whose aligner points.
        store: held-out films.
        worded: says a question in another way.
    """
    hits, masses, sizes = [], [], []
    for number in range(store.kinds["films"].count):
        rng = np.random.default_rng([number, 3])
        scene = store.scene("films", number)
        asked = named_questions(scene, rng)
        if not asked:
            continue
        features = torch.from_numpy(store.features["films"][number][None]).float()
        patches = functional.normalize(model.embed_patches(features), dim=-1)
        said = [q.text if worded is None else worded(q.text, scene, rng) for q in asked]
        texts = functional.normalize(model.embed_texts(said), dim=-1)
        cosines = patch_cosines(patches, texts, torch.zeros(len(asked), dtype=torch.long))
        relevance: Tensor = (model.aligner.logit_scale.exp() * cosines).softmax(-1)
        coverage = store.coverage["films"][number].astype(np.float32) / 255
        for question, weights in zip(asked, relevance, strict=True):
            shown = target_map(coverage, question.targets)
            if shown is None:
                continue
            on = torch.from_numpy(coverage[list(question.targets)].max(0) > 0).flatten()
            hits.append(bool(on[weights.argmax()]))
            masses.append(float(weights[on].sum()))
            sizes.append(float(on.float().mean()))
    return tuple(float(np.mean(each)) for each in (hits, masses, sizes))  # type: ignore[return-value]


if __name__ == "__main__":
    main()
