"""The rendered world as a benchmark like the others: resumable, shared out, compared, ablated.

Questions come from a folder that `pplava shapes render` wrote. What is right is told by
`shapes_scoring`, as in the rendered world's own test (the module `shapes`), which is also about
conversations and about where the relevance lies: that takes more than one question and an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pplava_core.errors import UsageError
from pplava_core.evals.base import (
    Benchmark,
    BenchmarkInfo,
    Extracted,
    Item,
    Prediction,
    Prompt,
    Report,
    Settings,
)
from pplava_core.evals.benchmarks.shapes_scoring import best_constant, is_right, plain
from pplava_core.evals.results.tables import count_answers, share_row, tables_by_axis
from pplava_core.shapes.dataset import read_dataset
from pplava_core.types import Sampling

_AXES = ("question type", "files", "wording")
_MAX_NEW_TOKENS = 160
"A description of every thing fits."


class Shapes(Benchmark):
    """Rendered films of moving shapes, with questions that have one right answer."""

    info = BenchmarkInfo(
        name="shapes",
        title="Shapes",
        question_counts={"test": 1200},
        video_count=None,
        size_gigabytes=None,
        licence="Apache-2.0",
        hub_id=None,
        metric="accuracy, right to the letter, times to half a second",
        splits=("test",),
    )

    def items(self, data: Path, settings: Settings) -> list[Item]:
        """Read the questions of a rendered folder.

        Raises:
            InputError: there are none, or a line is damaged.
            UsageError: they are conversations.
        """
        asked, items = read_dataset(data), []
        if any(one.turn for one in asked):
            raise UsageError(
                f"{data} holds conversations, whose questions cannot be asked one by one: "
                f"use `pplava eval shapes --set chat --data {data}`"
            )
        for number, one in enumerate(asked):
            film, question, rate = one.film, one.question, one.film.sampling_fps
            path = data / film.file_name
            items.append(
                Item(
                    id=f"{number:05d}",
                    video=path if path.is_file() else None,
                    video_id=film.file_name,
                    question=question.text,
                    answer=plain(question.answer),
                    groups={
                        "question type": question.type,
                        "files": film.setting,
                        "wording": one.wording,
                    },
                    details={} if rate is None else {"sampling_fps": rate},
                )
            )
        return items

    def num_frames(self, item: Item, settings: Settings) -> int | None:
        """Return what was asked for, or leave it to the model."""
        return settings.num_frames

    def sampling(self, item: Item, settings: Settings) -> Sampling:
        """Take as many frames a second as the film's set wants, unless a number was asked for."""
        rate = item.details.get("sampling_fps")
        if rate is None or settings.num_frames is not None:
            return super().sampling(item, settings)
        return Sampling(least_fps=rate)

    def prompt(self, item: Item, settings: Settings, seconds: Sequence[float] = ()) -> Prompt:
        """Ask the question as it stands, which models learn it by."""
        return Prompt(query=item.question, guide=item.question, source="our choice")

    def max_new_tokens(self, item: Item, settings: Settings) -> int:
        """Leave room for a description."""
        return settings.max_new_tokens or _MAX_NEW_TOKENS

    def extract(self, item: Item, text: str, settings: Settings) -> Extracted:
        """Take the whole answer, without capitals, a full stop and double blanks."""
        value = plain(text)
        return Extracted(value=value, how="read" if value else "unextracted")

    def points(self, item: Item, prediction: Prediction, settings: Settings) -> float | None:
        """Return 1 for a right answer; one without an answer is wrong."""
        if prediction.error is not None:
            return 0.0
        return float(is_right(item.groups["question type"], item.answer, prediction.text))

    def report(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> Report:
        """Score every item; one without an answer is wrong."""
        nothing = Prediction(id="")
        points = {
            item.id: self.points(item, predictions.get(item.id, nothing), settings) or 0.0
            for item in items
        }
        row = share_row("all", sum(points.values()), len(items))
        return Report(
            headline="accuracy",
            value=row.value,
            low=row.low,
            high=row.high,
            tables=tables_by_axis(items, points, _AXES),
            counts=count_answers(
                items, predictions, lambda item, one: self.extract(item, one.text, settings)
            ),
            notes=(f"The best constant answer to each type gets {_constant(items):.1%}.",),
        )


def _constant(items: Sequence[Item]) -> float:
    """Return what answering every type with its commonest answer would get."""
    answers: dict[str, list[str]] = {}
    for item in items:
        answers.setdefault(item.groups["question type"], []).append(item.answer)
    hits = sum(best_constant(kind, right) for kind, right in answers.items())
    return hits / max(len(items), 1)
