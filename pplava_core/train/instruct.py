"""The second stage: the language model learns to answer from pooled tokens.

The tower and the patch head are frozen, so every film's grid is computed once. The text
tower goes on learning where texts point (Eq. 1 against the renderer's masks), now also texts
of a hundred words and conversations; the projector and the language model learn to answer
from what that relevance pools (Eq. 2-3), with the loss on the answers' words alone.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pplava_core.errors import RecipeError
from pplava_core.models.language.tokenizer import NanoWords
from pplava_core.models.language.words import pad_rows
from pplava_core.models.videolm import VideoLM
from pplava_core.shapes import questions as world
from pplava_core.shapes.scene import COLOURS, KINDS, Scene
from pplava_core.train.align import patch_cosines, target_map
from pplava_core.train.features import FeatureStore, Progress
from pplava_core.train.mentions import MentionHeads, differences, facts, stacked
from pplava_core.train.packs import Pack, draw_pack, question_packs
from pplava_core.train.recipe import Recipe
from pplava_core.train.rows import LENGTH_STEP, OPTION_LETTERS, Row, filled, row_of, who_sees_whom
from pplava_core.window import Window

VALIDATION_COUNTS = {"films": 160, "long": 32}
_VALIDATION_CLIPS = 8
_EMBEDDING_SPREAD = 0.4
_SCALE_BATCHES = 40
_GROUNDING_SHARE = 0.05
"""AdamW does not care how large the text tower's gradients are, but the clipping of all together
does: unscaled they would make the language model's as good as vanish in some batches."""
_MENTIONS_SHARE = 0.15
_WORDY = 0.9
"How many packs of a batch with long prompts have one."
_LONG_TEXT_CHARACTERS = 160
"Texts longer than this are embedded apart, so that short ones are not padded to their length."


