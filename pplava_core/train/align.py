"""The first stage: the dual encoder learns which patches a text speaks of.

From the rendered world it may use the renderer's masks: a phrase must find the patches
of its thing among all patches of the clip, a patch must find its phrase among all
phrases, a question the patches it asks about; and small heads that are thrown away
afterwards must read off a patch where the middle of its thing is and how large it is, so
that things can be told apart and counted. Without masks, and from plain pairs of pictures
and texts, only the contrast between whole clips and texts is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pplava_core.models.backbones.nano_tokens import zero_linear
from pplava_core.models.videolm import VideoLM
from pplava_core.shapes import questions as world
from pplava_core.shapes.drawing import draw_redundant_scene, draw_scene
from pplava_core.shapes.film import film_for_training
from pplava_core.shapes.prompts import with_lead_in
from pplava_core.shapes.scene import COLOURS, DIGITS, KINDS, LETTERS, Scene, Thing, scene_seed
from pplava_core.train.layout import SIZE, counts_told, lay_out, layout_loss
from pplava_core.train.pairs import PairSource
from pplava_core.train.recipe import Recipe

_FOUND, _COVERED = 0.15, 0.3
_PHRASE_FORMS = ("a {}", "the {}", "{}", "is there a {}?", "where is the {}?")
PAIRS = tuple(f"{colour} {kind}" for colour in COLOURS for kind in KINDS)
MARKS = {
    "smile": "a smile",
    "frown": "a frown",
    **{digit: f"the digit {digit}" for digit in DIGITS},
    **{letter: f"the letter {letter.lower()}" for letter in LETTERS},
}
"What is drawn on things, and how a text calls it."
_MARKS_SHARE = 2.0
"Marks are small and few, and learned last."
_REDUNDANT_EVERY = 6
"One scene in so many is one of the long ones, whose small things are worth knowing."


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
    mark_labels: Tensor | None = None
    "``(C, T, H, W)``: number in `MARKS` of what is drawn on that thing, -1 for nothing."
    layout: Tensor | None = None
    "``(C, T, H, W, SIZE)``, see `lay_out`."

    def to(self, device: torch.device) -> AlignBatch:
        """Return the same batch on a device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if torch.is_tensor(value)
        }
        return replace(self, **moved)


class Learner(nn.Module):
    """A model, and heads that help its tower to learn and are no part of it."""

    def __init__(self, video: VideoLM) -> None:
        super().__init__()
        self.video = video
        self.layout = zero_linear(video.config.tower["vision"]["hidden_size"], SIZE)


class AlignStage:
    """What the loop needs of this stage: batches, a loss, a score.

    Args:
        recipe: says what to learn from.
        model: its tower and aligner are trained, nothing else.
    """

    trained = ("video.parts.tower.", "video.aligner.", "layout.")

    def __init__(self, recipe: Recipe, model: VideoLM) -> None:
        self.recipe, self.video = recipe, model
        self.model = Learner(model)
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
        numbers = range(first, first + data.clips_per_step)
        scenes = [drawn_scene(split, self.recipe.seed, one) for one in numbers]
        return self._rendered(scenes, rng)

    def loss(self, batch: AlignBatch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch and what it is made of."""
        batch = batch.to(self.video.device)
        features = self._features(batch.frames)
        patches = self._unit_patches(features)
        scale = self.video.aligner.logit_scale.exp().clamp(max=100.0)
        if batch.targets is None or batch.patch_labels is None:
            contrast = contrastive_loss(
                patches, self._unit_texts(batch.texts), batch.clip_of, scale
            )
            return contrast, {"contrast": contrast.item()}
        names = [*PAIRS, *COLOURS, *KINDS, *MARKS.values()]
        every = self._unit_texts([*batch.texts, *names])
        texts, named = every[: len(batch.texts)], every[len(batch.texts) :]
        grounding = grounding_loss(patches, texts, batch.clip_of, batch.targets, scale)
        naming = _naming_loss(patches, named, batch, scale)
        assert batch.layout is not None
        layout = layout_loss(self.model.layout(features).float(), batch.layout, batch.patch_labels)
        parts = {"grounding": grounding.item(), "naming": naming.item(), "layout": layout.item()}
        return grounding + naming + layout, parts

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return how well unseen scenes are seen.

        How often the peak and how much of the relevance is on the thing asked for, how many
        patches tell its kind, and in how many frames all things are counted right.
        """
        on_thing, mass, counted = 0.0, 0.0, 0
        named: list[Tensor] = []
        counts: list[Tensor] = []
        for number in range(12):
            batch = self.batch(number, "validation").to(self.video.device)
            features = self._features(batch.frames)
            patches = self._unit_patches(features)
            if batch.targets is None or batch.patch_labels is None:
                return {"contrast": self.loss(batch)[0].item()}
            texts = self._unit_texts(batch.texts)
            scale = self.video.aligner.logit_scale.exp().clamp(max=100.0)
            relevance = (patch_cosines(patches, texts, batch.clip_of) * scale).softmax(1)
            targets = batch.targets.flatten(1)
            asked = (targets == 0).any(1)
            hit = targets.gather(1, relevance.argmax(1, keepdim=True))[:, 0] > 0
            on_thing += hit[asked].float().sum().item()
            mass += (relevance * (targets > 0))[asked].sum().item()
            counted += int(asked.sum())
            named.append(self._kinds_told(patches, batch.patch_labels))
            assert batch.layout is not None
            told = counts_told(self.model.layout(features).float())
            counts.append((told - counts_told(batch.layout)).abs()[..., 0] < 0.5)
        return {
            "peak": on_thing / counted,
            "mass": mass / counted,
            "kind": torch.cat(named).float().mean().item(),
            "counted": torch.cat(counts).float().mean().item(),
        }

    def _features(self, frames: Tensor) -> Tensor:
        """Return the tower's ``(C, T, H, W, D)``."""
        features: Tensor = self.video.parts.tower(frames.flatten(0, 1))
        return features.view(*frames.shape[:2], *features.shape[1:])

    def _unit_patches(self, features: Tensor) -> Tensor:
        """Return unit patch embeddings ``(C, T, H, W, E)`` float32."""
        return functional.normalize(self.video.aligner.embed_patches(features).float(), dim=-1)

    def _unit_texts(self, texts: Sequence[str]) -> Tensor:
        return functional.normalize(self.video.embed_texts(texts).float(), dim=-1)

    def _kinds_told(self, patches: Tensor, labels: Tensor) -> Tensor:
        """Return of each patch that shows a thing whether the thing's kind fits it best."""
        names = self._unit_texts(KINDS)
        shown = labels >= 0
        guessed = (patches[shown] @ names.T).argmax(1)
        return guessed == labels[shown] % len(KINDS)

    def _rendered(self, scenes: Sequence[Scene], rng: np.random.Generator) -> AlignBatch:
        frames, texts, clip_of, targets, labels, marks, layouts = [], [], [], [], [], [], []
        data = self.recipe.data
        for number, scene in enumerate(scenes):
            moments = drawn_moments(scene, rng, data.frames_per_clip)
            pictures, coverage = film_for_training(
                scene, moments, rng, size=self.size, grid=self.grid, codec_share=data.codec_share
            )
            frames.append(torch.from_numpy(pictures).permute(0, 3, 1, 2))
            labels.append(_label_patches(scene, coverage, _pair_number))
            marks.append(_label_patches(scene, coverage, _mark_number))
            layouts.append(lay_out(scene, coverage, moments))
            spoken = _texts_about(scene, rng, data.questions_per_clip)
            for text, things in spoken:
                target = target_map(coverage, things)
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
            mark_labels=torch.from_numpy(np.stack(marks)),
            layout=torch.from_numpy(np.stack(layouts)),
        )


