"""A conversation's view of one clip: its patch grid, computed once, and what is asked of it.

Opening decodes and encodes, or takes the grid from the cache; everything after that
depends on the question and never touches the decoder or the tower again. Knows no
terminal: words come out as an iterator that anyone may read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pplava_core import media
from pplava_core.errors import UsageError
from pplava_core.evidence import find_moments, picture_box_of, span_of
from pplava_core.models.language.answers import AnswerStream, Prompt, answer_together
from pplava_core.models.language.generation_settings import Generation
from pplava_core.models.language.prompt_fitting import Ask, Turn, fitted_prompt_ids
from pplava_core.models.videolm import UNGUIDED
from pplava_core.types import (
    Answer,
    Clip,
    ClipSource,
    Moment,
    PatchGrid,
    Relevance,
    Sampling,
    Timings,
    VisualTokens,
)
from pplava_core.window import Size, Window, window_for_budget

if TYPE_CHECKING:
    from pplava_core.feature_cache import FeatureCache
    from pplava_core.models.videolm import VideoLM

Progress = Callable[[int, int], None]

__all__ = ["AnswerStream", "Ask", "Generation", "PoolingChoice", "Session", "Turn"]


@dataclass(frozen=True, kw_only=True)
class PoolingChoice:
    """What the asker wants pooled differently; None leaves it to the model's config."""

    window: Window | None = None
    max_tokens: int | None = None
    "Pool as little as leaves at most so many tokens."
    weighting: str | None = None

    def __post_init__(self) -> None:
        if self.window is not None and self.max_tokens is not None:
            raise UsageError("a window and a token budget exclude each other: give one of them")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise UsageError(f"a budget of {self.max_tokens} tokens: ask for at least 1")


