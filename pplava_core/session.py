"""A conversation's view of one clip: its patch grid, computed once, and what is asked of it.

Opening decodes and encodes, or takes the grid from the cache; everything after that
depends on the question and never touches the decoder or the tower again. Knows no
terminal: words come out as an iterator that anyone may read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from pplava_core import media
from pplava_core.errors import UsageError
from pplava_core.evidence import find_moments, picture_box_of, span_of
from pplava_core.models.generation import generate_ids
from pplava_core.models.generation_settings import Generation
from pplava_core.models.text_pieces import TextPieces
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


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One question of a conversation and the answer it got."""

    question: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One question, and all that is said around it."""

    question: str
    guide: str | None = None
    "Text that decides the pooling; None is the question."
    history: tuple[Turn, ...] = ()
    "Earlier turns, the oldest first."
    system: str | None = None
    "Instructions before all else; None is the model's own habit."
    answer_prefix: str = ""
    "The answer's first words, given to the model and no part of what it wrote."


@dataclass(frozen=True, kw_only=True)
class _Prompt:
    """A question made ready for the language model."""

    embeddings: Tensor
    evidence: tuple[Moment, ...]
    window: Window | None
    weighting: str
    token_count: int


class Session:
    """One clip and one model.

    Args:
        model: who answers.
        grid: the clip's features.
        clip: the frames, where they are at hand; otherwise they are decoded when asked for.
        from_cache: whether the grid was computed earlier.
        timings: what opening cost.
    """

    def __init__(
        self,
        model: VideoLM,
        grid: PatchGrid,
        *,
        clip: Clip | None = None,
        from_cache: bool = False,
        timings: Timings | None = None,
    ) -> None:
        self.model = model
        self.grid = grid
        self.from_cache = from_cache
        self.timings = timings or Timings()
        self._clip = clip
        self._patches: Tensor | None = None

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
    ) -> Session:
        """Read and encode a clip, or take its grid from the cache.

        Args:
            paths: one film, picture or folder of frames, or several pictures.
            model: who will answer.
            sampling: which frames; None is the model's number of frames of the whole.
            reader: which library decodes.
            cache: where grids are kept; None keeps nothing.
            progress: called with frames done and in all.

        Raises:
            InputError: the clip cannot be read.
            UsageError: the sampling does not fit the clip.
        """
        sampling = sampling or Sampling()
        key = None
        if cache is not None:
            for path in paths:
                media.kind_of(path)  # refuses what is no film before it is read for its hash
            key = cache.key(
                paths,
                sampling=sampling,
                reader=reader,
                model_revision=model.revision,
                dtype=model.dtype,
                default_num_frames=model.config.num_frames,
                pixels=model.config.pixels,
            )
            grid = cache.load(key)
            if grid is not None:
                return cls(model, _moved(grid, model.device), from_cache=True)
        started = time.perf_counter()
        clip = _decode(paths, model, sampling, reader, progress)
        decoded = time.perf_counter()
        grid = model.encode(_cut(clip, model), progress)
        timings = Timings(
            decode_seconds=decoded - started, encode_seconds=time.perf_counter() - decoded
        )
        if cache is not None and key is not None:
            cache.store(key, grid)
        return cls(model, grid, clip=clip, timings=timings)

    @property
    def source(self) -> ClipSource:
        """Where the clip came from and what of it was read."""
        return self.grid.source

    @property
    def grid_size(self) -> Size:
        """Patches along ``(T, H, W)``."""
        frames, rows, columns = self.grid.features.shape[:3]
        return frames, rows, columns

    def clip(self) -> Clip:
        """Return the frames as the model saw them, decoding them again if they are gone."""
        if self._clip is None:
            frames = media.iterate_frames(self.source, pixels=self.model.config.pixels)
            pictures = np.stack([picture for _, picture in frames])
            self._clip = Clip(frames=pictures, seconds=self.grid.seconds, source=self.source)
        return self._clip

    def relevance(self, text: str) -> Relevance:
        """Score every patch against a text (Eq. 1).

        A single picture that the model cuts into tiles is shown by the tile that has all of
        it: its weights are scaled to sum to 1.
        """
        weights = self._weights(text)
        if self._is_cut:
            whole = self.model.parts.whole_picture_tile
            weights = weights[[whole]] / weights[whole].sum()
        return Relevance(weights=weights, seconds=self.grid.seconds[: len(weights)], text=text)

    @torch.inference_mode()
    def _weights(self, text: str) -> Tensor:
        """Return the relevance of every patch, tiles and all, on the CPU."""
        features = self.grid.features[None]
        if self._patches is None:
            self._patches = self.model.embed_patches(features)
        return self.model.relevance(features, [text], patches=self._patches)[0].cpu()

    @property
    def _is_cut(self) -> bool:
        return self.source.kind == "image" and len(self.grid.features) > 1

    def window_for(self, choice: PoolingChoice) -> Window | None:
        """Return the window a choice means on this clip; None passes every patch.

        Raises:
            ShapeError: the window does not fit the grid, or no window meets the budget.
        """
        if (choice.weighting or self.model.config.weighting) in ("none", "native"):
            return None
        if choice.window is not None:
            choice.window.output_size(self.grid_size)
            return choice.window
        config = self.model.config
        preferred = (
            config.window if self.source.kind in ("video", "frames") else config.image_window
        )
        preferred = preferred.fitted(self.grid_size)
        if choice.max_tokens is not None:
            return window_for_budget(self.grid_size, choice.max_tokens, preferred=preferred)
        return preferred

    def token_count(self, choice: PoolingChoice) -> int:
        """Return how many visual tokens a choice leaves of this clip."""
        frames, rows, columns = self.grid_size
        window = self.window_for(choice)
        if window is None:
            return frames * rows * columns
        return window.token_count(self.grid_size)

    def warning_for(self, choice: PoolingChoice) -> str | None:
        """Say what is doubtful about a choice of weighting, if anything is."""
        trained = self.model.config.weighting
        if choice.weighting in (None, trained):
            return None
        return (
            f"{self.model.name} was trained with {trained!r} weighting; "
            f"with {choice.weighting!r} its answers are worth less"
        )

    def evidence(self, relevance: Relevance) -> tuple[Moment, ...]:
        """Name the moments of the clip that weighed most."""
        return find_moments(
            relevance,
            frame_span_seconds=span_of(self.source),
            picture_box=picture_box_of(self.source, self.model.config.pixels),
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
            guide: pools the grid; None is the question.
            system: instructions before all else, where the model's prompts have a place.
            answer_prefix: the answer's first words, given to the model.

        Raises:
            UsageError: the question is empty, or the choice does not fit the clip.
            ModelError: the choice needs an aligner and the model has none.
        """
        if not question.strip():
            raise UsageError("the question is empty: ask something")
        asked = Ask(
            question=question,
            guide=guide,
            history=tuple(history),
            system=system,
            answer_prefix=answer_prefix,
        )
        return AnswerStream(self, asked, pooling or PoolingChoice(), generation or Generation())

    @torch.inference_mode()
    def _prompt(self, asked: Ask, choice: PoolingChoice, max_new_tokens: int) -> _Prompt:
        model = self.model
        window, weighting = self.window_for(choice), choice.weighting or model.config.weighting
        weights = None
        if model.aligner is not None or weighting not in UNGUIDED:
            weights = self._weights(asked.guide or asked.question)
        visual = model.visual_tokens(
            self.grid.features[None],
            None if weights is None else weights[None].to(self.grid.features.device),
            window=window,
            weighting=weighting,
            source=self.source,
        )
        ids = self._prompt_ids(asked, visual, max_new_tokens)
        embeddings = model.prompt_embeddings(
            visual.tokens, torch.tensor([ids], device=model.device), visual.block_sizes
        )
        return _Prompt(
            embeddings=embeddings,
            evidence=() if weights is None else self.evidence(self.relevance(asked.question)),
            window=window,
            weighting=weighting,
            token_count=visual.tokens.shape[1],
        )

    def _prompt_ids(self, asked: Ask, visual: VisualTokens, max_new_tokens: int) -> list[int]:
        """Return the prompt with as many earlier turns as there is room for.

        Raises:
            UsageError: not even the question alone fits.
        """
        model, turns = self.model, [(turn.question, turn.answer) for turn in asked.history]
        count, blocks = visual.tokens.shape[1], len(visual.block_sizes)

        def ids_with(turns: list[tuple[str, str]]) -> list[int]:
            return model.prompt_ids(
                asked.question,
                turns,
                kind=self.source.kind,
                blocks=blocks,
                system=asked.system,
                answer_prefix=asked.answer_prefix,
            )

        room = model.context_length - count + blocks - max_new_tokens
        ids = ids_with(turns)
        while turns and len(ids) > room:
            turns = turns[1:]
            ids = ids_with(turns)
        if len(ids) > room:
            raise UsageError(
                f"{count} visual tokens, {len(ids)} of the question and {max_new_tokens} of the "
                f"answer do not fit {model.name}'s {model.context_length} positions; use "
                "--tokens, fewer frames or a lower --max-new-tokens"
            )
        return ids