def drawn_scene(split: str, seed: int, number: int) -> Scene:
    """Draw a scene of a split by its number, now and then a long one of which little matters."""
    drawn = draw_redundant_scene if number % _REDUNDANT_EVERY == 0 else draw_scene
    return drawn(scene_seed(split, seed, number))


def drawn_moments(scene: Scene, rng: np.random.Generator, count: int) -> list[float]:
    """Draw moments, some of them while something short is there to be seen."""
    moments = rng.uniform(0.01, 0.99, count)
    key = scene.things[0]
    if key.vanishes - key.appears < 0.5:
        moments[0] = rng.uniform(key.appears, key.vanishes)
    return sorted(moments.tolist())


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
            text = with_lead_in(text, rng)
        spoken.append((text, question.targets))
    return spoken


def target_map(coverage: np.ndarray, things: Sequence[int]) -> np.ndarray | None:
    """Return where things are, ``(T, H, W)`` that sums to 1, from coverage ``(things, T, H, W)``.

    Even when there is no such thing at all; None when they are never seen.
    """
    if not things:
        shape = coverage.shape[1:]
        return np.full(shape, 1.0 / np.prod(shape), np.float32)
    shown = coverage[list(things)].sum(0)
    shown = np.where(shown >= _FOUND, shown, 0.0)
    total = shown.sum()
    return (shown / total).astype(np.float32) if total > 0 else None


def _pair_number(thing: Thing) -> int:
    return PAIRS.index(thing.phrase)


def _mark_number(thing: Thing) -> int:
    return list(MARKS).index(thing.mark) if thing.mark else -1


def _label_patches(
    scene: Scene, coverage: np.ndarray, number_of: Callable[[Thing], int]
) -> np.ndarray:
    """Return a number of the thing that covers each patch, ``(T, H, W)``, -1 for no thing."""
    numbers = np.array([number_of(thing) for thing in scene.things])
    most = coverage.argmax(0)
    return np.where(coverage.max(0) >= _COVERED, numbers[most], -1).astype(np.int64)


def _naming_loss(patches: Tensor, names: Tensor, batch: AlignBatch, scale: Tensor) -> Tensor:
    """Cross-entropy of what a patch shows, among all pairs, colours, kinds and marks."""
    assert batch.patch_labels is not None
    assert batch.mark_labels is not None
    sizes = [len(PAIRS), len(COLOURS), len(KINDS), len(MARKS)]
    pair, colour, kind, mark = torch.split(names, sizes)
    shown, marked = batch.patch_labels >= 0, batch.mark_labels >= 0
    found, label = scale * patches[shown], batch.patch_labels[shown]
    loss = (
        functional.cross_entropy(found @ pair.T, label)
        + functional.cross_entropy(found @ colour.T, label // len(KINDS))
        + functional.cross_entropy(found @ kind.T, label % len(KINDS))
    )
    if marked.any():
        said = scale * patches[marked] @ mark.T
        loss = loss + _MARKS_SHARE * functional.cross_entropy(said, batch.mark_labels[marked])
    return loss