class Session:
    """One clip and one model.

    Args:
        model: who answers.
        grid: the clip's features.
        clip: the frames, where they are at hand; otherwise they are decoded when asked for.
        from_cache: whether the grid was computed earlier.
        timings: what opening cost.
        native: whether the pictures were made ready for the base model's own path.
    """

    def __init__(
        self,
        model: VideoLM,
        grid: PatchGrid,
        *,
        clip: Clip | None = None,
        from_cache: bool = False,
        timings: Timings | None = None,
        native: bool = False,
    ) -> None:
        self.model = model
        self.grid = grid
        self.from_cache = from_cache
        self.timings = timings or Timings()
        self.preparation = model.parts.preparation(grid.source.kind, native=native)
        self._clip = clip
        self._patches: Tensor | None = None
        self._things: Tensor | None = None
        self._native: VisualTokens | None = None

    @classmethod
    def open(
        cls,
        paths: Sequence[Path],
        model: VideoLM,
        *,
        sampling: Sampling | None = None,
        reader: str = "pyav",
        cache: FeatureCache | None = None,
        progress: Progress | None = None,
        native: bool = False,
    ) -> Session:
        """Read and encode a clip, or take its grid from the cache.

        Args:
            paths: one film, picture or folder of frames, or several pictures.
            model: who will answer.
            sampling: which frames; None is the model's number of frames of the whole.
            reader: which library decodes.
            cache: where grids are kept; None keeps nothing.
            progress: called with frames done and in all.
            native: make the pictures ready as the base model itself does; only then can it be
                asked with ``native`` pooling, and only so.

        Raises:
            InputError: the clip cannot be read.
            UsageError: the sampling does not fit the clip.
        """
        sampling = model.config.sampling(sampling)
        key = None
        kinds = [media.kind_of(path) for path in paths]  # refuses what is no film
        kind = kinds[0] if len(kinds) == 1 else "images"
        preparation = model.parts.preparation(kind, native=native)
        if cache is not None:
            key = cache.key(
                paths,
                sampling=sampling,
                reader=reader,
                model_revision=model.revision,
                dtype=model.dtype,
                default_num_frames=model.config.num_frames,
                pixels=preparation.pixels,
                cut=preparation.name,
            )
            grid = cache.load(key)
            if grid is not None:
                return cls(model, _moved(grid, model.device), from_cache=True, native=native)
        started = time.perf_counter()
        clip = media.load_clip(
            paths[0] if len(paths) == 1 else paths,
            sampling=sampling,
            pixels=preparation.pixels,
            cut=preparation.cut,
            default_num_frames=model.config.num_frames,
            reader=reader,
            progress=progress,
        )
        decoded = time.perf_counter()
        grid = model.encode(clip, progress)
        if grid.features.is_cuda:
            torch.cuda.synchronize(grid.features.device)
        timings = Timings(
            decode_seconds=decoded - started, encode_seconds=time.perf_counter() - decoded
        )
        if cache is not None and key is not None:
            cache.store(key, grid)
        shown = None if clip.source.tile_counts else clip
        return cls(model, grid, clip=shown, timings=timings, native=native)

    @property
    def source(self) -> ClipSource:
        """Where the clip came from and what of it was read."""
        return self.grid.source

    @property
    def grid_size(self) -> Size:
        """Patches along ``(T, H, W)``."""
        frames, rows, columns = self.grid.features.shape[:3]
        return frames, rows, columns

    @property
    def seconds(self) -> np.ndarray:
        """Times of the frames or pictures, ``(T,)``; tiles of one picture count once."""
        return self.grid.seconds[self._whole_pictures]

    @property
    def _whole_pictures(self) -> list[int]:
        """Which of the grid's frames show all of a picture, and not a tile of it."""
        count, source = len(self.grid.features), self.source
        counts = source.tile_counts or ((count,) if source.kind == "image" else (1,) * count)
        whole = self.model.parts.whole_picture_tile
        starts = [sum(counts[:number]) for number in range(len(counts))]
        return [start + whole % size for start, size in zip(starts, counts, strict=True)]

    def clip(self) -> Clip:
        """Return the frames as the model saw them, decoding them again if they are gone."""
        if self._clip is None:
            frames = media.iterate_frames(self.source, pixels=self.preparation.pixels)
            pictures = np.stack([picture for _, picture in frames])
            self._clip = Clip(frames=pictures, seconds=self.seconds, source=self.source)
        return self._clip

    def relevance(self, text: str) -> Relevance:
        """Score every patch against a text (Eq. 1).

        A picture that the model cuts into tiles is shown by the tile that has all of it: the
        weights of these tiles are scaled to sum to 1.
        """
        return self._shown(self._weights(text), text)

    def _shown(self, weights: Tensor, text: str) -> Relevance:
        """Return the relevance of whole pictures from that of all tiles."""
        whole = self._whole_pictures
        if len(whole) < len(weights):
            weights = weights[whole] / weights[whole].sum()
        return Relevance(weights=weights, seconds=self.seconds, text=text)

    @torch.inference_mode()
    def _weights(self, text: str) -> Tensor:
        """Return the relevance of every patch, tiles and all, on the CPU."""
        features = self.grid.features[None]
        if self._patches is None:
            self._patches = self.model.embed_patches(features)
        return self.model.relevance(features, [text], patches=self._patches)[0].cpu()

    def window_for(self, choice: PoolingChoice) -> Window | None:
        """Return the window a choice means on this clip; None passes every patch.

        Raises:
            ShapeError: the window does not fit the grid, or no window meets the budget.
            UsageError: the clip was opened for the base model's own path and this is not it,
                or the other way about.
        """
        weighting = choice.weighting or self.model.config.weighting
        wanted = self.model.parts.preparation(self.source.kind, native=weighting == "native")
        if (wanted.pixels, wanted.name) != (self.preparation.pixels, self.preparation.name):
            raise UsageError(
                f"the pictures were not made ready for {weighting!r} pooling: open the clip "
                f"with native={weighting == 'native'}"
            )
        if weighting in ("none", "native"):
            return None
        if choice.window is not None:
            choice.window.output_size(self.grid_size)
            return choice.window
        config = self.model.config
        preferred = (
            config.window if self.source.kind in ("video", "frames") else config.image_window
        )
        preferred = _grown(preferred.fitted(self.grid_size), self.grid_size, config.most_time_steps)
        if choice.max_tokens is not None:
            return window_for_budget(self.grid_size, choice.max_tokens, preferred=preferred)
        return preferred

    def token_count(self, choice: PoolingChoice) -> int:
        """Return how many visual tokens a choice leaves of this clip, those of a list aside."""
        window = self.window_for(choice)
        if (choice.weighting or self.model.config.weighting) == "native":
            return int(self._native_tokens().tokens.shape[1])
        size = self.grid_size if window is None else window.output_size(self.grid_size)
        width = self.model.llm.get_input_embeddings().embedding_dim
        blank = torch.zeros(1, device=self.model.device).expand(1, math.prod(size), width)
        with torch.inference_mode():
            arranged: VisualTokens = self.model.parts.arrange(blank, size, self.source)
        return int(arranged.tokens.shape[1])

    @torch.inference_mode()
    def _native_tokens(self) -> VisualTokens:
        """Return the base model's own tokens, which no question changes."""
        if self._native is None:
            self._native = self.model.visual_tokens(
                self.grid.features[None], None, weighting="native", source=self.source
            )
        return self._native

    def warning_for(self, choice: PoolingChoice) -> str | None:
        """Say what is doubtful about a choice of weighting, if anything is."""
        trained = self.model.config.weighting
        if choice.weighting in (None, trained, "native"):
            return None
        if self.model.config.is_base:
            return (
                "literal pooling shrinks what a base model sees about a thousandfold; its answers "
                "are worth little"
                if choice.weighting == "literal"
                else None
            )
        return (
            f"{self.model.name} was trained with {trained!r} weighting; "
            f"with {choice.weighting!r} its answers are worth less"
        )

    def evidence(self, relevance: Relevance) -> tuple[Moment, ...]:
        """Name the moments of the clip that weighed most."""
        return find_moments(
            relevance,
            frame_span_seconds=span_of(self.source),
            picture_box=picture_box_of(self.source, self.preparation.pixels),
        )

    def ask(
        self,
        question: str,
        *,
        pooling: PoolingChoice | None = None,
        generation: Generation | None = None,
        history: Sequence[Turn] = (),
        guide: str | None = None,
        system: str | None = None,
        answer_prefix: str = "",
    ) -> Answer:
        """Answer a question; see `stream`."""
        stream = self.stream(
            question,
            pooling=pooling,
            generation=generation,
            history=history,
            guide=guide,
            system=system,
            answer_prefix=answer_prefix,
        )
        for _ in stream:
            pass
        return stream.answer

    def stream(
        self,
        question: str,
        *,
        pooling: PoolingChoice | None = None,
        generation: Generation | None = None,
        history: Sequence[Turn] = (),
        guide: str | None = None,
        system: str | None = None,
        answer_prefix: str = "",
    ) -> AnswerStream:
        """Begin an answer that is written as it is read.

        Args:
            question: put to the language model.
            pooling: window and weighting.
            generation: length and randomness.
            history: earlier turns, the oldest first; they are words only, the grid is
                pooled for this question alone.
            guide: pools the grid; None is the question, for some models with those before it.
            system: instructions before all else, where the model's prompts have a place.
            answer_prefix: the answer's first words, given to the model.

        Raises:
            UsageError: the question is empty, or the choice does not fit the clip.
            ModelError: the choice needs an aligner and the model has none.
        """
        asked = Ask(
            question=question,
            guide=guide,
            history=tuple(history),
            system=system,
            answer_prefix=answer_prefix,
        )
        generation, started = generation or Generation(), time.perf_counter()
        prompt = self._prompt(asked, pooling or PoolingChoice(), generation.max_new_tokens)
        return AnswerStream(self.model, prompt, generation, started_seconds=started)

    def ask_many(
        self,
        questions: Sequence[str | Ask],
        *,
        pooling: PoolingChoice | None = None,
        generation: Generation | None = None,
        batch_size: int = 8,
    ) -> list[Answer]:
        """Answer several questions, some at a time, each as it would be answered alone.

        Args:
            questions: the texts, or with what is said around them; every one pools the grid.
            pooling: window and weighting, for all.
            generation: length and randomness, for all.
            batch_size: how many are answered at once: memory grows with it.

        Raises:
            UsageError: a question is empty, or the choice does not fit the clip.
            ModelError: the choice needs an aligner and the model has none.
        """
        generation, pooling = generation or Generation(), pooling or PoolingChoice()
        asked = [Ask(question=one) if isinstance(one, str) else one for one in questions]
        answers: list[Answer] = []
        for start in range(0, len(asked), batch_size):
            started = time.perf_counter()
            prompts = [
                self._prompt(one, pooling, generation.max_new_tokens)
                for one in asked[start : start + batch_size]
            ]
            answers += answer_together(self.model, prompts, generation, started_seconds=started)
        return answers

    @torch.inference_mode()
    def _prompt(self, asked: Ask, choice: PoolingChoice, max_new_tokens: int) -> Prompt:
        if not asked.question.strip():
            raise UsageError("the question is empty: ask something")
        model = self.model
        window, weighting = self.window_for(choice), choice.weighting or model.config.weighting
        weights = None
        guide = asked.guide or model.guide(
            asked.question, [turn.question for turn in asked.history]
        )
        if model.aligner is not None or weighting not in UNGUIDED:
            weights = self._weights(guide)
        features = self.grid.features[None]
        if self._things is None:
            self._things = model.read_things(features)
        visual = model.visual_tokens(
            features,
            None if weights is None else weights[None].to(features.device),
            window=window,
            weighting=weighting,
            source=self.source,
            things=self._things,
        )
        ids, warnings = fitted_prompt_ids(
            model, asked, visual, kind=self.source.kind, max_new_tokens=max_new_tokens
        )
        embeddings = model.prompt_embeddings(
            visual.tokens, torch.tensor([ids], device=model.device), visual.block_sizes
        )
        return Prompt(
            question=asked.question,
            guide="" if weights is None else guide,
            embeddings=embeddings,
            evidence=() if weights is None else self.evidence(self._shown(weights, guide)),
            patch_count=math.prod(self.grid_size),
            token_count=visual.tokens.shape[1] - visual.listed,
            window=window,
            weighting=weighting,
            timings=self.timings,
            warnings=warnings,
        )


def _grown(window: Window, grid_size: Size, most_steps: int | None) -> Window:
    """Return a window that leaves no more steps in time than a model was trained to read."""
    steps = window.output_size(grid_size)[0]
    if most_steps is None or steps <= most_steps:
        return window
    step = grid_size[0] // most_steps
    kernel = grid_size[0] - (most_steps - 1) * step
    return Window((kernel, *window.kernel[1:]), (step, *window.step[1:]))


def _moved(grid: PatchGrid, device: torch.device) -> PatchGrid:
    if grid.features.device == device:
        return grid
    return PatchGrid(features=grid.features.to(device), seconds=grid.seconds, source=grid.source)
