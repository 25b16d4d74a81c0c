"""VCG-Bench of Video-ChatGPT: free answers, scored 0 to 5 by a judge in five aspects.

Answers to general questions are judged three times, for correctness (CI), detail (DO) and
context (CU); those about the order of events for that (TU); and the two answers of a pair
of like questions together, for consistency (CO). The figure that papers quote is the mean
of the five means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pplava_core.evals.base import (
    BenchmarkInfo,
    Extracted,
    Item,
    Prediction,
    Prompt,
    Report,
    Settings,
)
from pplava_core.evals.benchmarks import vcg_results
from pplava_core.evals.benchmarks.open_answers import NUM_FRAMES
from pplava_core.evals.benchmarks.open_scores import words_of
from pplava_core.evals.benchmarks.vcg_scores import ASPECTS_OF_SET, MOST, units_of, vcg_report
from pplava_core.evals.benchmarks.vcg_tables import SETS, find_set, read_set
from pplava_core.evals.data.videos import Finder
from pplava_core.evals.judges.judged_scores import counted_verdict
from pplava_core.evals.judges.judging import JudgedBenchmark, JudgeRequest

SET_AXIS = "set"


class VCGBench(JudgedBenchmark):
    """Descriptions of ActivityNet videos, judged in five aspects."""

    info = BenchmarkInfo(
        name="vcgbench",
        title="VCG-Bench",
        question_counts={"test": 3493},
        video_count=500,
        size_gigabytes=11.3,
        licence="MIT (the hub's copy)",
        hub_id="lmms-lab/VideoChatGPT",
        metric="score 0-5 by a judge, mean of five aspects",
        splits=("test",),
        judged=True,
    )

    def items(self, data: Path, settings: Settings) -> list[Item]:
        """Read the three sets; the two questions of a pair are two items.

        Raises:
            InputError: a set is missing, or a row is malformed.
        """
        videos = Finder(data)
        items = []
        for name in SETS:
            for number, row in enumerate(read_set(find_set(data, name), name)):
                for part, question in enumerate(row.questions, 1):
                    half = f"-{part}" if len(row.questions) > 1 else ""
                    items.append(
                        Item(
                            id=f"{name}-{number:04d}{half}",
                            video=videos.find(row.video),
                            video_id=row.video,
                            question=question,
                            answer=row.answer,
                            groups={SET_AXIS: name},
                            details={"set": name, "row": number, "part": part},
                        )
                    )
        return items

    def num_frames(self, item: Item, settings: Settings) -> int:
        """Return 32 unless told otherwise (PPLLaVA evaluation code)."""
        return settings.num_frames or NUM_FRAMES

    def prompt(self, item: Item, settings: Settings, seconds: Sequence[float] = ()) -> Prompt:
        """Ask the question alone, as all protocols do."""
        return Prompt(query=item.question, guide=item.question, source=settings.protocol)

    def extract(self, item: Item, text: str, settings: Settings) -> Extracted:
        """Take all words as they stand."""
        return words_of(text)

    def judge_requests(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> list[JudgeRequest]:
        """Ask for every aspect of every answer; a pair of which one half is missing has none.

        Under `ppllava` both questions of a pair are sent in the words of the second: its
        inference swaps them in the file that its judge's script reads, and that sends the
        first of the file twice.
        """
        requests = []
        for unit in units_of(items):
            one = unit.prediction(predictions)
            if one is None or one.error is not None:
                continue
            fields = {
                "question": unit.first.question,
                "answer": unit.first.answer,
                "prediction": one.text,
            }
            if unit.second is not None:
                fields["question_2"] = unit.second.question
                fields["prediction_2"] = predictions[unit.second.id].text
                if settings.protocol == "ppllava":
                    fields["question"] = unit.second.question
            requests += [
                JudgeRequest(item_id=unit.first.id, aspect=aspect, fields=fields)
                for aspect in unit.aspects
            ]
        return requests

    def points(self, item: Item, prediction: Prediction, settings: Settings) -> float | None:
        """Return the mean score of an item's aspects over 5; of a pair, the first item's."""
        aspects = ASPECTS_OF_SET[item.details["set"]]
        verdicts = [counted_verdict(prediction, aspect, settings) for aspect in aspects]
        scores = [verdict.score or 0 for verdict in verdicts if verdict is not None]
        if not scores or len(scores) < len(verdicts):
            return None
        return min(max(sum(scores) / len(scores) / MOST, 0.0), 1.0)

    def report(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> Report:
        """Give the mean score of every aspect and the mean of these means."""
        return vcg_report(items, predictions, settings)

    def read_results(self, path: Path, items: Sequence[Item]) -> dict[str, Prediction]:
        """Read lists of predictions or the judge scripts' replies, a file or a folder of them.

        Raises:
            InputError: a file is neither, belongs to other data, or contradicts another.
        """
        return vcg_results.read_results(path, items)

    def submission(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> dict[str, str]:
        """Return the three lists of predictions that the official judge scripts read."""
        return vcg_results.prediction_lists(items, predictions, settings)
