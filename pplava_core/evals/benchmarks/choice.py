"""What benchmarks of multiple choice share: the worth of an answer, tables, counts.

A benchmark says how an option is read out of an answer and along which axes accuracy is
summed up; here that becomes a report. Knows no benchmark by name.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from pplava_core.errors import UsageError
from pplava_core.evals.base import Benchmark, Extracted, Item, Prediction, Report, Settings, Table
from pplava_core.evals.results.tables import count_answers, share_row, tables_by_axis

DEFAULT_NUM_FRAMES = 32
"PPLLaVA's evaluation."

INDEX = "index"
"In a prediction's details: the option that an official result file names by its number."

WHOLE = "whole"
"In a prediction's details: an official result file holds the text as its scorer reads it."


NO_PPLLAVA_NOTE = (
    "PPLLaVA published no evaluation of this benchmark: the rules of `official` are used"
)


class ChoiceBenchmark(Benchmark):
    """A benchmark whose questions come with options, one of which is right."""

    axes: ClassVar[tuple[str, ...]]
    "Names in `Item.groups` along which the report sums up."
    orders: ClassVar[Mapping[str, Sequence[str]]] = {}
    "The published order of an axis's values."
    headline: ClassVar[str] = "accuracy"

    def split(self, settings: Settings) -> str:
        """Return the split asked for, or the default.

        Raises:
            UsageError: there is no such split.
        """
        split = settings.split or self.info.splits[0]
        if split not in self.info.splits:
            known = " or ".join(self.info.splits)
            raise UsageError(f"{self.info.title} has no split {split!r}; give {known}")
        return split

    def num_frames(self, item: Item, settings: Settings) -> int:
        """Return how many frames of the item's video are shown."""
        return settings.num_frames or DEFAULT_NUM_FRAMES

    def read(self, item: Item, prediction: Prediction, settings: Settings) -> Extracted:
        """Read the chosen option out of a prediction, wherever that came from."""
        index = prediction.details.get(INDEX)
        if type(index) is not int:
            return self.extract(item, prediction.text, settings)
        if 0 <= index < len(item.options):
            return Extracted(value=index)
        return Extracted(value=None, how="unextracted")

    def right_answer(self, item: Item, prediction: Prediction, settings: Settings) -> int | None:
        """Return the option that counts as right; None where labels are not public."""
        answer: int | None = item.answer
        return answer

    def points(self, item: Item, prediction: Prediction, settings: Settings) -> float | None:
        """Return 1 for a right answer, else 0, or None where labels are not public."""
        if item.answer is None:
            return None
        if prediction.error is not None:
            return 0.0
        read = self.read(item, prediction, settings)
        if settings.strict and read.how != "read":
            return 0.0
        return float(read.value == self.right_answer(item, prediction, settings))

    def is_counted(self, item: Item, prediction: Prediction, settings: Settings) -> bool:
        """Say whether an answer stands in the denominators; an official rule may leave it out.

        Asked only where no error is recorded and scoring is not strict.
        """
        return True

    def notes(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> list[str]:
        """Say what of the result a reader has to know."""
        return []

    def report(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> Report:
        """Score every item; one without a prediction, or with an error, is wrong."""
        points = self._counted_points(items, predictions, settings)
        tables: tuple[Table, ...] = ()
        value = low = high = None
        if points:
            overall = share_row("overall", sum(points.values()), len(points))
            value, low, high = overall.value, overall.low, overall.high
            tables = (Table(name="overall", rows=(overall,)), *self.tables(items, points, settings))
        return Report(
            headline=self.headline,
            value=value,
            low=low,
            high=high,
            tables=tables,
            counts=count_answers(
                items, predictions, lambda item, one: self.read(item, one, settings)
            ),
            notes=tuple(self.notes(items, predictions, settings)),
        )

    def tables(
        self, items: Sequence[Item], points: Mapping[str, float], settings: Settings
    ) -> tuple[Table, ...]:
        """Sum up along the benchmark's axes; ``points`` holds what is in the denominators."""
        return tables_by_axis(items, points, self.axes, orders=self.orders)

    def _counted_points(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> dict[str, float]:
        points = {}
        for item in items:
            prediction = predictions.get(item.id)
            if item.answer is None:
                continue
            if prediction is None:
                points[item.id] = 0.0
                continue
            may_be_left_out = prediction.error is None and not settings.strict
            if may_be_left_out and not self.is_counted(item, prediction, settings):
                continue
            points[item.id] = self.points(item, prediction, settings) or 0.0
        return points


def chosen(index: int | None) -> Extracted:
    """Word what a parser returned: an option, or nothing that could be read."""
    return Extracted(value=index, how="unextracted" if index is None else "read")


def chosen_or_drawn(index: int | None, item: Item, settings: Settings) -> Extracted:
    """As `chosen`, but where nothing could be read an option is drawn by lot.

    Some official parsers do so, unseeded; here the lot depends on the seed and the item alone.
    """
    if index is not None:
        return Extracted(value=index)
    lot = random.Random(f"{settings.seed} {item.id}").randrange(len(item.options))
    return Extracted(value=lot, how="random")


def with_suffix(tables: Sequence[Table], suffix: str) -> list[Table]:
    """Rename tables, as where one axis is summed up for a part of the items."""
    return [replace(table, name=f"{table.name}, {suffix}") for table in tables]
