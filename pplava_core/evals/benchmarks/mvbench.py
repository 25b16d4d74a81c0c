"""MVBench: 20 tasks of 200 questions about short films, answers given as texts of options.

Follows the benchmark's notebook; PPLLaVA's evaluation differs from it in the system sentence
and in how much of the answer is read, lmms-eval in wording, trimmed films and scoring.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pplava_core.errors import InputError, UsageError
from pplava_core.evals.base import BenchmarkInfo, Extracted, Item, Prediction, Prompt, Settings
from pplava_core.evals.benchmarks.choice import WHOLE, ChoiceBenchmark, chosen
from pplava_core.evals.benchmarks.letters import LETTERS, credited_options, letter, lone_letter
from pplava_core.evals.data.data_folder import (
    Rows,
    bad_value,
    checked,
    find_file,
    read_json,
    read_rows,
)
from pplava_core.evals.data.videos import Finder
from pplava_core.types import Sampling

BEST_OPTION = "Best option:("
"What the answer is begun with."
ONLY_BEST = "Only give the best option."
_SYSTEM = (
    "Carefully watch the video and pay attention to the cause and sequence of events, the detail "
    "and movement of objects, and the action and pose of persons. Based on your observations, "
    "select the best option that accurately addresses the question."
)
_AS_PICTURES = "as_pictures"
"In an item's details: its film is a folder of pictures."
_NO_ANSWER = "(no answer)"
"Stands in result files for an error: the authors' check would credit an empty text."
_FOLDER_FPS = 3.0
"Of the tasks whose films are folders of pictures, numbered from 1."


@dataclass(frozen=True, kw_only=True)
class Task:
    """One of the 20 tasks, as the notebook lists them."""

    name: str
    folder: str
    "Of its films, below `video`."
    bounded: bool = False
    "Whether a question is about a part of the film, `start` to `end` seconds."
    as_frames: bool = False
    "Whether a film is a folder of pictures."
    trimmed_folder: str = ""
    "Where lmms-eval has the parts cut out as films of their own."

    @property
    def file_name(self) -> str:
        """Name the task's JSON file, without its suffix."""
        return self.name.lower().replace(" ", "_").replace("-", "_")


_STAR, _STAR_TRIMMED = "star/Charades_v1_480", "star/Charades_segment"
_CLEVRER, _PERCEPTION = "clevrer/video_validation", "perception/videos"

TASKS = (
    Task(name="Action Sequence", folder=_STAR, bounded=True, trimmed_folder=_STAR_TRIMMED),
    Task(name="Action Prediction", folder=_STAR, bounded=True, trimmed_folder=_STAR_TRIMMED),
    Task(name="Action Antonym", folder="ssv2_video", trimmed_folder="ssv2_video_mp4"),
    Task(name="Fine-grained Action", folder="Moments_in_Time_Raw/videos"),
    Task(name="Unexpected Action", folder="FunQA_test/test"),
    Task(name="Object Existence", folder=_CLEVRER),
    Task(name="Object Interaction", folder=_STAR, bounded=True, trimmed_folder=_STAR_TRIMMED),
    Task(name="Object Shuffle", folder=_PERCEPTION),
    Task(name="Moving Direction", folder=_CLEVRER),
    Task(
        name="Action Localization",
        folder="sta/sta_video",
        bounded=True,
        trimmed_folder="sta/sta_video_segment",
    ),
    Task(name="Scene Transition", folder="scene_qa/video"),
    Task(name="Action Count", folder=_PERCEPTION),
    Task(name="Moving Count", folder=_CLEVRER),
    Task(name="Moving Attribute", folder=_CLEVRER),
    Task(name="State Change", folder=_PERCEPTION),
    Task(name="Fine-grained Pose", folder="nturgbd", trimmed_folder="nturgbd_convert"),
    Task(name="Character Order", folder=_PERCEPTION),
    Task(name="Egocentric Navigation", folder="vlnqa"),
    Task(
        name="Episodic Reasoning",
        folder="tvqa/frames_fps3_hq",
        bounded=True,
        as_frames=True,
        trimmed_folder="tvqa/video_fps3_hq_segment",
    ),
    Task(name="Counterfactual Inference", folder=_CLEVRER),
)
"In the order of the published table."