@dataclass(frozen=True, kw_only=True)
class InstructBatch:
    """A few grids of one shape and packs of questions about them."""

    features: Tensor
    "``(C, T, H, W, D)``."
    targets: Tensor
    "``(P, T H W)``: where each pack's things are, sums to 1; even where it is about nothing."
    lengths_seconds: Tensor
    "``(C,)``; 0 is a picture."
    packs: tuple[Pack, ...]
    scenes: tuple[Scene, ...]
    "What the clips show."
    window: Window
    "What the grids are pooled with."


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the language model made of a batch."""

    logits: Tensor
    "``(A, V)`` of the answers' tokens."
    labels: Tensor
    "``(A,)``."
    weights: Tensor
    "``(A,)``."
    pack_of: Tensor
    "``(A,)``: the pack of each."
    rows: list[Row]
    states: list[Tensor]
    "``(P, L, D)`` after each of the layers that `MentionHeads` reads."
    before: int
    "How many tokens lie before the second id of a row, beyond the first."


class Learner(nn.Module):
    """A model, and heads that help its language model to learn and are no part of it."""

    def __init__(self, video: VideoLM) -> None:
        super().__init__()
        self.video = video
        depth = video.config.llm["num_hidden_layers"]
        layers = sorted({-(-depth // 2), max(depth - 1, 1)})
        self.heads = MentionHeads(video.config.llm["hidden_size"], layers)


class InstructStage:
    """What the loop needs of this stage: batches, a loss, a score.

    Args:
        recipe: says what to learn from.
        model: one whose dual encoder has been aligned.
        progress: called while grids are computed.
    """

    trained = (
        "video.parts.projector.",
        "video.parts.shortcut.",
        "video.parts.norm.",
        "video.parts.places.",
        "video.parts.clock.",
        "video.parts.magnitude.",
        "video.llm.",
        "video.aligner.text.",
        "heads.",
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
        model.eval()
        # On a CPU the fused kernel's backward pass would take half of every step.
        model.llm.set_attn_implementation("eager")
        counts = {"films": data.clips - stills, "stills": stills, "long": data.long_clips}
        counts = {name: count for name, count in counts.items() if count}
        held_out = {name: count for name, count in VALIDATION_COUNTS.items() if name in counts}
        self.store = FeatureStore(recipe, model, "train", counts, progress)
        self.validation = FeatureStore(recipe, model, "validation", held_out, progress)
        if "instruct" not in model.config.training:
            self._prepare()

    def batch(self, number: int) -> InstructBatch:
        """Return batch `number`, made from the recipe's seed and this number alone."""
        rng = np.random.default_rng([self.recipe.seed, number])
        data = self.recipe.data
        dice = rng.random()
        kind = "films"
        if dice < data.still_share:
            kind = "stills"
        elif dice < data.still_share + data.long_share:
            kind = "long"
        chosen = rng.integers(self.store.kinds[kind].count, size=data.clips_per_step)
        scenes = [self.store.scene(kind, int(n)) for n in chosen]
        # Long prompts come together, since the longest row of a batch is the length of all.
        wordy = _WORDY if rng.random() < data.long_prompt_share / _WORDY else 0.0
        data = dataclasses.replace(data, long_prompt_share=wordy)
        packs = [
            draw_pack(clip, scene, kind, rng, data)
            for clip, scene in enumerate(scenes)
            for _ in range(data.packs_per_clip)
        ]
        window = self._window(number, rng, kind)
        return self._batch(self.store, kind, chosen.tolist(), scenes, packs, window)

    def _batch(
        self,
        store: FeatureStore,
        kind: str,
        numbers: Sequence[int],
        scenes: Sequence[Scene],
        packs: Sequence[Pack],
        window: Window,
    ) -> InstructBatch:
        """Put grids, masks and packs together."""
        features = np.stack([store.features[kind][n] for n in numbers])
        coverage = [store.coverage[kind][n].astype(np.float32) / 255 for n in numbers]
        even = np.full(features.shape[1:4], 1 / np.prod(features.shape[1:4]), np.float32)
        maps = [target_map(coverage[pack.clip], pack.targets) for pack in packs]
        lengths = [scene.duration_seconds for scene in scenes]
        return InstructBatch(
            features=torch.from_numpy(features),
            targets=torch.from_numpy(np.stack([even if m is None else m for m in maps])).flatten(1),
            lengths_seconds=torch.tensor(lengths) * (kind != "stills"),
            packs=tuple(packs),
            scenes=tuple(scenes),
            window=window,
        )

    def _window(self, number: int, rng: np.random.Generator, kind: str) -> Window:
        """Return the batch's window: coarse ones come first and now and then later.

        Coarse windows leave a quarter of the tokens, so that words, colours and shapes are
        learned at a quarter of the price; and a model that has seen both takes any budget.
        Windows of long films are longer, so that they leave as many tokens.
        """
        config, data = self.video.config, self.recipe.data
        if kind == "stills":
            return config.image_window
        window = self._full_window(kind)
        if number >= data.coarse_batches and rng.random() >= data.coarse_share:
            return window
        frames, rows, columns = window.kernel
        return Window((frames, 2 * rows, 2 * columns))

    def _full_window(self, kind: str) -> Window:
        """Return the model's window for films, so much longer as a long film has more frames."""
        window = self.video.config.window
        if kind != "long":
            return window
        frames, rows, columns = window.kernel
        longer = self.recipe.data.long_frames // self.video.config.num_frames
        return Window((frames * longer, rows, columns))

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
        noted = self._noted_loss(batch, told)
        numbers = {"answers": answers.item(), "token_accuracy": right, "mentions": noted.item()}
        answers = answers + _MENTIONS_SHARE * noted
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
        for first in range(0, VALIDATION_COUNTS["films"], _VALIDATION_CLIPS):
            batch = self.validation_batch("films", first)
            for name, hit in self.hits(batch):
                rights[name].append(hit)
        scores = {name: sum(hits) / len(hits) for name, hits in rights.items() if hits}
        scores = {"mean": sum(scores.values()) / len(scores), **scores}
        if "long" in self.validation.kinds:
            hits = [
                hit
                for first in range(0, VALIDATION_COUNTS["long"], _VALIDATION_CLIPS)
                for _, hit in self.hits(self.validation_batch("long", first))
            ]
            scores["long_films"] = sum(hits) / len(hits)
        return scores

    def hits(self, batch: InstructBatch) -> list[tuple[str, bool]]:
        """Return the type of each question of a batch, and whether it is answered to the letter."""
        relevance = (self.video.aligner.logit_scale.exp() * self._cosines(batch)).softmax(-1)
        told = self._told(batch, relevance)
        wrong = torch.zeros(len(batch.packs), device=told.logits.device).index_add_(
            0, told.pack_of, (told.logits.argmax(-1) != told.labels).float()
        )
        types = [pack.questions[-1].type for pack in batch.packs]
        return [(name, errors == 0) for name, errors in zip(types, wrong.tolist(), strict=True)]

    def validation_batch(self, kind: str, first: int) -> InstructBatch:
        """Return one question of every type about a few clips that are held out."""
        rng = np.random.default_rng([first, 1])
        store = self.validation
        numbers = range(first, first + _VALIDATION_CLIPS)
        scenes = [store.scene(kind, number) for number in numbers]
        types = world.TYPES if kind == "films" else world.BRIEF_TYPES
        packs = [
            pack
            for clip, scene in enumerate(scenes)
            for pack in question_packs(clip, world.ask(scene, rng, types))
        ]
        return self._batch(store, kind, numbers, scenes, packs, self._full_window(kind))

    def _told(self, batch: InstructBatch, relevance: Tensor) -> Told:
        """Run the language model over packs pooled by their relevance ``(P, T H W)``."""
        model, words = self.video, cast(NanoWords, self.video.words)
        tokens = self._visual_tokens(batch, relevance)
        rows = [row_of(pack, words) for pack in batch.packs]
        ids, _ = pad_rows([row.ids for row in rows], words.pad_id)
        ids = functional.pad(ids, (0, -ids.shape[1] % LENGTH_STEP), value=words.pad_id)
        embeddings = model.prompt_embeddings(tokens, ids.to(tokens.device))
        before = tokens.shape[1] - 1  # one id of a prompt stands for all the visual tokens
        mask, positions = who_sees_whom(rows, before, embeddings.shape[1])
        output = model.llm.model(
            inputs_embeds=embeddings,
            attention_mask=mask.to(embeddings.device),
            position_ids=positions.to(embeddings.device),
            use_cache=False,
            output_hidden_states=True,
        )
        states = output.last_hidden_state
        numbers = [number for number, row in enumerate(rows) for _ in row.labels]
        places = [before + place for row in rows for place in row.places]
        labels = [label for row in rows for label in row.labels]
        chosen = torch.tensor(numbers, device=states.device)
        answering = filled(states[chosen, torch.tensor(places, device=states.device)])
        logits = model.llm.lm_head(answering)[: len(labels)]
        weights = torch.tensor([w for row in rows for w in row.weights], device=states.device)
        return Told(
            logits=logits.float(),
            labels=torch.tensor(labels, device=states.device),
            weights=weights,
            pack_of=chosen,
            rows=rows,
            states=[output.hidden_states[layer] for layer in self.model.heads.layers],
            before=before,
        )

    def _noted_loss(self, batch: InstructBatch, told: Told) -> Tensor:
        """Return how badly the states of mentions and options tell what they are about."""
        heads = self.model.heads
        loss = told.logits.new_zeros(())
        mentions = [
            (number, told.before + place, facts(batch.scenes[pack.clip], things))
            for number, (pack, row) in enumerate(zip(batch.packs, told.rows, strict=True))
            for place, things in row.mentions
        ]
        if mentions:
            classes, measures = stacked([one[2] for one in mentions], loss.device)
            loss = loss + heads.facts_loss(_at(told.states, mentions), classes, measures)
        options = [
            (number, told.before + place, (float(right), OPTION_LETTERS.index(letter)))
            for number, row in enumerate(told.rows)
            for place, letter, right in row.options
        ]
        if options:
            right = torch.tensor([one[2][0] for one in options], device=loss.device)
            letters = torch.tensor([one[2][1] for one in options], device=loss.device)
            loss = loss + heads.options_loss(_at(told.states, options), right, letters)
        pairs = [
            (number, told.before + place, differences(batch.scenes[pack.clip], *things))
            for number, (pack, row) in enumerate(zip(batch.packs, told.rows, strict=True))
            for place, things in row.pairs
        ]
        if pairs:
            true = torch.tensor([one[2] for one in pairs], device=loss.device)
            loss = loss + heads.differences_loss(_at(told.states, pairs), true)
        return loss

    def _visual_tokens(self, batch: InstructBatch, relevance: Tensor) -> Tensor:
        """Pool each pack's clip by its relevance ``(P, T H W)``: ``(P, N, D_llm)``."""
        model = self.video
        clip_of = torch.tensor([pack.clip for pack in batch.packs], device=model.device)
        if self.recipe.data.relevance == "masks":
            relevance = batch.targets.to(model.device)
        features = batch.features.to(model.device).float()
        tokens = model.visual_tokens(
            features[clip_of],
            relevance.reshape(-1, *features.shape[1:4]),
            window=batch.window,
        ).tokens
        lengths = batch.lengths_seconds.to(model.device)
        if not lengths.any():
            return tokens
        size = batch.window.output_size(cast(Any, tuple(features.shape[1:4])))
        timed: Tensor = model.parts.at_times(tokens, size, lengths[clip_of])
        return timed

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

    def _prepare(self) -> None:
        """Ready a freshly aligned model: long texts, feature scale, words that mean something."""
        model = self.video
        if model.aligner.context_length < 100:
            model.aligner.extend_context()
            text = {**model.config.aligner["text"], "context_length": model.aligner.context_length}
            aligner = {**model.config.aligner, "text": text}
            model.config = dataclasses.replace(model.config, aligner=aligner)
        self._measure_scale()
        self._seed_words()
        self._seed_attention()

    @torch.no_grad()
    def _measure_scale(self) -> None:
        """Measure mean and spread of every channel of the pooled features."""
        model = self.video
        sums = torch.zeros(2, model.parts.scale.mean.shape[0], dtype=torch.float64)
        count = 0

        def add_up(module: Any, inputs: tuple[Tensor, ...]) -> None:
            nonlocal count, sums
            flat = inputs[0].flatten(0, -2).double().cpu()
            sums += torch.stack([flat.sum(0), flat.square().sum(0)])
            count += len(flat)

        listening = model.parts.scale.register_forward_pre_hook(add_up)
        films = (batch for batch in map(self.batch, itertools.count()) if _is_film(batch, model))
        for batch in itertools.islice(films, _SCALE_BATCHES):
            batch = dataclasses.replace(batch, window=model.config.window)
            relevance = (model.aligner.logit_scale.exp() * self._cosines(batch)).softmax(-1)
            self._visual_tokens(batch, relevance)
        listening.remove()
        mean, square = sums / count
        model.parts.scale.mean.copy_(mean)
        model.parts.scale.spread.copy_((square - mean**2).clamp(min=1e-8).sqrt())

    @torch.no_grad()
    def _seed_words(self) -> None:
        """Start the words for colours and shapes where the text tower has them."""
        model = self.video
        embedding: Any = model.llm.get_input_embeddings()
        table = embedding.weight
        table.mul_(_EMBEDDING_SPREAD / table.std())
        words = [*COLOURS, *KINDS]
        meanings = functional.normalize(model.embed_texts(words).float(), dim=-1)
        for word, meaning in zip(words, meanings, strict=True):
            ids = model.words.tokenizer.encode(word, add_special_tokens=False).ids
            if len(ids) == 1 and len(meaning) == table.shape[1]:
                table[ids[0]] = meaning * len(meaning) ** 0.5 * _EMBEDDING_SPREAD

    @torch.no_grad()
    def _seed_attention(self) -> None:
        """Let half of the heads begin by looking at what is like the token that looks.

        Words and pooled tokens start from one space, so "red" then finds what is red; from queries
        and keys that have nothing to do with each other it would be long until two things that
        were pooled together are told apart.
        """
        settings: Any = self.video.llm.config
        heads = settings.num_attention_heads
        width = settings.hidden_size // heads
        matching = width * (heads // 2)
        for layer in self.video.llm.model.layers:
            attention: Any = layer.self_attn
            if attention.k_proj.weight.shape != attention.q_proj.weight.shape:
                continue  # heads that share keys have no keys of their own
            rows = torch.empty_like(attention.q_proj.weight[:matching])
            for first in range(0, matching, width):
                nn.init.orthogonal_(rows[first : first + width])
            attention.q_proj.weight[:matching] = rows
            attention.k_proj.weight[:matching] = rows


def _at(states: Sequence[Tensor], places: Sequence[tuple[int, int, Any]]) -> list[Tensor]:
    """Return the states ``(M, D)`` of each layer at (pack, place, ...)."""
    packs = torch.tensor([one[0] for one in places], device=states[0].device)
    tokens = torch.tensor([one[1] for one in places], device=states[0].device)
    return [each[packs, tokens] for each in states]


def _of_another_clip(packs: Sequence[Pack], number: int) -> str:
    """Return the guide of a pack half a batch away that is about another clip."""
    others = [*packs[number:], *packs[:number]][len(packs) // 2 :]
    own = packs[number].clip
    return next(pack.guide for pack in [*others, *packs] if pack.clip != own)


def _is_film(batch: InstructBatch, model: VideoLM) -> bool:
    """Whether a batch is of films of the usual length."""
    return batch.features.shape[1] == model.config.num_frames
