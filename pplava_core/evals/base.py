"""What a benchmark is: items from a folder, a prompt for each, a reading of the answer, tables.

Everything that differs from benchmark to benchmark stands in one class a benchmark; how items
are asked, kept, resumed and shown is the same for all and stands elsewhere. Knows no model
and no benchmark by name. Rows with their intervals are made by `pplava_core.evals.results.tables`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pplava_core.errors import InputError, UsageError
from pplava_core.types import Sampling

DEFAULT_MAX_NEW_TOKENS = 200
"What PPLLaVA's evaluation generates at most, in every benchmark."

PROTOCOLS = ("official", "ppllava", "lmms")
"Whose prompts, subtitles, extraction and scoring are followed where they differ."


@dataclass(frozen=True, kw_only=True)
class BenchmarkInfo:
    """What is known of a benchmark without its data."""

    name: str
    "As it is typed: `videomme`."
    title: str
    "As papers write it: Video-MME."
    question_counts: Mapping[str, int]
    "By split."
    video_count: int | None
    size_gigabytes: float | None
    "Of the download; None where nobody stated it."
    licence: str
    hub_id: str | None
    "Dataset on the hub, where there is one."
    metric: str
    splits: tuple[str, ...]
    "The first is the default."
    judged: bool = False
    "Whether a language model has to read the answers."
    has_subtitles: bool = False


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that decides a result beside the model and the data."""

    protocol: str = "official"
    split: str = ""
    num_frames: int | None = None
    "None leaves it to the benchmark."
    max_new_tokens: int | None = None
    subtitles: bool = False
    strict: bool = False
    "Score without the gifts of an official scorer."
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question about one video."""

    id: str
    "Unique within the benchmark."
    video: Path | None
    """A film or a folder of frames, perhaps inside a zip (`data/videos.zip/a.mp4`); None where
    the data folder has none. `Benchmark.paths` says what to open."""
    video_id: str
    question: str
    options: tuple[str, ...] = ()
    answer: Any = None
    "Index of the right option, or the right words; None where labels are not public."
    groups: Mapping[str, str] = field(default_factory=dict)
    "Axis of the report to value, such as `duration` to `short`."
    start_seconds: float | None = None
    stop_seconds: float | None = None
    subtitles: Path | None = None
    "A file of them, perhaps inside a zip; whether it is there shows when it is read."
    details: Mapping[str, Any] = field(default_factory=dict)
    "What else the benchmark's own rules read; JSON values."


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What the model is given beside the frames."""

    query: str
    guide: str
    "Read by the aligner: it decides the pooling."
    answer_prefix: str = ""
    "The answer's first words, given and not written by the model."
    system: str | None = None
    source: str = "official"
    "Who wrote this prompt: `official`, `ppllava`, `lmms` or `our choice`."


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What a scorer reads out of an answer."""

    value: Any
    "Index of an option, words, or None."
    how: Literal["read", "unextracted", "degenerate", "random"] = "read"
    "`degenerate`: an official rule credits what says nothing; `random`: it draws lots."


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model wrote about an item; one line of a predictions file."""

    id: str
    text: str = ""
    error: str | None = None
    "Why there is no answer: the video is missing or cannot be read. Counts as wrong."
    details: Mapping[str, Any] = field(default_factory=dict)
    "Frames, tokens, seconds; a judge's reply."


@dataclass(frozen=True, kw_only=True)
class Row:
    """Accuracy, or a mean score, over some questions."""

    name: str
    count: int
    value: float
    low: float
    high: float
    "Ends of the 95 % interval."
    unit: Literal["share", "score"] = "share"
    "A share is 0 to 1 and shown in percent; a score is shown as it is."


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows along one axis of a benchmark."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A benchmark's result in plain values."""

    headline: str
    "Name of the figure that papers quote."
    value: float | None
    "None where labels are not public."
    low: float | None = None
    high: float | None = None
    "Ends of its 95 % interval, where it has one."
    unit: Literal["share", "score"] = "share"
    tables: tuple[Table, ...]
    counts: Mapping[str, int]
    "Total, answered, unextracted, degenerate, random, errors."
    notes: tuple[str, ...] = ()


class Benchmark(ABC):
    """One benchmark's own rules."""

    info: BenchmarkInfo

    @abstractmethod
    def items(self, data: Path, settings: Settings) -> list[Item]:
        """Read the questions of a data folder, in the published order.

        Raises:
            InputError: the folder is not in the published layout, or a row is malformed.
        """

    @abstractmethod
    def num_frames(self, item: Item, settings: Settings) -> int | None:
        """Return how many frames of the item's video are shown; None leaves it to the model."""

    @abstractmethod
    def prompt(self, item: Item, settings: Settings, seconds: Sequence[float] = ()) -> Prompt:
        """Word the item; ``seconds`` are the sampled frames' times, for subtitles."""

    @abstractmethod
    def extract(self, item: Item, text: str, settings: Settings) -> Extracted:
        """Read the answer out of what the model wrote."""

    @abstractmethod
    def report(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> Report:
        """Score every item; one without a prediction counts as the protocol says."""

    def paths(self, item: Item, settings: Settings) -> tuple[Path, ...]:
        """Name the files to open; what lies inside a zip is unpacked into the cache first.

        Returns:
            One film or folder of frames, or several pictures in the order of time.

        Raises:
            InputError: the data folder has no video of the item, or it cannot be unpacked.
        """
        from pplava_core.evals.data.videos import unpacked

        if item.video is None:
            raise InputError(
                f"{item.video_id}: the data folder has no such video; "
                f"`pplava eval check {self.info.name} --data DIR` lists all that are missing"
            )
        return (unpacked(item.video),)

    def sampling(self, item: Item, settings: Settings) -> Sampling:
        """Say which frames of the item's video are taken; by default evenly over its range."""
        return Sampling(
            num_frames=self.num_frames(item, settings),
            start_seconds=item.start_seconds,
            stop_seconds=item.stop_seconds,
        )

    def max_new_tokens(self, item: Item, settings: Settings) -> int:
        """Return how long an answer may be."""
        return settings.max_new_tokens or DEFAULT_MAX_NEW_TOKENS

    def points(self, item: Item, prediction: Prediction, settings: Settings) -> float | None:
        """Return what one answer is worth, 0 to 1, or None where nobody can say yet.

        What runs are compared by and what the running accuracy counts; by default whether
        what was extracted is the item's answer.
        """
        if item.answer is None or self.info.judged:
            return None
        if prediction.error is not None:
            return 0.0
        return float(self.extract(item, prediction.text, settings).value == item.answer)

    def read_results(self, path: Path, items: Sequence[Item]) -> dict[str, Prediction]:
        """Read a file of answers in the format that the benchmark's own scorer reads.

        Raises:
            UsageError: the benchmark's authors have no such format.
            InputError: the file is not in it.
        """
        raise UsageError(
            f"{path}: {self.info.title} has no result format of its own; give a predictions.jsonl"
        )

    def submission(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> dict[str, str]:
        """Return the files to hand in where labels are not public: name to contents."""
        return {}
