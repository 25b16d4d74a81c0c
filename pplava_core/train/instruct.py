"""The second stage: the language model learns to answer from pooled tokens.

The tower and the patch head are frozen, so every film's grid is computed once. The text
tower goes on learning where texts point (Eq. 1 against the renderer's masks), now also texts
of a hundred words and conversations; the projector and the language model learn to answer
from what that relevance pools (Eq. 2-3), with the loss on the answers' words alone.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pplava_core.errors import RecipeError
from pplava_core.models.backbones.nano_tally import Counted
from pplava_core.models.language.tokenizer import NanoWords
from pplava_core.models.language.words import pad_rows
from pplava_core.models.videolm import VideoLM
from pplava_core.shapes import questions as world
from pplava_core.train import fresh_model
from pplava_core.train.align import patch_cosines
from pplava_core.train.attending import DensityHeads, attended_loss, held_by_tokens
from pplava_core.train.batches import InstructBatch, batch_of, drawn_window, full_window
from pplava_core.train.features import FeatureStore, Progress
from pplava_core.train.mentions import MentionHeads, noted_loss
from pplava_core.train.packs import Pack, draw_pack, question_packs
from pplava_core.train.recipe import Recipe
from pplava_core.train.rows import Row, row_of, who_sees_whom

VALIDATION_COUNTS = {"films": 160, "long": 32}
VALIDATION_CLIPS = 8
_ALIKE = 1
"Parts the dice for what two batches have in common from those for what is in one."
_SCALE_BATCHES = 40
_GROUNDING_SHARE = 0.05
"""AdamW does not care how large the text tower's gradients are, but the clipping of all together
does: unscaled they would make the language model's as good as vanish in some batches."""
_MENTIONS_SHARE = 0.15
_WORDY = 0.9
"How many packs of a batch with long prompts have one."
_TOLD_HEADS = 2
_LONG_TEXT_CHARACTERS = 160
"Texts longer than this are embedded apart, so that short ones are not padded to their length."


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the language model made of a batch."""

    logits: Tensor
    "``(A, V)`` of the answers' tokens."
    labels: Tensor
    "``(A,)``."
    weights: Tensor
    "``(A,)``."
    rows: list[Row]
    states: list[Tensor]
    "``(P, L, D)`` after each of the layers that `MentionHeads` reads."
    attentions: list[Tensor]
    "``(P, heads, L, L)`` in each of them, and in the last layer."
    before: int
    "How many tokens lie before the second id of a row, beyond the first."
    counted: Counted | None
    "What the model counts itself, where it does."


class Learner(nn.Module):
    """A model, and heads that help its language model to learn and are no part of it."""

    def __init__(self, video: VideoLM) -> None:
        super().__init__()
        self.video = video
        depth = video.config.llm["num_hidden_layers"]
        layers = sorted({-(-depth // 2), max(depth - 1, 1)})
        self.heads = MentionHeads(video.config.llm["hidden_size"], layers)
        self.density = DensityHeads(video.config.llm["hidden_size"], len(layers))


class InstructStage:
    """What the loop needs of this stage: batches, a loss, a score.

    Args:
        recipe: says what to learn from.
        model: one whose dual encoder has been aligned.
        progress: called while grids are computed.
    """

    trained: tuple[str, ...] = (
        "video.parts.projector.",
        "video.parts.shortcut.",
        "video.parts.norm.",
        "video.parts.places.",
        "video.parts.clock.",
        "video.parts.magnitude.",
        "video.parts.average.",
        "video.parts.things.",
        "video.parts.tally.",
        "video.llm.",
        "video.aligner.text.",
        "heads.",
        "density.",
    )

    def __init__(self, recipe: Recipe, model: VideoLM, *, progress: Progress | None = None) -> None:
        self.recipe, self.video = recipe, model
        torch.manual_seed(recipe.seed)
        self.model = Learner(model)
        data = recipe.data
        stills = round(data.clips * data.still_share)
        if data.still_share > 0 and not 0 < stills < data.clips:
            raise RecipeError(
                f"data.still_share {data.still_share} of {data.clips} clips is {stills} pictures "
                f"and {data.clips - stills} films; there must be some of both"
            )
        if data.long_share > 0 and not data.long_clips:
            raise RecipeError(
                f"data.long_share is {data.long_share}, but there are no data.long_clips"
            )
        if data.long_clips and data.long_frames % model.config.num_frames:
            raise RecipeError(
                f"data.long_frames is {data.long_frames}; it must be a multiple of the model's "
                f"{model.config.num_frames} frames, by which the windows grow"
            )
        if model.config.tells_list and model.config.llm["num_attention_heads"] < _TOLD_HEADS:
            raise RecipeError(
                f"tells_list needs a language model of {_TOLD_HEADS} heads or more: one is told "
                "where to look, and one goes by the list"
            )
        model.eval()
        # The fused kernel does not say where it looks.
        model.llm.set_attn_implementation("eager")
        counts = {"films": data.clips - stills, "stills": stills, "long": data.long_clips}
        counts = {name: count for name, count in counts.items() if count}
        held_out = {name: count for name, count in VALIDATION_COUNTS.items() if name in counts}
        self.store = FeatureStore(recipe, model, "train", counts, progress)
        self.validation = FeatureStore(recipe, model, "validation", held_out, progress)
        crowded = counts.keys() - {"long"} if data.crowd_share > 0 else ()
        self.crowds = {name: self.store.crowds(name) for name in crowded}
        "Of each kind the clips that show crowds, by their size."
        is_fresh = "instruct" not in model.config.training
        if is_fresh:
            fresh_model.stretch_texts(model)
        fresh_model.measure_scales(model, self._pool_films)
        if is_fresh:
            fresh_model.seed_words(model)
            fresh_model.seed_attention(model)

    def batch(self, number: int) -> InstructBatch:
        """Return batch `number`, made from the recipe's seed and this number alone.

        Every other batch is like the one before it in kind, length and window, so that two
        processes that take a batch each of one step do not wait long for each other.
        """
        rng = np.random.default_rng([self.recipe.seed, number])
        alike = np.random.default_rng([self.recipe.seed, number // 2, _ALIKE])
        data = self.recipe.data
        dice = alike.random()
        kind = "films"
        if dice < data.still_share:
            kind = "stills"
        elif dice < data.still_share + data.long_share:
            kind = "long"
        chosen = self._choose(kind, rng)
        scenes = [self.store.scene(kind, n) for n in chosen]
        # Long prompts come together, since the longest row of a batch is the length of all.
        wordy = _WORDY if alike.random() < data.long_prompt_share / _WORDY else 0.0
        data = dataclasses.replace(data, long_prompt_share=wordy)
        packs = [
            draw_pack(clip, scene, kind, rng, data)
            for clip, scene in enumerate(scenes)
            for _ in range(data.packs_per_clip)
        ]
        window = drawn_window(self.video.config, data, number, alike, kind)
        return batch_of(self.store, kind, chosen, scenes, packs, window)

    def _choose(self, kind: str, rng: np.random.Generator) -> list[int]:
        """Draw the clips of a batch, some of them evenly from crowds of every size."""
        data, count = self.recipe.data, self.store.kinds[kind].count
        chosen: list[int] = rng.integers(count, size=data.clips_per_step).tolist()
        crowds = self.crowds.get(kind)
        if not crowds:
            return chosen
        for place in np.flatnonzero(rng.random(len(chosen)) < data.crowd_share):
            crowd = crowds[int(rng.integers(len(crowds)))]
            chosen[place] = crowd[int(rng.integers(len(crowd)))]
        return chosen

    def loss(self, batch: InstructBatch) -> tuple[Tensor, dict[str, float]]:
        """Return the mean cross-entropy of the answers' tokens, and of the relevance."""
        cosines = self._cosines(batch)
        scale = self.video.aligner.logit_scale.exp()
        relevance = (scale * cosines).detach().softmax(-1)
        told = self._told(batch, relevance)
        logits, labels, weights = told.logits, told.labels, told.weights
        each = functional.cross_entropy(logits, labels, reduction="none")
        answers = (each * weights).sum() / weights.sum()
        right = (logits.argmax(-1) == labels).float().mean().item()
        noted = noted_loss(
            self.model.heads,
            told.states,
            [row.notes for row in told.rows],
            [batch.scenes[pack.clip] for pack in batch.packs],
            told.before,
        )
        numbers = {"answers": answers.item(), "token_accuracy": right, "mentions": noted.item()}
        attended, missed = attended_loss(
            self.model.density,
            told.states,
            told.attentions,
            [row.notes for row in told.rows],
            batch.packs,
            batch.scenes,
            held_by_tokens(batch.coverage, batch.window),
            told.before,
            told.counted,
        )
        numbers |= missed
        answers = answers + _MENTIONS_SHARE * noted + attended
        if self.recipe.optimiser.text_tower_rate == 0 or not self.recipe.data.masks:
            return answers, numbers
        targets = batch.targets.to(cosines.device)
        grounding = functional.cross_entropy(scale * cosines, targets)
        numbers["grounding"] = grounding.item()
        return answers + _GROUNDING_SHARE * grounding, numbers

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return how many validation questions are answered to the letter, by type.

        A greedy answer equals the right one exactly if each of its tokens is the most
        likely one after the right ones before it, so no text needs to be generated.
        """
        rights: dict[str, list[bool]] = {name: [] for name in world.TYPES}
        for first in range(0, VALIDATION_COUNTS["films"], VALIDATION_CLIPS):
            batch = self.validation_batch("films", first)
            for name, hit in self.hits(batch):
                rights[name].append(hit)
        scores = {name: sum(hits) / len(hits) for name, hits in rights.items() if hits}
        scores = {"mean": sum(scores.values()) / len(scores), **scores}
        if "long" in self.validation.kinds:
            hits = [
                hit
                for first in range(0, VALIDATION_COUNTS["long"], VALIDATION_CLIPS)
                for _, hit in self.hits(self.validation_batch("long", first))
            ]
            scores["long_films"] = sum(hits) / len(hits)
        return scores

    def hits(self, batch: InstructBatch) -> list[tuple[str, bool]]:
        """Return the type of each question of a batch, and whether it is answered to the letter."""
        told = self._told(batch, self._relevance(batch))
        ends = (told.labels == cast(NanoWords, self.video.words).end_id).long()
        types = [q.type for pack in batch.packs for q in pack.questions[pack.untaught :]]
        wrong = torch.zeros(len(types), device=told.logits.device).index_add_(
            0, ends.cumsum(0) - ends, (told.logits.argmax(-1) != told.labels).float()
        )
        return [(name, errors == 0) for name, errors in zip(types, wrong.tolist(), strict=True)]

    def validation_batch(self, kind: str, first: int) -> InstructBatch:
        """Return one question of every type about a few clips that are held out."""
        rng = np.random.default_rng([first, 1])
        store = self.validation
        numbers = range(first, first + VALIDATION_CLIPS)
        scenes = [store.scene(kind, number) for number in numbers]
        types = world.TYPES if kind == "films" else world.BRIEF_TYPES
        packs = [
            pack
            for clip, scene in enumerate(scenes)
            for pack in question_packs(clip, world.ask(scene, rng, types))
        ]
        window = full_window(self.video.config, self.recipe.data, kind)
        return batch_of(store, kind, numbers, scenes, packs, window)

    def _told(self, batch: InstructBatch, relevance: Tensor) -> Told:
        """Run the language model over packs pooled by their relevance ``(P, T H W)``."""
        model, words = self.video, cast(NanoWords, self.video.words)
        with tallied(model) as counted:
            tokens = self._visual_tokens(batch, relevance)
        rows = [row_of(pack, words) for pack in batch.packs]
        ids, _ = pad_rows([row.ids for row in rows], words.pad_id)
        embeddings = model.prompt_embeddings(tokens, ids.to(tokens.device))
        before = tokens.shape[1] - 1  # one id of a prompt stands for all the visual tokens
        mask, positions = who_sees_whom(rows, before, embeddings.shape[1])
        output = model.llm.model(
            inputs_embeds=embeddings,
            attention_mask=mask.to(embeddings.device),
            position_ids=positions.to(embeddings.device),
            use_cache=False,
            output_hidden_states=True,
            output_attentions=True,
        )
        states = output.last_hidden_state
        numbers = [number for number, row in enumerate(rows) for _ in row.labels]
        places = [before + place for row in rows for place in row.places]
        labels = [label for row in rows for label in row.labels]
        chosen = torch.tensor(numbers, device=states.device)
        logits = model.llm.lm_head(states[chosen, torch.tensor(places, device=states.device)])
        weights = torch.tensor([w for row in rows for w in row.weights], device=states.device)
        return Told(
            logits=logits.float(),
            labels=torch.tensor(labels, device=states.device),
            weights=weights,
            rows=rows,
            states=[output.hidden_states[layer] for layer in self.model.heads.layers],
            attentions=[output.attentions[n - 1] for n in self.model.heads.layers]
            + [output.attentions[-1]],
            before=before,
            counted=counted[0] if counted else None,
        )

    def _visual_tokens(self, batch: InstructBatch, relevance: Tensor) -> Tensor:
        """Pool each pack's clip by its relevance ``(P, T H W)``: ``(P, N, D_llm)``."""
        model = self.video
        clip_of = torch.tensor([pack.clip for pack in batch.packs], device=model.device)
        if self.recipe.data.relevance == "masks":
            relevance = batch.targets.to(model.device)
        features = batch.features.to(model.device).float()
        tokens = model.visual_tokens(
            features,
            relevance.reshape(-1, *features.shape[1:4]),
            window=batch.window,
            clip_of=clip_of,
        ).tokens
        lengths = batch.lengths_seconds.to(model.device)
        if not lengths.any():
            return tokens
        size = batch.window.output_size(cast(Any, tuple(features.shape[1:4])))
        timed: Tensor = model.parts.at_times(tokens, size, lengths[clip_of])
        return timed

    def _relevance(self, batch: InstructBatch) -> Tensor:
        """Return ``(P, T H W)``: how relevant each patch is to each pack's guide (Eq. 1)."""
        relevance: Tensor = self.video.aligner.logit_scale.exp() * self._cosines(batch)
        return relevance.softmax(-1)

    def _cosines(self, batch: InstructBatch) -> Tensor:
        """Return ``(P, T H W)``: how well each pack's guide fits each patch of its clip."""
        model = self.video
        clip_of = torch.tensor([pack.clip for pack in batch.packs], device=model.device)
        features = batch.features.to(model.device).float()
        with torch.no_grad():
            patches = functional.normalize(model.aligner.embed_patches(features).float(), dim=-1)
        guides = [pack.guide for pack in batch.packs]
        if self.recipe.data.relevance == "shuffled":
            guides = [_of_another_clip(batch.packs, number) for number in range(len(guides))]
        return patch_cosines(patches, self._texts(guides), clip_of)

    def _texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit embeddings ``(N, E)`` float32, long texts computed apart from short ones."""
        long = [n for n, text in enumerate(texts) if len(text) > _LONG_TEXT_CHARACTERS]
        short = [n for n, text in enumerate(texts) if len(text) <= _LONG_TEXT_CHARACTERS]
        parts = [
            self.video.embed_texts([texts[n] for n in group]) for group in (short, long) if group
        ]
        order = torch.tensor([*short, *long], device=parts[0].device).argsort()
        return functional.normalize(torch.cat(parts).float(), dim=-1)[order]

    def _pool_films(self) -> None:
        """Pool some films as the model itself will."""
        model = self.video
        films = (batch for batch in map(self.batch, itertools.count()) if _is_film(batch, model))
        for batch in itertools.islice(films, _SCALE_BATCHES):
            batch = dataclasses.replace(batch, window=model.config.window)
            self._visual_tokens(batch, self._relevance(batch))


@contextmanager
def tallied(model: VideoLM) -> Iterator[list[Counted]]:
    """Collect what a model's tally counts, if it has one."""
    counted: list[Counted] = []
    if model.parts.tally is None:
        yield counted
        return

    def keep(_module: nn.Module, _inputs: Any, found: Counted) -> None:
        counted.append(found)

    listening = model.parts.tally.count.register_forward_hook(keep)
    try:
        yield counted
    finally:
        listening.remove()


def _of_another_clip(packs: Sequence[Pack], number: int) -> str:
    """Return the guide of a pack half a batch away that is about another clip."""
    others = [*packs[number:], *packs[:number]][len(packs) // 2 :]
    own = packs[number].clip
    return next(pack.guide for pack in [*others, *packs] if pack.clip != own)


def _is_film(batch: InstructBatch, model: VideoLM) -> bool:
    """Whether a batch is of films of the usual length."""
    return batch.features.shape[1] == model.config.num_frames
