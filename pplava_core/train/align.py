"""The first stage: the dual encoder learns which patches a text speaks of.

From the rendered world it may use the renderer's masks: a phrase must find the patches
of its thing among all patches of the clip, a patch must find its phrase among all
phrases, a question the patches it asks about. Without masks, and from plain pairs of
pictures and texts, only the contrast between whole clips and texts is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pplava_core.models.videolm import VideoLM
from pplava_core.shapes import questions as world
from pplava_core.shapes.film import film_for_training
from pplava_core.shapes.scene import COLOURS, KINDS, Scene, draw_scene, scene_seed
from pplava_core.train.pairs import PairSource
from pplava_core.train.recipe import Recipe

_FOUND, _COVERED = 0.15, 0.3
_PHRASE_FORMS = ("a {}", "the {}", "{}", "is there a {}?", "where is the {}?")
PAIRS = tuple(f"{colour} {kind}" for colour in COLOURS for kind in KINDS)


@dataclass(frozen=True, kw_only=True)
class AlignBatch:
    """A few clips, and texts that each speak of one of them."""

    frames: Tensor
    "``(C, T, 3, height, width)`` uint8."
    texts: list[str]
    clip_of: Tensor
    "``(N,)``: which clip each text is about."
    targets: Tensor | None
    "``(N, T, H, W)``: where each text's things are, sums to 1; None without masks."
    patch_labels: Tensor | None
    "``(C, T, H, W)``: number in `PAIRS` of the thing on a patch, -1 for none or unclear."

    def to(self, device: torch.device) -> AlignBatch:
        """Return the same batch on a device."""
        return AlignBatch(
            frames=self.frames.to(device),
            texts=self.texts,
            clip_of=self.clip_of.to(device),
            targets=None if self.targets is None else self.targets.to(device),
            patch_labels=None if self.patch_labels is None else self.patch_labels.to(device),
        )


class AlignStage:
    """What the loop needs of this stage: batches, a loss, a score.

    Args:
        recipe: says what to learn from.
        model: its tower and aligner are trained, nothing else.
    """

    trained = ("parts.tower.", "aligner.")

    def __init__(self, recipe: Recipe, model: VideoLM) -> None:
        self.recipe, self.model = recipe, model
        self.size = model.config.pixels.height
        self.grid = (model.parts.tower.rows,) * 2
        self.pairs = PairSource(recipe.data.path, model.config.pixels) if recipe.data.path else None

    def batch(self, number: int, split: str = "train") -> AlignBatch:
        """Return batch `number`, made from the recipe's seed and this number alone."""
        seed = np.random.SeedSequence([self.recipe.seed, number, len(split)])
        rng = np.random.default_rng(seed)
        data = self.recipe.data
        if self.pairs is not None:
            frames, texts = self.pairs.batch(rng, data.clips_per_step, data.frames_per_clip)
            return AlignBatch(
                frames=frames, texts=texts, clip_of=torch.arange(len(texts)),
                targets=None, patch_labels=None,
            )  # fmt: skip
        first = number * data.clips_per_step
        scenes = [
            draw_scene(scene_seed(split, self.recipe.seed, first + i))
            for i in range(data.clips_per_step)
        ]
        return self._rendered(scenes, rng)

    def loss(self, batch: AlignBatch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch and what it is made of."""
        batch = batch.to(self.model.device)
        patches = self._patches(batch.frames)
        texts = functional.normalize(self.model.embed_texts(batch.texts).float(), dim=-1)
        scale = self.model.aligner.logit_scale.exp().clamp(max=100.0)
        if batch.targets is None or batch.patch_labels is None:
            contrast = contrastive_loss(patches, texts, batch.clip_of, scale)
            return contrast, {"contrast": contrast.item()}
        grounding = grounding_loss(patches, texts, batch.clip_of, batch.targets, scale)
        naming = self._naming_loss(patches, batch.patch_labels, scale)
        return grounding + naming, {"grounding": grounding.item(), "naming": naming.item()}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return, on unseen scenes, how often the peak and how much relevance is on the thing."""
        on_thing, mass, named, counted = 0.0, 0.0, 0.0, 0
        for number in range(12):
            batch = self.batch(number, "validation").to(self.model.device)
            patches = self._patches(batch.frames)
            if batch.targets is None or batch.patch_labels is None:
                return {"contrast": self.loss(batch)[0].item()}
            texts = functional.normalize(self.model.embed_texts(batch.texts).float(), dim=-1)
            scale = self.model.aligner.logit_scale.exp().clamp(max=100.0)
            relevance = (patch_cosines(patches, texts, batch.clip_of) * scale).softmax(1)
            targets = batch.targets.flatten(1)
            asked = (targets == 0).any(1)
            hit = targets.gather(1, relevance.argmax(1, keepdim=True))[:, 0] > 0
            on_thing += hit[asked].float().sum().item()
            mass += (relevance * (targets > 0))[asked].sum().item()
            counted += int(asked.sum())
            named += self._kind_accuracy(patches, batch.patch_labels) / 12
        return {"peak": on_thing / counted, "mass": mass / counted, "kind": named}

    def _patches(self, frames: Tensor) -> Tensor:
        """Return unit patch embeddings ``(C, T, H, W, E)`` float32."""
        features = self.model.parts.tower(frames.flatten(0, 1))
        features = features.unflatten(0, frames.shape[:2])
        return functional.normalize(self.model.aligner.embed_patches(features).float(), dim=-1)

    def _naming_loss(self, patches: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
        """Cross-entropy of what a patch shows, among all pairs, colours and kinds."""
        shown = labels >= 0
        found, label = patches[shown], labels[shown]
        names = functional.normalize(
            self.model.embed_texts([*PAIRS, *COLOURS, *KINDS]).float(), dim=-1
        )
        pair, colour, kind = torch.split(names, [len(PAIRS), len(COLOURS), len(KINDS)])
        return (
            functional.cross_entropy(scale * found @ pair.T, label)
            + functional.cross_entropy(scale * found @ colour.T, label // len(KINDS))
            + functional.cross_entropy(scale * found @ kind.T, label % len(KINDS))
        )

    def _kind_accuracy(self, patches: Tensor, labels: Tensor) -> float:
        names = functional.normalize(self.model.embed_texts(list(KINDS)).float(), dim=-1)
        shown = labels >= 0
        guessed = (patches[shown] @ names.T).argmax(1)
        return (guessed == labels[shown] % len(KINDS)).float().mean().item()

    def _rendered(self, scenes: Sequence[Scene], rng: np.random.Generator) -> AlignBatch:
        frames, texts, clip_of, targets, labels = [], [], [], [], []
        data = self.recipe.data
        for number, scene in enumerate(scenes):
            moments = sorted(rng.uniform(0.01, 0.99, data.frames_per_clip).tolist())
            pictures, coverage = film_for_training(
                scene, moments, rng, size=self.size, grid=self.grid, codec_share=data.codec_share
            )
            frames.append(torch.from_numpy(pictures).permute(0, 3, 1, 2))
            labels.append(_label_patches(scene, coverage))
            spoken = _texts_about(scene, rng, data.questions_per_clip)
            for text, things in spoken:
                target = _target(coverage, things)
                if target is not None:
                    texts.append(text)
                    clip_of.append(number)
                    targets.append(target)
        if not data.masks:
            captions = [world.caption(scene, "short") for scene in scenes]
            return AlignBatch(
                frames=torch.stack(frames), texts=captions,
                clip_of=torch.arange(len(scenes)), targets=None, patch_labels=None,
            )  # fmt: skip
        return AlignBatch(
            frames=torch.stack(frames),
            texts=texts,
            clip_of=torch.tensor(clip_of),
            targets=torch.from_numpy(np.stack(targets)),
            patch_labels=torch.from_numpy(np.stack(labels)),
        )


def grounding_loss(
    patches: Tensor, texts: Tensor, clip_of: Tensor, targets: Tensor, scale: Tensor
) -> Tensor:
    """Return the cross-entropy between relevance (Eq. 1) and where the things are.

    Args:
        patches: ``(C, T, H, W, E)`` unit embeddings.
        texts: ``(N, E)`` unit embeddings.
        clip_of: ``(N,)`` which clip each text is about.
        targets: ``(N, T, H, W)`` that sum to 1.
        scale: inverse temperature.
    """
    logits = scale * patch_cosines(patches, texts, clip_of)
    return functional.cross_entropy(logits, targets.flatten(1))


def patch_cosines(patches: Tensor, texts: Tensor, clip_of: Tensor) -> Tensor:
    """Return ``(N, T H W)``: each text against the patches of its own clip.

    Every text meets every clip in one matrix product; that is cheaper than a copy of the
    patches for each text.
    """
    every = patches.flatten(1, 3) @ texts.T
    return every[clip_of, :, torch.arange(len(texts), device=every.device)]


def contrastive_loss(patches: Tensor, texts: Tensor, clip_of: Tensor, scale: Tensor) -> Tensor:
    """Return the symmetric contrast between clips and texts (as CLIP's), patches averaged.

    Args:
        patches: ``(C, T, H, W, E)``.
        texts: ``(C, E)``, one text a clip.
        clip_of: ``(C,)`` which clip each text is about.
        scale: inverse temperature.
    """
    clips = functional.normalize(patches.flatten(1, 3).mean(1), dim=-1)
    logits = scale * texts @ clips.T
    return (
        functional.cross_entropy(logits, clip_of)
        + functional.cross_entropy(logits[clip_of.argsort()].T, clip_of.sort().values)
    ) / 2


def _texts_about(
    scene: Scene, rng: np.random.Generator, count: int
) -> list[tuple[str, Sequence[int]]]:
    """Return phrases for single things and questions, each with the things it speaks of."""
    spoken: list[tuple[str, Sequence[int]]] = []
    for _ in range(count):
        thing = scene.things[int(rng.integers(len(scene.things)))]
        owners = [n for n, other in enumerate(scene.things) if other.phrase == thing.phrase]
        form = _PHRASE_FORMS[int(rng.integers(len(_PHRASE_FORMS)))]
        spoken.append((form.format(thing.phrase), owners))
    types = [world.TYPES[i] for i in rng.permutation(len(world.TYPES))[:count]]
    for question in world.ask(scene, rng, types):
        text = question.text
        if rng.random() < 0.2:
            text = world.with_lead_in(text, rng)
        spoken.append((text, question.targets))
    return spoken


def _target(coverage: np.ndarray, things: Sequence[int]) -> np.ndarray | None:
    """Return where the things are, summing to 1; even when there is no such thing at all."""
    if not things:
        shape = coverage.shape[1:]
        return np.full(shape, 1.0 / np.prod(shape), np.float32)
    shown = coverage[list(things)].sum(0)
    shown = np.where(shown >= _FOUND, shown, 0.0)
    total = shown.sum()
    return (shown / total).astype(np.float32) if total > 0 else None


def _label_patches(scene: Scene, coverage: np.ndarray) -> np.ndarray:
    numbers = np.array([PAIRS.index(thing.phrase) for thing in scene.things])
    most = coverage.argmax(0)
    return np.where(coverage.max(0) >= _COVERED, numbers[most], -1).astype(np.int64)