class AnswerStream:
    """An answer being written: iterate over its pieces of text, then take `answer`."""

    def __init__(
        self,
        session: Session,
        asked: Ask,
        choice: PoolingChoice,
        generation: Generation,
    ) -> None:
        self._session, self._question = session, asked.question
        self._generation = generation
        self._started = time.perf_counter()
        self._prompt = session._prompt(asked, choice, generation.max_new_tokens)
        self._pieces = TextPieces(session.model.words.decode)
        self._stopping = False
        self._answer: Answer | None = None

    def __iter__(self) -> Iterator[str]:
        """Yield pieces of text until the answer ends or is stopped."""
        stopped: Literal["end", "length", "interrupted"] = "end"
        model = self._session.model
        ids = generate_ids(
            model.llm,
            self._prompt.embeddings,
            settings=self._generation,
            end_ids=model.words.end_ids,
        )
        for token_id in ids:
            piece = self._pieces.add(token_id)
            if piece:
                yield piece
            if self._stopping:
                stopped = "interrupted"
                break
        else:
            if len(self._pieces.ids) == self._generation.max_new_tokens:
                stopped = "length"
        rest = self._pieces.finish()
        if rest:
            yield rest
        self._answer = self._finished(stopped)

    def stop(self) -> None:
        """End the answer after the token that is being written."""
        self._stopping = True

    @property
    def answer(self) -> Answer:
        """The whole answer; iterating must have ended.

        Raises:
            RuntimeError: the answer is still being written.
        """
        if self._answer is None:
            raise RuntimeError("the answer is still being written; iterate to its end first")
        return self._answer

    def _finished(self, stopped: Literal["end", "length", "interrupted"]) -> Answer:
        session, prompt = self._session, self._prompt
        frames, rows, columns = session.grid_size
        window = prompt.window
        return Answer(
            text=self._pieces.text.strip(),
            question=self._question,
            evidence=prompt.evidence,
            patch_count=frames * rows * columns,
            token_count=prompt.token_count,
            text_token_count=len(self._pieces.ids),
            window=None if window is None else (window.kernel, window.step),
            weighting=prompt.weighting,
            timings=Timings(
                decode_seconds=session.timings.decode_seconds,
                encode_seconds=session.timings.encode_seconds,
                generate_seconds=time.perf_counter() - self._started,
            ),
            stopped=stopped,
        )


def _decode(
    paths: Sequence[Path],
    model: VideoLM,
    sampling: Sampling,
    reader: str,
    progress: Progress | None,
) -> Clip:
    kind = media.kind_of(paths[0]) if len(paths) == 1 else "images"
    return media.load_clip(
        paths[0] if len(paths) == 1 else paths,
        sampling=sampling,
        pixels=None if model.parts.cuts(kind) else model.config.pixels,
        default_num_frames=model.config.num_frames,
        reader=reader,
        progress=progress,
    )


def _cut(clip: Clip, model: VideoLM) -> Clip:
    """Cut a picture into tiles, where the model reads it so."""
    if not model.parts.cuts(clip.source.kind):
        return clip
    tiles = model.parts.cut(clip.frames[0])
    seconds = np.repeat(clip.seconds[:1], len(tiles))
    return Clip(frames=tiles, seconds=seconds, source=clip.source)


def _moved(grid: PatchGrid, device: torch.device) -> PatchGrid:
    if grid.features.device == device:
        return grid
    return PatchGrid(features=grid.features.to(device), seconds=grid.seconds, source=grid.source)
