"""EgoSchema: what a person wearing a camera is about in three minutes, five options each.

Labels of 500 questions are public (`subset`); of all 5031 (`full`) a file is made to hand in,
and no score is claimed. The authors publish no prompt: asking is our choice (VideoChat2's form)
or lmms-eval's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pplava_core.errors import InputError
from pplava_core.evals.base import BenchmarkInfo, Extracted, Item, Prediction, Prompt, Settings
from pplava_core.evals.benchmarks.choice import (
    INDEX,
    NO_PPLLAVA_NOTE,
    ChoiceBenchmark,
    chosen,
    chosen_or_drawn,
)
from pplava_core.evals.benchmarks.letters import first_named, letter, stated_option
from pplava_core.evals.benchmarks.mvbench import BEST_OPTION, ONLY_BEST, listed
from pplava_core.evals.data.data_folder import (
    Rows,
    bad_value,
    check_unique,
    checked,
    find_file,
    read_json,
    read_rows,
)
from pplava_core.evals.data.videos import Finder

_OPTION_COUNT = 5
_CHOOSE = "\nAnswer with the option's letter from the given choices directly."


class EgoSchema(ChoiceBenchmark):
    """EgoSchema; see the module."""

    info = BenchmarkInfo(
        name="egoschema",
        title="EgoSchema",
        question_counts={"subset": 500, "full": 5031},
        video_count=5031,
        size_gigabytes=107.0,
        licence="MIT (films under Ego4D's)",
        hub_id="lmms-lab/egoschema",
        metric="accuracy over the subset",
        splits=("subset", "full"),
    )
    axes = ()

    def items(self, data: Path, settings: Settings) -> list[Item]:
        """Read the authors' JSON files or the hub's parquet files; see `Benchmark.items`."""
        split = self.split(settings)
        if (data / "questions.json").is_file():
            path = data / "questions.json"
            rows = _authors_rows(path, data / "subset_answers.json", split)
        else:
            folder = "Subset" if split == "subset" else "MC"
            patterns = ("questions.json", f"{folder}/*.parquet")
            path = find_file(data, patterns, what=f"questions of EgoSchema's {split}")
            rows = _hub_rows(path)
        check_unique((row["video_idx"] for row in rows), path)
        videos = Finder(data)
        return [_item(row, number, path, videos, split) for number, row in enumerate(rows, 1)]

    def prompt(self, item: Item, settings: Settings, seconds: Sequence[float] = ()) -> Prompt:
        """Word the item; see `Benchmark.prompt`."""
        if settings.protocol == "lmms":
            query = "\n".join([item.question, *_lettered(item.options)]) + _CHOOSE
            return Prompt(query=query, guide=item.question, source="lmms")
        # capitalize() also makes the rest lower case, as VideoChat2 has it
        asked = listed(item.question.capitalize(), item.options)
        return Prompt(
            query=f"{asked}\n{ONLY_BEST}",
            guide=item.question,
            answer_prefix=BEST_OPTION,
            source="our choice",
        )

    def extract(self, item: Item, text: str, settings: Settings) -> Extracted:
        """Read the option that is stated; lmms-eval's parser draws one where there is none."""
        if settings.protocol == "lmms":
            options = [option.strip() for option in _lettered(item.options)]
            return chosen_or_drawn(first_named(text, options), item, settings)
        return chosen(stated_option(text, item.options))

    def notes(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> list[str]:
        """Say whose prompt it is, and that all labels are not public."""
        said = [NO_PPLLAVA_NOTE] if settings.protocol == "ppllava" else []
        if settings.protocol != "lmms":
            said.append("prompt and reading of answers are our choice: the authors published none")
        if self.split(settings) == "full":
            said.append(
                "labels are not public: no score; hand in egoschema_submission.json, "
                "in which -1 stands for an answer without an option"
            )
        return said

    def read_results(self, path: Path, items: Sequence[Item]) -> dict[str, Prediction]:
        """Read a file to hand in: ``{"<q_uid>": <number of an option>}``."""
        content = read_json(path)
        if not isinstance(content, dict) or any(type(n) is not int for n in content.values()):
            raise InputError(f'{path} is no result file of EgoSchema: it is {{"q_uid": 0}}')
        found = {
            item.id: Prediction(
                id=item.id,
                text=letter(index) if 0 <= index < _OPTION_COUNT else "",
                details={INDEX: index},
            )
            for item in items
            if (index := content.get(item.id)) is not None
        }
        if not found:
            raise InputError(f"{path} answers no question of this split; is it of another one?")
        return found

    def submission(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> dict[str, str]:
        """Return the file to hand in for `full`, which for `subset` is the same format."""
        result = {}
        for item in items:
            prediction = predictions.get(item.id, Prediction(id=item.id, error="missing"))
            read = None if prediction.error else self.read(item, prediction, settings).value
            result[item.id] = -1 if read is None else read
        return {"egoschema_submission.json": json.dumps(result, indent=1)}


def _authors_rows(path: Path, answers_path: Path, split: str) -> Rows:
    """Bring the authors' files into the hub's columns; of `subset` those that have a label."""
    option_names = [f"option {number}" for number in range(_OPTION_COUNT)]
    rows = checked(read_rows(path), path, dict.fromkeys(("q_uid", "question", *option_names), str))
    answers: dict[str, Any] = {}
    if split == "subset":
        answers = read_json(answers_path)
        if not isinstance(answers, dict):
            raise InputError(f"{answers_path} is not a map of questions to numbers; get it anew")
        rows = [row for row in rows if row["q_uid"] in answers]
        unasked = sorted(set(answers) - {row["q_uid"] for row in rows})
        if unasked:
            raise InputError(
                f"{path} has no question {unasked[0]}, for which {answers_path.name} has a label "
                f"({len(unasked)} such): one of the two is cut off or of another version"
            )
    return [
        {
            "video_idx": row["q_uid"],
            "question": row["question"],
            "option": [row[name] for name in option_names],
            "answer": answers.get(row["q_uid"]),
        }
        for row in rows
    ]


def _hub_rows(path: Path) -> Rows:
    """Read the hub's table, and take the letters off its options."""
    rows = checked(
        read_rows(path),
        path,
        {"video_idx": str, "question": str, "option": list, "answer": (str, int, type(None))},
    )
    return [
        {**row, "option": [re.sub(r"^[A-E]\. ?", "", str(option)) for option in row["option"]]}
        for row in rows
    ]


def _item(row: Mapping[str, Any], number: int, path: Path, videos: Finder, split: str) -> Item:
    if len(row["option"]) != _OPTION_COUNT:
        raise bad_value(path, number, "option", row["option"], "five texts")
    answer = None
    if split == "subset":
        if str(row["answer"]) not in ("0", "1", "2", "3", "4"):
            raise bad_value(path, number, "answer", row["answer"], "0 to 4")
        answer = int(row["answer"])
    name = row["video_idx"]
    return Item(
        id=name,
        video=videos.find(f"{name}.mp4"),
        video_id=name,
        question=row["question"],
        options=tuple(row["option"]),
        answer=answer,
    )


def _lettered(options: Sequence[str]) -> list[str]:
    return [f"{letter(number)}. {text}" for number, text in enumerate(options)]
