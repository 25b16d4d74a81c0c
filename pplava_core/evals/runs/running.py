"""Asking a model the questions of a benchmark and keeping every answer.

Questions about the same frames of the same video are asked of one session, so that it is
decoded and encoded once, while the next clips are read elsewhere. Each answer is on the
disk before the next question is asked; what is there already is not asked again. Knows no
benchmark by name and no terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pplava_core.errors import PplavaError, UsageError
from pplava_core.evals.base import Benchmark, Item, Prediction, Prompt, Settings
from pplava_core.evals.runs.clips import ClipReading, ClipRequest, read_clips
from pplava_core.evals.runs.predictions import (
    FILE_NAME,
    PredictionLog,
    prediction_files,
    read_folder,
    shard_file_name,
    write_predictions,
)
from pplava_core.evals.runs.sharding import Shard
from pplava_core.media import cut_again
from pplava_core.session import Generation, PoolingChoice, Session
from pplava_core.types import Clip

if TYPE_CHECKING:
    from pplava_core.models.videolm import VideoLM


@dataclass(frozen=True, kw_only=True)
class Work:
    """Everything that is the same for all questions of a run."""

    benchmark: Benchmark
    settings: Settings
    model: VideoLM
    pooling: PoolingChoice = field(default_factory=PoolingChoice)
    generation: Generation = field(default_factory=Generation)
    "How answers are written, but for their length, which the benchmark knows."
    reader: str = "pyav"
    workers: int = 1
    "Processes that read clips ahead; 0 reads in this one."
    guide_positions: int | None = None
    "The aligner reads no further into a question; None lets it read all it can."


class NothingFitsError(UsageError):
    """No question at all can be asked so: its message says why the first one cannot."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Questions about the same frames of the same video."""

    clip: ClipRequest
    items: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far a run is; of this process alone where several share it."""

    questions: int
    "Done, with those of earlier runs."
    question_total: int
    videos: int
    "Opened by this run."
    video_total: int
    "That this run has to open."
    errors: int
    right: float
    "Points so far."
    judged: int
    "Questions that already have points."


Progress = Callable[[Standing], None]


def answer_items(
    items: Sequence[Item],
    work: Work,
    folder: Path,
    *,
    shard: Shard | None = None,
    progress: Progress | None = None,
) -> dict[str, Prediction]:
    """Ask every question that the folder has no answer to.

    A video that is missing or cannot be read becomes a prediction with its error, which the
    next run tries again.

    Args:
        items: all questions of the run, in the order to ask.
        work: who is asked, and how.
        folder: exists and belongs to this run; see `manifest.claim_folder`.
        shard: which of several processes this is; each asks its share.
        progress: called after every question.

    Returns:
        All answers by item on the first process, once every process is done; nothing on others.

    Raises:
        OutputError: an answer cannot be written; those before are safe.
        NothingFitsError: the settings fit no question at all.
        InputError: the folder's predictions are damaged.
    """
    shard = shard or Shard()
    known = _answered(folder)
    shard.wait()  # Nobody may answer anything while another still reads what is answered.
    groups = group_items([item for item in items if item.id not in known], work)
    path = folder / (FILE_NAME if shard.count == 1 else shard_file_name(shard.index))
    mine = shard.share(groups)
    with PredictionLog(path) as log, _reading_only(work.guide_positions, work.model):
        _Asking(work, log, items, known, progress).ask_all(mine)
    shard.wait()
    if not shard.is_first:
        return {}
    return _merge(folder, items)


def group_items(items: Sequence[Item], work: Work) -> list[Group]:
    """Put questions about the same frames together, in the order of their first."""
    benchmark, settings = work.benchmark, work.settings
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        sampling = benchmark.sampling(item, settings)
        frames = (item.video, item.video_id, item.start_seconds, item.stop_seconds, sampling)
        groups.setdefault(frames, []).append(item)
    return [
        Group(
            clip=ClipRequest(
                paths=partial(benchmark.paths, group[0], settings),
                name=group[0].video_id,
                sampling=benchmark.sampling(group[0], settings),
            ),
            items=tuple(group),
        )
        for group in groups.values()
    ]


def session_of(clip: Clip, model: VideoLM, *, native: bool = False) -> Session:
    """Encode a clip that was read elsewhere.

    Pictures that the model wants cut are read again, at their full size.

    Raises:
        InputError: they cannot be read any more.
    """
    preparation = model.parts.preparation(clip.source.kind, native=native)
    if preparation.cut is None:
        return Session(model, model.encode(clip), clip=clip, native=native)
    return Session(model, model.encode(cut_again(clip, preparation.cut)), native=native)


def ask(session: Session, prompt: Prompt, work: Work, max_new_tokens: int) -> Prediction:
    """Ask one question; the prediction has no id yet.

    Raises:
        UsageError: the prompt or the pooling does not fit the model.
    """
    answer = session.ask(
        prompt.query,
        pooling=work.pooling,
        generation=replace(work.generation, max_new_tokens=max_new_tokens),
        guide=prompt.guide,
        system=prompt.system,
        answer_prefix=prompt.answer_prefix,
    )
    details = {
        "prompt_source": prompt.source,
        "frames": len(session.source.indices),
        "visual_tokens": answer.token_count,
        "window": None if answer.window is None else [list(sizes) for sizes in answer.window],
        "weighting": answer.weighting,
        "max_new_tokens": max_new_tokens,
        "answer_tokens": answer.text_token_count,
        "stopped": answer.stopped,
        "generate_seconds": round(answer.timings.generate_seconds, 4),
    }
    return Prediction(id="", text=answer.text, details=details)


class _Asking:
    """One process's way through its groups."""

    def __init__(
        self,
        work: Work,
        log: PredictionLog,
        items: Sequence[Item],
        known: Mapping[str, Prediction],
        progress: Progress | None,
    ) -> None:
        self._work, self._log, self._progress = work, log, progress
        self._total = len(items)
        self._done = len(known)
        self._errors, self._points, self._judged = 0, 0.0, 0
        for item in items:
            if item.id in known:
                self._count(item, known[item.id])

    def ask_all(self, groups: Sequence[Group]) -> None:
        work = self._work
        config = work.model.config
        reading = ClipReading(
            pixels=config.pixels,
            default_num_frames=config.num_frames,
            reader=work.reader,
            workers=work.workers,
        )
        with closing(read_clips([group.clip for group in groups], reading)) as clips:
            for number, (group, clip) in enumerate(zip(groups, clips, strict=True), 1):
                self._ask_group(group, clip, number, len(groups))

    def _ask_group(
        self, group: Group, clip: Clip | PplavaError, number: int, group_count: int
    ) -> None:
        session = None
        for item in group.items:
            try:
                if isinstance(clip, PplavaError):
                    raise clip
                if session is None:
                    native = self._work.pooling.weighting == "native"
                    session = session_of(clip, self._work.model, native=native)
                prediction = self._answer(session, item)
            except PplavaError as error:
                if isinstance(error, UsageError) and self._done == self._errors == 0:
                    raise NothingFitsError(str(error)) from error
                prediction = Prediction(id=item.id, error=" ".join(str(error).split()))
            self._log.append(prediction)
            self._done += 1
            self._count(item, prediction)
            self._tell(number, group_count)

    def _answer(self, session: Session, item: Item) -> Prediction:
        benchmark, settings = self._work.benchmark, self._work.settings
        seconds = [float(second) for second in session.seconds]
        prompt = benchmark.prompt(item, settings, seconds)
        answer = ask(session, prompt, self._work, benchmark.max_new_tokens(item, settings))
        return Prediction(id=item.id, text=answer.text, details=answer.details)

    def _count(self, item: Item, prediction: Prediction) -> None:
        self._errors += prediction.error is not None
        points = self._work.benchmark.points(item, prediction, self._work.settings)
        if points is not None:
            self._points += points
            self._judged += 1

    def _tell(self, videos: int, video_total: int) -> None:
        if self._progress is None:
            return
        self._progress(
            Standing(
                questions=self._done,
                question_total=self._total,
                videos=videos,
                video_total=video_total,
                errors=self._errors,
                right=self._points,
                judged=self._judged,
            )
        )


@contextmanager
def _reading_only(positions: int | None, model: VideoLM) -> Iterator[None]:
    """Let the aligner read no more positions of a text than so many, for as long as this lasts."""
    if positions is None or model.aligner is None:
        yield
        return
    settings = model.aligner.text_settings
    length = min(positions, settings.context_length)
    model.aligner.text_settings = replace(settings, context_length=length)
    try:
        yield
    finally:
        model.aligner.text_settings = settings


def _answered(folder: Path) -> dict[str, Prediction]:
    return {name: found for name, found in read_folder(folder).items() if found.error is None}


def _merge(folder: Path, items: Sequence[Item]) -> dict[str, Prediction]:
    """Put all answers into one file, in the order of the items."""
    order = {item.id: place for place, item in enumerate(items)}
    found = sorted(read_folder(folder).items(), key=lambda pair: order.get(pair[0], len(order)))
    write_predictions(folder / FILE_NAME, [prediction for _, prediction in found])
    for path in prediction_files(folder):
        if path.name != FILE_NAME:
            path.unlink()
    return dict(found)
