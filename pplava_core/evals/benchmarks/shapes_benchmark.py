"""The rendered world as a benchmark like the others: resumable, shared out, compared, ablated.

Questions come from a folder that `pplava shapes render` wrote. Scored as by the module `shapes`
beside this one, right to the letter, but for the pointing game, which needs the relevance of
every patch and not only an answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

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
from pplava_core.evals.results.tables import count_answers, share_row, tables_by_axis
from pplava_core.shapes.dataset import read_dataset

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
        metric="accuracy, right to the letter",
        splits=("test",),
    )

    def items(self, data: Path, settings: Settings) -> list[Item]:
        """Read the questions of a rendered folder.

        Raises:
            InputError: there are none, or a line is damaged.
        """
        items = []
        for number, one in enumerate(read_dataset(data)):
            film, question = one.film, one.question
            path = data / film.file_name
            items.append(
                Item(
                    id=f"{number:05d}",
                    video=path if path.is_file() else None,
                    video_id=film.file_name,
                    question=question.text,
                    answer=_plain(question.answer),
                    groups={"question type": question.type, "files": film.setting},
                )
            )
        return items

    def num_frames(self, item: Item, settings: Settings) -> int | None:
        """Return what was asked for, or leave it to the model."""
        return settings.num_frames

    def prompt(self, item: Item, settings: Settings, seconds: Sequence[float] = ()) -> Prompt:
        """Ask the question as it stands, which models learn it by."""
        return Prompt(query=item.question, guide=item.question, source="our choice")

    def max_new_tokens(self, item: Item, settings: Settings) -> int:
        """Leave room for a description."""
        return settings.max_new_tokens or _MAX_NEW_TOKENS

    def extract(self, item: Item, text: str, settings: Settings) -> Extracted:
        """Take the whole answer, without capitals, a full stop and double blanks."""
        plain = _plain(text)
        return Extracted(value=plain, how="read" if plain else "unextracted")

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
            tables=tables_by_axis(items, points, ("question type", "files")),
            counts=count_answers(
                items, predictions, lambda item, one: self.extract(item, one.text, settings)
            ),
            notes=(f"The best constant answer to each type gets {_constant(items):.1%}.",),
        )


def _constant(items: Sequence[Item]) -> float:
    """Return what answering every type with its commonest answer would get."""
    answers: dict[str, Counter[str]] = {}
    for item in items:
        answers.setdefault(item.groups["question type"], Counter())[item.answer] += 1
    hits = sum(max(counts.values()) for counts in answers.values())
    return hits / max(len(items), 1)


def _plain(text: str) -> str:
    return " ".join(text.lower().strip(" .").split())