class MVBench(ChoiceBenchmark):
    """MVBench; see the module."""

    info = BenchmarkInfo(
        name="mvbench",
        title="MVBench",
        question_counts={"test": 4000},
        video_count=None,
        size_gigabytes=17.3,
        licence="MIT",
        hub_id="OpenGVLab/MVBench",
        metric="accuracy by task, and over all",
        splits=("test",),
    )
    axes = ("task_type",)
    orders: ClassVar[Mapping[str, Sequence[str]]] = {"task_type": [task.name for task in TASKS]}

    def items(self, data: Path, settings: Settings) -> list[Item]:
        """Read the JSON files of the 20 tasks; see `Benchmark.items`."""
        videos, items = Finder(data), []
        for task in TASKS:
            name = f"{task.file_name}.json"
            path = find_file(data, (f"json/{name}", name), what=f"questions of {task.name}")
            for number, row in enumerate(_checked(task, path), 1):
                items.append(_item(row, number, task, path, videos, settings))
        return items

    def paths(self, item: Item, settings: Settings) -> tuple[Path, ...]:
        """Name the film, or of a folder of pictures those that the notebook takes."""
        (path,) = super().paths(item, settings)
        if not item.details.get(_AS_PICTURES):
            return (path,)
        return _pictures(path, item, self.num_frames(item, settings))

    def sampling(self, item: Item, settings: Settings) -> Sampling:
        """Take all of the pictures that `paths` chose, or spread over a film's part."""
        if item.details.get(_AS_PICTURES):
            return Sampling()
        return super().sampling(item, settings)

    def prompt(self, item: Item, settings: Settings, seconds: Sequence[float] = ()) -> Prompt:
        """Word the item; see `Benchmark.prompt`."""
        asked = listed(item.question, item.options)
        if settings.protocol == "lmms":
            options = "".join(f"({letter(n)}) {text}\n" for n, text in enumerate(item.options))
            query = f"Question:{item.question}\nOption:\n{options}{ONLY_BEST}\n"
            return Prompt(query=query, guide=asked, source="lmms")
        query = f"{asked}\n{ONLY_BEST}"
        if settings.protocol == "ppllava":
            # its switch for the system sentence works the wrong way round, and is always set
            return Prompt(query=query, guide=asked, answer_prefix=BEST_OPTION, source="ppllava")
        return Prompt(query=f"{_SYSTEM}\n{query}", guide=asked, answer_prefix=BEST_OPTION)

    def extract(self, item: Item, text: str, settings: Settings) -> Extracted:
        """Read what followed `BEST_OPTION`, or under lmms-eval the whole answer."""
        if settings.protocol == "lmms":
            return chosen(lone_letter(text))
        text = text.strip()
        if settings.protocol == "official":
            text = text.split("\n")[0]
        return _credited(f"({text}", item)

    def read(self, item: Item, prediction: Prediction, settings: Settings) -> Extracted:
        """Read a prediction; one from a result file has its first bracket already."""
        if prediction.details.get(WHOLE) and settings.protocol != "lmms":
            return _credited(prediction.text, item)
        return super().read(item, prediction, settings)

    def is_counted(self, item: Item, prediction: Prediction, settings: Settings) -> bool:
        """Leave out an empty answer under lmms-eval's rule."""
        return settings.protocol != "lmms" or prediction.text != ""

    def notes(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> list[str]:
        """Say what the official check gives away."""
        if settings.protocol == "lmms":
            return ["empty answers are left out of every denominator, as lmms-eval does"]
        if settings.strict:
            return ["answers that the authors' check credits to several options count as wrong"]
        return [
            "the authors' check credits an answer such as `(` to every option: "
            "the count `degenerate` says how many were right that way (--strict leaves them out)"
        ]

    def read_results(self, path: Path, items: Sequence[Item]) -> dict[str, Prediction]:
        """Read the notebook's file: ``res_list`` (or ``predictions``) of ``pred`` and ``gt``.

        Entries that name no question are matched by their order, and checked by their ``gt``.
        """
        content = read_json(path)
        try:
            entries = content["res_list"] if "res_list" in content else content["predictions"]
            texts = [(entry.get("question"), entry["gt"], entry["pred"]) for entry in entries]
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{path} is no result file of MVBench ({type(error).__name__}: {error}); "
                "it has a res_list of pred and gt"
            ) from error
        matched = _match(path, texts, items)
        return {
            item.id: Prediction(id=item.id, text=text, details={WHOLE: True})
            for item, text in matched
        }

    def submission(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> dict[str, str]:
        """Return the file that the notebook saves: right and all by task, then every answer."""
        tally: dict[str, list[int]] = {}
        entries = []
        for item in items:
            prediction = predictions.get(item.id, Prediction(id=item.id, error="missing"))
            right_and_all = tally.setdefault(item.groups["task_type"], [0, 0])
            right_and_all[0] += int(self.points(item, prediction, settings) or 0)
            right_and_all[1] += 1
            whole = prediction.details.get(WHOLE) or settings.protocol == "lmms"
            text = prediction.text if whole else f"({prediction.text.strip()}"
            if prediction.error is not None:
                text = _NO_ANSWER
            entries.append({"pred": text, "gt": _right_text(item)})
        result = {"acc_dict": tally, "res_list": entries}
        return {"mvbench_results.json": json.dumps(result, ensure_ascii=False, indent=1)}


def listed(question: str, options: Sequence[str]) -> str:
    """Write a question and its options as the notebook does."""
    lines = [f"({letter(number)}) {text}" for number, text in enumerate(options)]
    return "\n".join([f"Question: {question}", "Options:", *lines])


def _checked(task: Task, path: Path) -> Rows:
    columns: dict[str, type | tuple[type, ...]] = {
        **dict.fromkeys(("video", "question", "answer"), str),
        "candidates": list,
    }
    if task.bounded:
        columns |= dict.fromkeys(("start", "end"), (int, float))
    return checked(read_rows(path), path, columns)


def _item(
    row: Mapping[str, Any], number: int, task: Task, path: Path, videos: Finder, settings: Settings
) -> Item:
    options = tuple(row["candidates"])
    if not 2 <= len(options) <= len(LETTERS) or not all(isinstance(o, str) for o in options):
        raise bad_value(path, number, "candidates", row["candidates"], "2 to 8 texts")
    places = [place for place, text in enumerate(options) if text == row["answer"]]
    if not places:
        raise bad_value(path, number, "answer", row["answer"], "one of the candidates")
    name, trimmed = row["video"], None
    if settings.protocol == "lmms" and task.trimmed_folder:
        trimmed = videos.find(f"{task.trimmed_folder}/{name}")
    is_bounded = task.bounded and trimmed is None
    return Item(
        id=f"{task.file_name}-{number - 1}",
        video=trimmed or videos.find(f"{task.folder}/{name}"),
        video_id=f"{task.folder}/{name}",
        question=row["question"],
        options=options,
        # of options of the same text the notebook takes the last, lmms-eval the first
        answer=places[0] if settings.protocol == "lmms" else places[-1],
        groups={"task_type": task.name},
        start_seconds=float(row["start"]) if is_bounded else None,
        stop_seconds=float(row["end"]) if is_bounded else None,
        details={_AS_PICTURES: task.as_frames and trimmed is None},
    )


def _pictures(folder: Path, item: Item, num_frames: int) -> tuple[Path, ...]:
    """Choose pictures of a folder as the notebook does, by number."""
    from pplava_core.media import bounded_indices, numbered_frames

    pictures = numbered_frames(folder)
    start, stop = item.start_seconds or 0.0, item.stop_seconds or math.inf
    try:
        numbers = bounded_indices(
            start,
            min(stop, len(pictures) / _FOLDER_FPS),
            fps=_FOLDER_FPS,
            last_index=len(pictures),
            num_frames=num_frames,
            first_index=1,
        )
    except UsageError as error:
        raise InputError(
            f"{folder}: no picture from {start:g} s to {stop:g} s; there are {len(pictures)} "
            f"pictures, {_FOLDER_FPS:g} a second"
        ) from error
    return tuple(pictures[number - 1] for number in numbers)


def _credited(prediction: str, item: Item) -> Extracted:
    """Read the one option that is credited; of several, the right one is a gift."""
    options = credited_options(prediction, len(item.options))
    if len(options) == 1:
        return Extracted(value=options[0])
    if item.answer in options:
        return Extracted(value=item.answer, how="degenerate")
    return Extracted(value=None, how="unextracted")


def _right_text(item: Item) -> str:
    return f"({letter(item.answer)}) {item.options[item.answer]}"


def _match(
    path: Path, texts: Sequence[tuple[str | None, str, str]], items: Sequence[Item]
) -> list[tuple[Item, str]]:
    """Find the item of every entry; of the same question asked twice the first is taken first."""
    by_question: dict[str, deque[Item]] = defaultdict(deque)
    for item in items:
        by_question[f"{listed(item.question, item.options)}\n{_right_text(item)}"].append(item)
    if all(question is None for question, _, _ in texts) and len(texts) != len(items):
        raise InputError(
            f"{path} has {len(texts)} answers to {len(items)} questions, and does not name them: "
            "is it of another version of the data?"
        )
    matched = []
    for number, (question, right, text) in enumerate(texts):
        if question is None:
            item = items[number]
        else:
            found = by_question.get(f"{question}\n{right}")
            if not found:
                raise InputError(f"{path}, answer {number + 1}: no such question in the data")
            item = found.popleft()
        if right != _right_text(item):
            raise InputError(
                f"{path}, answer {number + 1}: gt is {right!r}, the data has {_right_text(item)!r}"
            )
        matched.append((item, text))
    return matched
