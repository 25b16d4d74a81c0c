"""The second stage: the language model learns to answer from pooled tokens.

The tower and the patch head are frozen, so every film's grid is computed once. The
text tower, the projector and the language model learn: each question pools the grid
with its own relevance (Eq. 1-3), and the loss is on the answer's words alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pplava_core import pooling
from pplava_core.errors import RecipeError
from pplava_core.models.language.tokenizer import NanoWords
from pplava_core.models.language.words import pad_rows
from pplava_core.models.videolm import VideoLM
from pplava_core.shapes import questions as world
from pplava_core.shapes.scene import COLOURS, KINDS, Scene
from pplava_core.train.align import patch_cosines
from pplava_core.train.features import FeatureStore, Progress
from pplava_core.train.recipe import Recipe
from pplava_core.window import Window

VALIDATION_FILMS, VALIDATION_STILLS = 160, 32
_EMBEDDING_SPREAD = 0.4
_SCALE_BATCHES = 40
_TYPE_WEIGHTS = {"count": 2.0, "motion": 2.0, "order": 1.5, "position": 1.5}
"How often a type is asked; those that are learned last are asked more often."


@dataclass(frozen=True, kw_only=True)
class Example:
    """A question, what was said before it, and the right answer."""

    clip: int
    "Which clip of the batch."
    question: world.Question
    history: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class InstructBatch:
    """A few grids of one shape and examples about them."""

    features: Tensor
    "``(C, T, H, W, D)``."
    examples: tuple[Example, ...]
    window: Window
    "What the grids are pooled with."


class InstructStage:
    """What the loop needs of this stage: batches, a loss, a score.

    Args:
        recipe: says what to learn from.
        model: one whose dual encoder has been aligned.
        progress: called while grids are computed.
    """

    trained = (
        "parts.projector.",
        "parts.shortcut.",
        "parts.norm.",
        "parts.places.",
        "llm.",
        "aligner.text.",
    )

    def __init__(self, recipe: Recipe, model: VideoLM, *, progress: Progress | None = None) -> None:
        self.recipe, self.model = recipe, model
        data = recipe.data
        stills = round(data.clips * data.still_share)
        if data.still_share > 0 and not 0 < stills < data.clips:
            raise RecipeError(
                f"data.still_share {data.still_share} of {data.clips} clips is {stills} pictures "
                f"and {data.clips - stills} films; there must be some of both"
            )
        model.eval()
        self.store = FeatureStore(recipe, model, "train", data.clips - stills, stills, progress)
        self.validation = FeatureStore(
            recipe, model, "validation", VALIDATION_FILMS, VALIDATION_STILLS, progress
        )
        if "instruct" not in model.config.training:
            self._prepare()

    def batch(self, number: int) -> InstructBatch:
        """Return batch `number`, made from the recipe's seed and this number alone."""
        rng = np.random.default_rng([self.recipe.seed, number])
        data = self.recipe.data
        still = bool(rng.random() < data.still_share)
        form = rng.random()
        grids = self.store.stills if still else self.store.films
        chosen = rng.integers(len(grids), size=data.clips_per_step)
        scenes = [self.store.scene(int(n), still=still) for n in chosen]
        examples: list[Example] = []
        for clip, scene in enumerate(scenes):
            examples += self._examples(clip, scene, rng, still=still, form=form)
        features = torch.from_numpy(np.stack([grids[n] for n in chosen])).float()
        return InstructBatch(
            features=features, examples=tuple(examples), window=self._window(number, rng, still)
        )

    def _window(self, number: int, rng: np.random.Generator, still: bool) -> Window:
        """Return the batch's window: coarse ones come first and now and then later.

        Coarse windows leave a quarter of the tokens, so that words, colours and shapes are
        learned at a quarter of the price; and a model that has seen both takes any budget.
        """
        config, data = self.model.config, self.recipe.data
        if still:
            return config.image_window
        if number >= data.coarse_batches and rng.random() >= data.coarse_share:
            return config.window
        frames, rows, columns = config.window.kernel
        return Window((frames, 2 * rows, 2 * columns))

    def loss(self, batch: InstructBatch) -> tuple[Tensor, dict[str, float]]:
        """Return the mean cross-entropy of the answers' tokens."""
        logits, labels, _ = self._answer_logits(batch)
        loss = functional.cross_entropy(logits, labels)
        right = (logits.argmax(-1) == labels).float().mean().item()
        return loss, {"token_accuracy": right}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return how many validation questions are answered to the letter, by type.

        A greedy answer equals the right one exactly if each of its tokens is the most
        likely one after the right ones before it, so no text needs to be generated.
        """
        rights: dict[str, list[bool]] = {name: [] for name in world.TYPES}
        for first in range(0, VALIDATION_FILMS, 8):
            batch = self._validation_batch(first)
            logits, labels, rows = self._answer_logits(batch)
            wrong = torch.zeros(len(batch.examples), device=rows.device).index_add_(
                0, rows, (logits.argmax(-1) != labels).float()
            )
            for example, errors in zip(batch.examples, wrong.tolist(), strict=True):
                rights[example.question.type].append(errors == 0)
        scores = {name: sum(hits) / len(hits) for name, hits in rights.items() if hits}
        return {"mean": sum(scores.values()) / len(scores), **scores}

    def _answer_logits(self, batch: InstructBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits ``(A, V)``, labels ``(A,)`` and example numbers of all answer tokens."""
        model, words = self.model, cast(NanoWords, self.model.words)
        tokens = self._visual_tokens(batch)
        prompts = [model.prompt_ids(e.question.text, e.history) for e in batch.examples]
        answers = [
            [*words.tokenizer.encode(e.question.answer, add_special_tokens=False).ids, words.end_id]
            for e in batch.examples
        ]
        rows = [[*p, *a[:-1]] for p, a in zip(prompts, answers, strict=True)]
        ids, _ = pad_rows(rows, words.pad_id)
        embeddings = model.prompt_embeddings(tokens, ids.to(tokens.device))
        states = model.llm.model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        before = tokens.shape[1] - 1  # one id of a prompt stands for all the visual tokens
        row_numbers: list[int] = []
        places: list[int] = []
        labels: list[int] = []
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            start = before + len(prompt) - 1
            row_numbers += [number] * len(answer)
            places += range(start, start + len(answer))
            labels += answer
        numbers = torch.tensor(row_numbers, device=states.device)
        logits = model.llm.lm_head(states[numbers, torch.tensor(places, device=states.device)])
        return logits.float(), torch.tensor(labels, device=states.device), numbers

    def _visual_tokens(self, batch: InstructBatch) -> Tensor:
        pooled = self._pooled(batch)
        aligned = functional.normalize(self.model.aligner.embed_patches(pooled), dim=-1)
        grid_size = batch.features.shape[1:4]
        tokens: Tensor = self.model.parts.project(pooled, aligned, grid_size, batch.window)
        return tokens

    def _pooled(self, batch: InstructBatch) -> Tensor:
        model = self.model
        features = batch.features.to(model.device)
        clip_of = torch.tensor([example.clip for example in batch.examples], device=model.device)
        with torch.no_grad():
            patches = functional.normalize(model.aligner.embed_patches(features).float(), dim=-1)
        texts = model.embed_texts([example.question.text for example in batch.examples])
        texts = functional.normalize(texts.float(), dim=-1)
        cosines = patch_cosines(patches, texts, clip_of)
        relevance = (cosines * model.aligner.logit_scale.exp()).softmax(-1)
        return pooling.pool(
            features[clip_of],
            relevance.reshape(-1, *features.shape[1:4]),
            window=batch.window,
            weighting=model.config.weighting,
            temperature=model.config.pooling_temperature,
        )

    def _examples(
        self, clip: int, scene: Scene, rng: np.random.Generator, *, still: bool, form: float
    ) -> list[Example]:
        """Return one clip's examples: descriptions, questions after earlier turns, or questions."""
        data = self.recipe.data
        if form < 0.12:
            return [Example(clip=clip, question=q) for q in world.ask(scene, rng, ["caption"] * 2)]
        types = _draw_types(rng, data.questions_per_clip + 2, still=still)
        asked = world.ask(scene, rng, types)[: data.questions_per_clip]
        asked = [_polite(question, rng) for question in asked]
        if form < 0.12 + data.history_share and len(asked) > 1:
            turns = tuple((q.text, q.answer) for q in asked[:-1])[: int(rng.integers(1, 3))]
            return [Example(clip=clip, question=asked[-1], history=turns)]
        return [Example(clip=clip, question=question) for question in asked]

    def _validation_batch(self, first: int) -> InstructBatch:
        rng = np.random.default_rng([self.recipe.seed, first, 1])
        numbers = range(first, first + 8)
        examples = [
            Example(clip=clip, question=question)
            for clip, number in enumerate(numbers)
            for question in world.ask(self.validation.scene(number, still=False), rng, world.TYPES)
        ]
        features = torch.from_numpy(np.stack([self.validation.films[n] for n in numbers])).float()
        window = self.model.config.window
        return InstructBatch(features=features, examples=tuple(examples), window=window)

    def _prepare(self) -> None:
        """Ready a freshly aligned model: long texts, feature scale, words that mean something."""
        model = self.model
        if model.aligner.context_length < 100:
            model.aligner.extend_context()
            text = {**model.config.aligner["text"], "context_length": model.aligner.context_length}
            aligner = {**model.config.aligner, "text": text}
            model.config = dataclasses.replace(model.config, aligner=aligner)
        self._measure_scale()
        self._seed_words()

    @torch.no_grad()
    def _measure_scale(self) -> None:
        """Measure mean and spread of every channel of the pooled features."""
        sums = torch.zeros(2, self.model.parts.scale.mean.shape[0], dtype=torch.float64)
        count = 0
        for number in range(_SCALE_BATCHES):
            batch = dataclasses.replace(self.batch(number), window=self.model.config.window)
            if batch.features.shape[1] == 1:
                continue
            flat = self._pooled(batch).flatten(0, -2).double().cpu()
            sums += torch.stack([flat.sum(0), flat.square().sum(0)])
            count += len(flat)
        mean, square = sums / count
        self.model.parts.scale.mean.copy_(mean)
        self.model.parts.scale.spread.copy_((square - mean**2).clamp(min=1e-8).sqrt())

    @torch.no_grad()
    def _seed_words(self) -> None:
        """Start the words for colours and shapes where the text tower has them."""
        model = self.model
        embedding: Any = model.llm.get_input_embeddings()
        table = embedding.weight
        table.mul_(_EMBEDDING_SPREAD / table.std())
        words = [*COLOURS, *KINDS]
        meanings = functional.normalize(model.embed_texts(words).float(), dim=-1)
        for word, meaning in zip(words, meanings, strict=True):
            ids = model.words.tokenizer.encode(word, add_special_tokens=False).ids
            if len(ids) == 1 and len(meaning) == table.shape[1]:
                table[ids[0]] = meaning * len(meaning) ** 0.5 * _EMBEDDING_SPREAD


def _draw_types(rng: np.random.Generator, count: int, *, still: bool) -> Sequence[str]:
    names = [n for n in world.TYPES if n != "caption" and not (still and n in world.MOVING_TYPES)]
    weights = np.array([_TYPE_WEIGHTS.get(name, 1.0) for name in names])
    chosen = rng.choice(
        len(names), size=min(count, len(names)), replace=False, p=weights / weights.sum()
    )
    return [names[i] for i in chosen]


def _polite(question: world.Question, rng: np.random.Generator) -> world.Question:
    if rng.random() < 0.9:
        return question
    return dataclasses.replace(question, text=world.with_lead_in(question.text, rng))
