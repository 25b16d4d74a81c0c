"""The stage that gives a base model an aligner: a patch head learns to meet a text tower.

For towers that no text tower was ever trained with (InternVL3's). The text tower is a CLIP's,
frozen unless the recipe says otherwise; the base model's tower is frozen always, so every clip
is seen once and only the head's layernorm, projection and temperature learn. No masks: pairs of
clips and texts are all it needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pplava_core.errors import ModelError, RecipeError
from pplava_core.models.catalog import find_model
from pplava_core.models.checkpoint import describe_model
from pplava_core.models.dual_encoder import ClipPatchHead, PatchHeadSettings
from pplava_core.models.language.words import tower_ids
from pplava_core.models.layouts.aligner_folder import Aligner, from_pretrained
from pplava_core.train.pairs import PairSource
from pplava_core.train.patch_samples import Progress, patch_samples
from pplava_core.train.recipe import Recipe

_HELD_OUT_EVERY, _MOST_HELD_OUT = 10, 256
_TEXTS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class PairBatch:
    """Clips and their texts, no text twice."""

    patches: Tensor
    "``(C, P, D)`` float16."
    numbers: tuple[int, ...]
    "Which pairs they are."


class AlignBaseStage:
    """What the loop needs of this stage: batches, a loss, a score.

    Every tenth pair is held out for the score, once there are twenty.

    Args:
        recipe: base model, text tower and pairs.
        progress: called while patches are computed.

    Raises:
        RecipeError: the pairs cannot be read, or all say the same.
        ModelError: the base model or the text tower cannot.
    """

    def __init__(self, recipe: Recipe, *, progress: Progress | None = None) -> None:
        self.recipe = recipe
        base = find_model(str(recipe.initial)).folder
        self.pairs = PairSource(str(recipe.data.path), describe_model(base).pixels)
        if len({text for _, text in self.pairs.pairs}) < 2:
            raise RecipeError(f"{recipe.data.path}: every text is the same, so nothing is learned")
        self.patches = patch_samples(recipe, self.pairs, base, progress)
        self.aligner = new_aligner(Path(str(recipe.text_tower)), patch_width=self.patches.shape[-1])
        self.model: Any = self.aligner.encoder
        self.trained: tuple[str, ...] = ("patches.", "logit_scale")
        self._texts: Tensor | None = None
        if recipe.train_text_tower:
            self.trained += ("text.",)
        else:
            self._texts = self._embedded(range(len(self.pairs.pairs)))
        numbers = range(len(self.pairs.pairs))
        enough = len(numbers) >= 2 * _HELD_OUT_EVERY
        self.held_out = numbers[::_HELD_OUT_EVERY][:_MOST_HELD_OUT] if enough else numbers
        self.learned = sorted(set(numbers) - set(self.held_out)) if enough else list(numbers)

    def batch(self, number: int) -> PairBatch:
        """Return batch `number`, made from the recipe's seed and this number alone."""
        rng = np.random.default_rng([self.recipe.seed, number])
        return self._batch(rng.permutation(self.learned).tolist(), self.recipe.data.clips_per_step)

    def loss(self, batch: PairBatch) -> tuple[Tensor, dict[str, float]]:
        """Return the contrast of a batch."""
        scores = self._scores(batch)
        own = torch.arange(len(scores), device=scores.device)
        contrast = functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)
        return contrast / 2, {"scale": self.model.logit_scale.exp().item()}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return, on pairs held out, the contrast, and how often a clip finds its own text."""
        words = [self.pairs.pairs[number][1] for number in self.held_out]
        everything = self._batch(self.held_out, distinct=False)
        best = self._scores(everything).argmax(0).tolist()
        found = [words[guess] == own for guess, own in zip(best, words, strict=True)]
        contrast, _ = self.loss(self._batch(self.held_out))
        return {
            "contrast": contrast.item(),
            "found": sum(found) / len(found),
            "chance": 1 / len(set(words)),
        }

    def _batch(
        self, numbers: Sequence[int], most: int | None = None, *, distinct: bool = True
    ) -> PairBatch:
        """Take pairs in order, but none whose text is there already: it would be no contrast."""
        chosen: dict[Any, int] = {}
        for number in numbers:
            chosen.setdefault(self.pairs.pairs[number][1] if distinct else number, number)
            if len(chosen) == most:
                break
        rows = list(chosen.values())
        return PairBatch(patches=torch.from_numpy(self.patches[rows]), numbers=tuple(rows))

    def _scores(self, batch: PairBatch) -> Tensor:
        """Return `text_clip_scores` of a batch, ``(C, C)``."""
        patches = batch.patches.to(self.model.device, self.model.dtype)
        patches = functional.normalize(self.model.embed_patches(patches).float(), dim=-1)
        texts = (
            self._embed(batch.numbers) if self._texts is None else self._texts[list(batch.numbers)]
        )
        scale = self.model.logit_scale.exp().clamp(max=100.0)
        return text_clip_scores(patches, texts.to(patches.device), scale)

    @torch.no_grad()
    def _embedded(self, numbers: Sequence[int]) -> Tensor:
        """Return the unit embeddings of many texts, ``(N, E)`` on the CPU."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model.to(device)
        return torch.cat(
            [
                self._embed(numbers[start : start + _TEXTS_AT_ONCE]).cpu()
                for start in range(0, len(numbers), _TEXTS_AT_ONCE)
            ]
        )

    def _embed(self, numbers: Sequence[int]) -> Tensor:
        texts = [self.pairs.pairs[number][1] for number in numbers]
        aligner, device = self.aligner, self.model.device
        ids, mask = tower_ids(
            aligner.tokenizer, texts, self.model.context_length, aligner.pads_fully
        )
        embedded = self.model.embed_text(ids.to(device), None if mask is None else mask.to(device))
        return functional.normalize(embedded.float(), dim=-1)


def text_clip_scores(patches: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Score every text against every clip by the relevance that falls on it, as logarithms.

    Let Eq. 1's softmax run over the patches of all clips together: a softmax of these scores
    over the clips is then each clip's part of a text's relevance. So what is trained is what
    `alignment.relevance` uses, and a few patches may carry a text. The mean of a clip's patches
    instead finds texts as well, but not the place in the picture that they speak of.

    Args:
        patches: ``(C, P, E)`` unit embeddings.
        texts: ``(N, E)`` unit embeddings.
        scale: inverse temperature.

    Returns:
        ``(N, C)``.
    """
    logits: Tensor = scale * torch.einsum("ne,cpe->ncp", texts, patches)
    return logits.logsumexp(dim=-1)


def new_aligner(source: Path, *, patch_width: int) -> Aligner:
    """Build an aligner of a CLIP's text tower and an untrained head for another vision tower.

    Args:
        source: the CLIP's folder.
        patch_width: width of the other tower's features.

    Raises:
        ModelError: the folder is no CLIP's, or incomplete.
    """
    if not (source / "config.json").is_file():
        raise ModelError(
            f"text_tower: {source} has no config.json; give the folder of a CLIP (docs/training.md)"
        )
    aligner = from_pretrained(source)
    encoder: Any = aligner.encoder
    width = encoder.text_settings.embed_dim
    encoder.patch_settings = PatchHeadSettings(width=patch_width, embed_dim=width)
    encoder.patches = ClipPatchHead(encoder.patch_settings)
    # as sharp as a trained CLIP's, an untrained head would learn nothing at first
    encoder.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
    return aligner
