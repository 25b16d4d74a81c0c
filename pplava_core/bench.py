"""How long each stage takes on this machine, and what a second question about a clip costs.

Every round reads the clip anew, answers one question, then another one about the same
patches, then opens the clip once more from a cache on disk; one round that is not counted
warms everything up. Given are medians. Knows no terminal and keeps nothing.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pplava_core import media
from pplava_core.errors import UsageError
from pplava_core.feature_cache import FeatureCache
from pplava_core.session import Generation, PoolingChoice, Session
from pplava_core.types import Answer, Sampling

if TYPE_CHECKING:
    from pplava_core.models.videolm import VideoLM

QUESTIONS = ("how many objects are there?", "what colour is the largest object?")

Progress = Callable[[int, int], None]
"Called with the number of rounds done and the number there are."


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Medians over the rounds, in seconds where nothing else is said."""

    rounds: int
    grid_size: tuple[int, int, int]
    "Patches along ``(T, H, W)``."
    patch_count: int
    token_count: int
    "Visual tokens after pooling."
    decode_seconds: float
    "From the file to frames of the model's size."
    encode_seconds: float
    "From frames to patches."
    pool_seconds: float
    "First question: its text, relevance, pooling, projection; until generation can begin."
    generate_seconds: float
    text_token_count: int
    "Tokens that were generated for the first question."
    second_pool_seconds: float
    "The same for a second question about the same patches."
    second_generate_seconds: float
    cached_open_seconds: float
    "Opening the clip again with its patches on disk; includes checking that it is the same."

    @property
    def second_question_ratio(self) -> float:
        """What a second question costs before generation, as part of decoding and encoding."""
        return self.second_pool_seconds / (self.decode_seconds + self.encode_seconds)


def measure(
    paths: Sequence[Path],
    model: VideoLM,
    *,
    sampling: Sampling | None = None,
    reader: str = "pyav",
    pooling: PoolingChoice | None = None,
    generation: Generation | None = None,
    questions: tuple[str, str] = QUESTIONS,
    rounds: int = 5,
    progress: Progress | None = None,
) -> Measurements:
    """Time the stages of answering two questions about a clip.

    Args:
        paths: as for `Session.open`.
        model: who answers; on any device.
        sampling: which frames; None is the model's number of frames of the whole.
        reader: which library decodes.
        pooling: window and weighting.
        generation: length and randomness of both answers.
        questions: the first and the second one.
        rounds: how many are counted, after one that is not.
        progress: called after every round.

    Raises:
        UsageError: ``rounds`` is below 1, or the sampling does not fit the clip.
        InputError: the clip cannot be read.
    """
    if rounds < 1:
        raise UsageError(f"{rounds} rounds measure nothing: ask for at least 1")
    stopwatch = _Stopwatch(model)
    native = pooling is not None and pooling.weighting == "native"
    with tempfile.TemporaryDirectory(prefix="pplava-bench-") as folder:
        for number in range(rounds + 1):
            if number == 1:
                stopwatch.forget()
            session = _open(paths, model, sampling or Sampling(), reader, stopwatch, native)
            first = _ask(session, questions[0], pooling, generation, stopwatch, "")
            _ask(session, questions[1], pooling, generation, stopwatch, "second_")
            _reopen(session, paths, sampling, reader, FeatureCache(Path(folder)), stopwatch, native)
            if progress is not None:
                progress(number + 1, rounds + 1)
    return Measurements(
        rounds=rounds,
        grid_size=session.grid_size,
        patch_count=first.patch_count,
        token_count=first.token_count,
        text_token_count=first.text_token_count,
        **{f"{stage}_seconds": stopwatch.median(stage) for stage in _STAGES},
    )


def write_clip(path: Path) -> None:
    """Write a film to measure with: four seconds of 640 by 360 pixels, always the same.

    Raises:
        OSError: the disk does not take it.
    """
    from pplava_core.shapes.drawing import draw_scene
    from pplava_core.shapes.film import encode_mp4
    from pplava_core.shapes.render import render

    frame_count = 64
    moments = [index / (frame_count - 1) for index in range(frame_count)]
    frames, _ = render(draw_scene(5), moments, height=360, width=640)
    encode_mp4(frames, path, fps=16)


_STAGES = (
    "decode",
    "encode",
    "pool",
    "generate",
    "second_pool",
    "second_generate",
    "cached_open",
)


class _Stopwatch:
    """Collects the seconds of named stages, waiting for the accelerator at every lap."""

    def __init__(self, model: VideoLM) -> None:
        self._model = model
        self._seconds: dict[str, list[float]] = {stage: [] for stage in _STAGES}
        self._started = 0.0

    def start(self) -> None:
        self._started = self._now()

    def lap(self, stage: str) -> None:
        """Give the time since the last lap to a stage."""
        now = self._now()
        self._seconds[stage].append(now - self._started)
        self._started = now

    def forget(self) -> None:
        for seconds in self._seconds.values():
            seconds.clear()

    def median(self, stage: str) -> float:
        return statistics.median(self._seconds[stage])

    def _now(self) -> float:
        import torch

        if self._model.device.type == "cuda":
            torch.cuda.synchronize(self._model.device)
        return time.perf_counter()


def _open(
    paths: Sequence[Path],
    model: VideoLM,
    sampling: Sampling,
    reader: str,
    stopwatch: _Stopwatch,
    native: bool,
) -> Session:
    stopwatch.start()
    kind = media.kind_of(paths[0]) if len(paths) == 1 else "images"
    preparation = model.parts.preparation(kind, native=native)
    clip = media.load_clip(
        paths[0] if len(paths) == 1 else paths,
        sampling=model.config.sampling(sampling),
        pixels=preparation.pixels,
        cut=preparation.cut,
        default_num_frames=model.config.num_frames,
        reader=reader,
    )
    stopwatch.lap("decode")
    grid = model.encode(clip)
    stopwatch.lap("encode")
    return Session(model, grid, clip=clip, native=native)


def _ask(
    session: Session,
    question: str,
    pooling: PoolingChoice | None,
    generation: Generation | None,
    stopwatch: _Stopwatch,
    prefix: str,
) -> Answer:
    stopwatch.start()
    stream = session.stream(question, pooling=pooling, generation=generation)
    stopwatch.lap(f"{prefix}pool")
    for _ in stream:
        pass
    stopwatch.lap(f"{prefix}generate")
    return stream.answer


def _reopen(
    session: Session,
    paths: Sequence[Path],
    sampling: Sampling | None,
    reader: str,
    cache: FeatureCache,
    stopwatch: _Stopwatch,
    native: bool,
) -> None:
    """Time an opening that finds the patches on disk, as a later run of the program does."""

    def opened() -> None:
        Session.open(
            paths, session.model, sampling=sampling, reader=reader, cache=cache, native=native
        )

    if cache.info().entry_count == 0:
        opened()
    stopwatch.start()
    opened()
    stopwatch.lap("cached_open")
