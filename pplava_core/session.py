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

import torch
from torch import Tensor

from pplava_core import alignment, media
from pplava_core.errors import UsageError
from pplava_core.evidence import find_moments, picture_box_of, span_of
from pplava_core.models.generation import Generation, TextPieces, generate_ids
from pplava_core.types import (
    Answer,
    Clip,
    ClipSource,
    Moment,
    PatchGrid,
    Relevance,
    Sampling,
    Timings,
)
from pplava_core.window import Size, Window, window_for_budget

if TYPE_CHECKING:
    from pplava_core.feature_cache import FeatureCache
    from pplava_core.models.videolm import VideoLM

Progress = Callable[[int, int], None]

__all__ = ["AnswerStream", "Generation", "PoolingChoice", "Session", "Turn"]


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
class _Prompt:
    """A question made ready for the language model."""

    embeddings: Tensor
    relevance: Relevance
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
        grid = model.encode(clip, progress)
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
            import numpy as np

            pictures = np.stack([picture for _, picture in frames])
            self._clip = Clip(frames=pictures, seconds=self.grid.seconds, source=self.source)
        return self._clip

    @torch.inference_mode()
    def relevance(self, text: str) -> Relevance:
        """Score every patch against a text (Eq. 1)."""
        if self._patches is None:
            self._patches = self.model.aligner.embed_patches(self.grid.features[None])
        weights = alignment.relevance(
            self._patches,
            self.model.embed_texts([text]),
            logit_scale=self.model.aligner.logit_scale.exp(),
        )[0]
        return Relevance(weights=weights.cpu(), seconds=self.grid.seconds, text=text)

    def window_for(self, choice: PoolingChoice) -> Window | None:
        """Return the window a choice means on this clip; None passes every patch.

        Raises:
            ShapeError: the window does not fit the grid, or no window meets the budget.
        """
        if (choice.weighting or self.model.config.weighting) == "none":
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
    ) -> Answer:
        """Answer a question; see `stream`."""
        stream = self.stream(question, pooling=pooling, generation=generation, history=history)
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
    ) -> AnswerStream:
        """Begin an answer that is written as it is read.

        Args:
            question: pools the grid and is put to the language model.
            pooling: window and weighting.
            generation: length and randomness.
            history: earlier turns, the oldest first; they are words only, the grid is
                pooled for this question alone.

        Raises:
            UsageError: the question is empty, or the choice does not fit the clip.
        """
        if not question.strip():
            raise UsageError("the question is empty: ask something")
        return AnswerStream(
            self, question, pooling or PoolingChoice(), generation or Generation(), tuple(history)
        )

    @torch.inference_mode()
    def _prompt(
        self, question: str, choice: PoolingChoice, history: Sequence[Turn], max_new_tokens: int
    ) -> _Prompt:
        model = self.model
        window, weighting = self.window_for(choice), choice.weighting or model.config.weighting
        relevance = self.relevance(question)
        visual = model.visual_tokens(
            self.grid.features[None],
            relevance.weights[None].to(model.device),
            window=window,
            weighting=weighting,
        )
        turns = [(turn.question, turn.answer) for turn in history]
        room = model.context_length - 1 - visual.tokens.shape[1] - max_new_tokens
        ids = model.prompt_ids(question, turns)
        while turns and len(ids) > room:
            turns = turns[1:]
            ids = model.prompt_ids(question, turns)
        if len(ids) > room:
            raise UsageError(
                f"{visual.tokens.shape[1]} visual tokens, {len(ids)} of the question and "
                f"{max_new_tokens} of the answer do not fit {model.name}'s {model.context_length} "
                "positions; use --tokens, fewer frames or a lower --max-new-tokens"
            )
        embeddings = model.prompt_embeddings(
            visual.tokens, torch.tensor([ids], device=model.device)
        )
        return _Prompt(
            embeddings=embeddings,
            relevance=relevance,
            window=window,
            weighting=weighting,
            token_count=visual.tokens.shape[1],
        )


class AnswerStream:
    """An answer being written: iterate over its pieces of text, then take `answer`."""

    def __init__(
        self,
        session: Session,
        question: str,
        choice: PoolingChoice,
        generation: Generation,
        history: tuple[Turn, ...],
    ) -> None:
        self._session, self._question = session, question
        self._generation = generation
        self._started = time.perf_counter()
        self._prompt = session._prompt(question, choice, history, generation.max_new_tokens)
        self._pieces = TextPieces(session.model.tokenizer)
        self._stopping = False
        self._answer: Answer | None = None

    def __iter__(self) -> Iterator[str]:
        """Yield pieces of text until the answer ends or is stopped."""
        stopped: Literal["end", "length", "interrupted"] = "end"
        model = self._session.model
        ids = generate_ids(
            model.llm, self._prompt.embeddings, settings=self._generation, end_id=model.end_id
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
            evidence=session.evidence(prompt.relevance),
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
    return media.load_clip(
        paths[0] if len(paths) == 1 else paths,
        sampling=sampling,
        pixels=model.config.pixels,
        default_num_frames=model.config.num_frames,
        reader=reader,
        progress=progress,
    )


def _moved(grid: PatchGrid, device: torch.device) -> PatchGrid:
    if grid.features.device == device:
        return grid
    return PatchGrid(features=grid.features.to(device), seconds=grid.seconds, source=grid.source)
