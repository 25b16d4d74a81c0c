"""NExT-QA, multiple choice: why, how, before and after, and what is there, five options each.

The authors publish a scorer and no prompt. Theirs is followed in scoring; asking and reading
are our choice (MVBench's form) or lmms-eval's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pplava_core.errors import InputError
from pplava_core.evals.base import (
    BenchmarkInfo,
    Extracted,
    Item,
    Prediction,
    Prompt,
    Settings,
    Table,
)
from pplava_core.evals.benchmarks.choice import (
    INDEX,
    NO_PPLLAVA_NOTE,
    ChoiceBenchmark,
    chosen,
    chosen_or_drawn,
)
from pplava_core.evals.benchmarks.letters import last_named, letter, stated_option
from pplava_core.evals.benchmarks.mvbench import BEST_OPTION, ONLY_BEST, listed
from pplava_core.evals.data.data_folder import (
    bad_value,
    check_unique,
    checked,
    find_file,
    read_json,
    read_rows,
)
from pplava_core.evals.data.videos import Finder
from pplava_core.evals.results.tables import tables_by_axis

_OPTION_COLUMNS = ("a0", "a1", "a2", "a3", "a4")
_ANSWER = "answer"
"In a prediction's details: what an official result file says is right."

_TYPES = {
    "CW": "Why",
    "CH": "How",
    "TN": "Bef&Aft",
    "TP": "Bef&Aft",
    "TC": "When",
    "DC": "Cnt",
    "DL": "Loc",
    "DO": "Other",
}
"As the authors' scorer names them."
_GROUPS = {"C": "Acc_C", "T": "Acc_T", "D": "Acc_D"}
"Causal, temporal and descriptive: by a type's first letter."


class NextQA(ChoiceBenchmark):
    """NExT-QA's multiple choice; see the module."""

    info = BenchmarkInfo(
        name="nextqa",
        title="NExT-QA",
        question_counts={"val": 4996, "test": 8564},
        video_count=570,
        size_gigabytes=6.5,
        licence="MIT",
        hub_id="lmms-lab/NExTQA",
        metric="accuracy over causal, temporal and descriptive questions, and over all",
        splits=("val", "test"),
    )
    axes = ("group", "type")
    orders: ClassVar[Mapping[str, Sequence[str]]] = {
        "group": tuple(_GROUPS.values()),
        "type": tuple(dict.fromkeys(_TYPES.values())),
    }

    def items(self, data: Path, settings: Settings) -> list[Item]:
        """Read a split's table, and the map of videos where there is one."""
        split = self.split(settings)
        names = (f"{split}.csv", f"nextqa/{split}.csv", f"dataset/nextqa/{split}.csv")
        patterns = (*names, f"MC/{split}-*.parquet", f"MC/{split}.parquet")
        path = find_file(data, patterns, what=f"questions of NExT-QA's {split}")
        columns: dict[str, type | tuple[type, ...]] = {
            **dict.fromkeys(("question", "type", *_OPTION_COLUMNS), str),
            **dict.fromkeys(("video", "qid", "answer"), (str, int)),
        }
        rows = checked(read_rows(path), path, columns)
        check_unique((f"{row['video']}_{row['qid']}" for row in rows), path)
        videos, places = Finder(data), _places(data)
        return [_item(row, number, path, videos, places) for number, row in enumerate(rows, 1)]

    def prompt(self, item: Item, settings: Settings, seconds: Sequence[float] = ()) -> Prompt:
        """Word the item; see `Benchmark.prompt`."""
        if settings.protocol == "lmms":
            options = [f"{letter(n)}. {text.strip()}" for n, text in enumerate(item.options)]
            query = "\n".join([item.question.strip(), *options])
            return Prompt(query=query, guide=item.question, source="lmms")
        return Prompt(
            query=f"{listed(item.question, item.options)}\n{ONLY_BEST}",
            guide=item.question,
            answer_prefix=BEST_OPTION,
            source="our choice",
        )

    def extract(self, item: Item, text: str, settings: Settings) -> Extracted:
        """Read the option that is stated; lmms-eval's parser draws one where there is none."""
        if settings.protocol == "lmms":
            options = [option.strip() for option in item.options]
            return chosen_or_drawn(last_named(text, options), item, settings)
        return chosen(stated_option(text, item.options))

    def right_answer(self, item: Item, prediction: Prediction, settings: Settings) -> int | None:
        """Return the label; the authors' scorer takes it from the result file, if that has one."""
        label: int | None = item.answer
        if settings.strict or settings.protocol != "official":
            return label
        told: int | None = prediction.details.get(_ANSWER, label)
        return told

    def tables(
        self, items: Sequence[Item], points: Mapping[str, float], settings: Settings
    ) -> tuple[Table, ...]:
        """Sum up as the authors' scorer prints it: types, then groups of types."""
        return tables_by_axis(items, points, ("type", "group"), orders=self.orders)

    def notes(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> list[str]:
        """Say whose prompt it is, and whether a result file has labels of its own."""
        said = [NO_PPLLAVA_NOTE] if settings.protocol == "ppllava" else []
        if settings.protocol != "lmms":
            said.append("prompt and reading of answers are our choice: the authors published none")
        other = sum(
            predictions[item.id].details.get(_ANSWER, item.answer) != item.answer
            for item in items
            if item.id in predictions
        )
        if other:
            said.append(
                f"{other} labels in the result file are not the data's; the authors' scorer "
                "goes by the file (--strict goes by the data)"
            )
        return said

    def read_results(self, path: Path, items: Sequence[Item]) -> dict[str, Prediction]:
        """Read the scorer's file: ``{"<video>_<qid>": {"prediction": n, "answer": n}}``."""
        content = read_json(path)
        known = {item.id for item in items}
        found = {}
        try:
            for name, entry in content.items():
                index, told = entry["prediction"], entry["answer"]
                if type(index) is not int or type(told) is not int:
                    raise TypeError(f"{name}: prediction and answer are numbers of options")
                if name in known:
                    text = letter(index) if 0 <= index < len(_OPTION_COLUMNS) else ""
                    found[name] = Prediction(
                        id=name, text=text, details={INDEX: index, _ANSWER: told}
                    )
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{path} is no result file of NExT-QA ({type(error).__name__}: {error}); "
                'it is {"video_qid": {"prediction": 0, "answer": 0}}'
            ) from error
        if not found:
            raise InputError(f"{path} answers no question of this split; is it of another one?")
        return found

    def submission(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> dict[str, str]:
        """Return the file that the authors' scorer reads; -1 stands for no option."""
        result = {}
        for item in items:
            prediction = predictions.get(item.id, Prediction(id=item.id, error="missing"))
            read = None if prediction.error else self.read(item, prediction, settings).value
            result[item.id] = {"prediction": -1 if read is None else read, "answer": item.answer}
        return {"nextqa_results.json": json.dumps(result, indent=1)}


def _item(
    row: Mapping[str, Any], number: int, path: Path, videos: Finder, places: Mapping[str, str]
) -> Item:
    if str(row["answer"]) not in ("0", "1", "2", "3", "4"):
        raise bad_value(path, number, "answer", row["answer"], "0 to 4")
    if row["type"] not in _TYPES:
        raise bad_value(path, number, "type", row["type"], f"one of {', '.join(_TYPES)}")
    video = str(row["video"])
    names = [f"{places[video]}.mp4"] if video in places else []
    return Item(
        id=f"{video}_{row['qid']}",
        video=videos.find(*names, f"{video}.mp4"),
        video_id=video,
        question=row["question"],
        options=tuple(row[name] for name in _OPTION_COLUMNS),
        answer=int(row["answer"]),
        groups={"type": _TYPES[row["type"]], "group": _GROUPS[row["type"][0]]},
    )


def _places(data: Path) -> dict[str, str]:
    """Read where each video lies in VidOR's folders, if the map is there."""
    for name in ("map_vid_vidorID.json", "dataset/nextqa/map_vid_vidorID.json"):
        path = data / name
        if path.is_file():
            content = read_json(path)
            if not isinstance(content, dict) or not all(map(_is_text, content.values())):
                raise InputError(f"{path} is not a map of videos to folders; get it anew")
            return content
    return {}


def _is_text(value: object) -> bool:
    return isinstance(value, str)
