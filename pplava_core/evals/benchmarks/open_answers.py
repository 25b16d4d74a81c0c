"""Questions about videos whose answers are free words: what such benchmarks share.

The prompts, the judge's part in the scoring, the exact-match metric beside it, and the
authors' files of results. A benchmark adds its types and how its videos
are called (`activitynetqa`, `msvdqa`, `msrvttqa`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pplava_core.evals.base import Extracted, Item, Prediction, Prompt, Report, Settings
from pplava_core.evals.benchmarks import open_results
from pplava_core.evals.benchmarks.open_scores import has_a_say, open_report, words_of
from pplava_core.evals.benchmarks.open_tables import OpenRow, find_table, read_table
from pplava_core.evals.data.videos import Finder
from pplava_core.evals.judges.judge_replies import MATCH
from pplava_core.evals.judges.judged_scores import counted_verdict
from pplava_core.evals.judges.judging import JudgedBenchmark, JudgeRequest

NUM_FRAMES = 32
"PPLLaVA evaluation code, for every benchmark with a judge."

_PPLLAVA_QUERY = (
    "The input consists of a sequence of key frames from a video. Answer the question concisely "
    "first and followed by significant events, characters, or objects that appear throughout the "
    "frames. Question: {question}"
)
_PPLLAVA_PREFIX = "Answer: In the video,"
_LMMS_QUERY = "{question}? Answer the question using a single word or phrase."


class OpenAnswers(JudgedBenchmark):
    """Base of the benchmarks whose answers are compared with the right words by a judge."""

    types: ClassVar[tuple[str, ...]] = ()
    "Values of `open_scores.TYPE_AXIS` in the order of tables; none without such an axis."
    unions: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    "Further rows of the exact-match table: name to types that are summed up."

    @abstractmethod
    def video_names(self, row: OpenRow) -> tuple[str, ...]:
        """Say how the film of a row may be called, the likeliest first."""

    def groups(self, row: OpenRow, path: Path, number: int) -> dict[str, str]:
        """Say where a row (counted from 1) stands along the axes of the report.

        Raises:
            InputError: it has a value that the benchmark does not have.
        """
        return {}

    def aliases(self, data: Path, settings: Settings) -> dict[str, str]:
        """Read further names of films, by the names that rows give."""
        return {}

    def items(self, data: Path, settings: Settings) -> list[Item]:
        """Read `test_q.json` with `test_a.json`, `test_qa.json`, or the hub's parquet file.

        Raises:
            InputError: there is no such file, or a row is malformed.
        """
        split = settings.split or self.info.splits[0]
        path = find_table(data, split, what=f"{split} questions of {self.info.title}")
        aliases, videos = self.aliases(data, settings), Finder(data)
        items = []
        for number, row in enumerate(read_table(path), 1):
            names = self.video_names(row)
            known = [aliases[name] for name in names if name in aliases]
            items.append(
                Item(
                    id=row.id,
                    video=videos.find(*known, *names),
                    video_id=str(row.video),
                    question=row.question,
                    answer=row.answer,
                    groups=self.groups(row, path, number),
                )
            )
        return items

    def num_frames(self, item: Item, settings: Settings) -> int:
        """Return 32 unless told otherwise."""
        return settings.num_frames or NUM_FRAMES

    def prompt(self, item: Item, settings: Settings, seconds: Sequence[float] = ()) -> Prompt:
        """Word the question as PPLLaVA or lmms-eval do; the authors published no prompt."""
        if settings.protocol == "lmms":
            query = _LMMS_QUERY.format(question=item.question.capitalize())
            return Prompt(query=query, guide=item.question, source="lmms")
        return Prompt(
            query=_PPLLAVA_QUERY.format(question=item.question),
            guide=item.question,
            answer_prefix=_PPLLAVA_PREFIX,
            source="ppllava" if settings.protocol == "ppllava" else "our choice",
        )

    def extract(self, item: Item, text: str, settings: Settings) -> Extracted:
        """Take all words as they stand."""
        return words_of(text)

    def judge_requests(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> list[JudgeRequest]:
        """Ask of every answer whether it matches the right one."""
        return [
            JudgeRequest(
                item_id=item.id,
                aspect=MATCH,
                fields={
                    "question": item.question,
                    "answer": item.answer,
                    "prediction": predictions[item.id].text,
                },
            )
            for item in items
            if item.id in predictions and predictions[item.id].error is None
        ]

    def points(self, item: Item, prediction: Prediction, settings: Settings) -> float | None:
        """Return 1 where the judge says yes, 0 where it says no, None where it has no say."""
        verdict = counted_verdict(prediction, MATCH, settings)
        if verdict is None or not has_a_say(verdict, settings):
            return None
        return float(verdict.pred == "yes")

    def report(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> Report:
        """Give accuracy and mean score by the judge, and how many answers match to the letter.

        Accuracy is yes/(yes + no); a verdict that is neither counts for the mean score only
        (Video-ChatGPT scripts), but as a no for lmms-eval and with ``settings.strict``.
        """
        return open_report(
            items,
            predictions,
            settings,
            types=self.types,
            unions=self.unions,
            notes=self._prompt_notes(settings),
        )

    def read_results(self, path: Path, items: Sequence[Item]) -> dict[str, Prediction]:
        """Read a list of predictions, or the combined replies of the official judge script.

        Raises:
            InputError: the file is neither, or names a question that the data has not.
        """
        return open_results.read_results(path, items)

    def submission(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> dict[str, str]:
        """Return the list of predictions that the official judge script reads."""
        return {
            f"{self.info.name}_predictions.json": open_results.prediction_list(items, predictions)
        }

    def _prompt_notes(self, settings: Settings) -> tuple[str, ...]:
        if settings.protocol != "official":
            return ()
        return (f"{self.info.title} publishes no prompt; PPLLaVA's is used, which is our choice.",)
