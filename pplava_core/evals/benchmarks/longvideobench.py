"""LongVideoBench: films of seconds to an hour with subtitles, questions that refer to a moment.

Follows the authors' loader. It puts subtitles between the frames; here a film is one block of
tokens, so they stand after it, in the same order and the same selection: our choice. Labels of
`val` are public; for `test` a file is made to hand in, and no score is claimed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pplava_core.errors import InputError
from pplava_core.evals.base import BenchmarkInfo, Extracted, Item, Prediction, Prompt, Settings
from pplava_core.evals.benchmarks.choice import NO_PPLLAVA_NOTE, ChoiceBenchmark, chosen_or_drawn
from pplava_core.evals.benchmarks.letters import LONGVIDEOBENCH_PREFIXES, first_capital, letter
from pplava_core.evals.benchmarks.subtitles import interleaved, read_timed_lines
from pplava_core.evals.data.data_folder import (
    bad_value,
    check_unique,
    checked,
    find_file,
    read_json,
    read_rows,
)
from pplava_core.evals.data.videos import Finder

_NUM_FRAMES = 64
_CHOOSE = "Answer with the option's letter from the given choices directly."
_LETTERS = "ABCDE"
_NO_OPTION = "N/A"
"What stands in the hub's columns where a question has fewer than five options."
_FILES = {
    "val": ("lvb_val.json", "validation-*.parquet", "data/validation-*.parquet"),
    "test": ("lvb_test_wo_gt.json", "test-*.parquet", "data/test-*.parquet"),
}


class LongVideoBench(ChoiceBenchmark):
    """LongVideoBench; see the module."""

    info = BenchmarkInfo(
        name="longvideobench",
        title="LongVideoBench",
        question_counts={"val": 1337, "test": 5341},
        video_count=None,
        size_gigabytes=160.0,
        licence="CC BY-NC-SA 4.0, access on request",
        hub_id="longvideobench/LongVideoBench",
        metric="accuracy, by duration and category of question",
        splits=("val", "test"),
        has_subtitles=True,
    )
    axes = ("duration_group", "question_category", "level")
    orders: ClassVar[Mapping[str, Sequence[str]]] = {
        "duration_group": ("15", "60", "600", "3600"),
        "question_category": (
            *("S2E", "S2O", "S2A", "E2O", "O2E", "T2E", "T2O", "T2A", "E3E"),
            *("O3O", "SSS", "SOS", "SAA", "T3E", "T3O", "TOS", "TAA"),
        ),
        "level": ("L1-Perception", "L2-Relation"),
    }

    def items(self, data: Path, settings: Settings) -> list[Item]:
        """Read a split's JSON or parquet file; see `Benchmark.items`."""
        split = self.split(settings)
        path = find_file(data, _FILES[split], what=f"questions of LongVideoBench's {split}")
        columns: dict[str, type | tuple[type, ...]] = {
            **dict.fromkeys(("id", "video_id", "video_path", "question"), str),
            "subtitle_path": str,
            **dict.fromkeys(("duration", "starting_timestamp_for_subtitles"), (int, float)),
        }
        if split == "val":
            columns |= {"duration_group": (int, str), "question_category": str, "level": str}
        rows = checked(read_rows(path), path, columns)
        check_unique((row["id"] for row in rows), path)
        videos = Finder(data)
        return [
            _item(row, number, path, videos, split == "val") for number, row in enumerate(rows, 1)
        ]

    def paths(self, item: Item, settings: Settings) -> tuple[Path, ...]:
        """Name the film to open; see `Benchmark.paths`.

        Raises:
            InputError: there is none; whether it may still be packed is said.
        """
        if item.video is None and item.subtitles is not None:
            _refuse_packed(item.subtitles.parent.parent, "videos")
        return super().paths(item, settings)

    def num_frames(self, item: Item, settings: Settings) -> int:
        """Return how many frames are shown: 64 unless told otherwise."""
        return settings.num_frames or _NUM_FRAMES

    def prompt(self, item: Item, settings: Settings, seconds: Sequence[float] = ()) -> Prompt:
        """Word the item; see `Benchmark.prompt`.

        Raises:
            InputError: subtitles are asked for and the item's cannot be read.
        """
        options = [f"{letter(number)}. {text}" for number, text in enumerate(item.options)]
        lines = self._lines(item, settings, seconds) if settings.subtitles else []
        if settings.protocol == "lmms":
            query = "\n".join([*lines, item.question, *options, f"{_CHOOSE}\n"])
        else:
            query = "\n".join([*lines, f"Question: {item.question}", *options, _CHOOSE])
        source = "lmms" if settings.protocol == "lmms" else "official"
        return Prompt(
            query=query,
            guide=item.question,
            source="our choice" if settings.subtitles else source,
        )

    def extract(self, item: Item, text: str, settings: Settings) -> Extracted:
        """Read a letter by the author's parser, which draws one where there is none."""
        index = first_capital(text, LONGVIDEOBENCH_PREFIXES, _LETTERS)
        return chosen_or_drawn(index, item, settings)

    def notes(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> list[str]:
        """Say where subtitles stand, what happens to unreadable answers, and what is public."""
        said = [NO_PPLLAVA_NOTE] if settings.protocol == "ppllava" else []
        if settings.subtitles:
            said.append(
                "subtitles stand after the film's tokens, not between its frames: our choice"
            )
        else:
            said.append("without subtitles")
        if self.split(settings) == "test":
            said.append("labels are not public: no score; hand in longvideobench_submission.json")
        elif not settings.strict:
            said.append(
                f"where no letter could be read one is drawn, as the author's parser does, here "
                f"with seed {settings.seed} (--strict counts these as wrong)"
            )
        return said

    def read_results(self, path: Path, items: Sequence[Item]) -> dict[str, Prediction]:
        """Read a file to hand in: ``{"<id>": "<raw answer>"}``."""
        content = read_json(path)
        if not isinstance(content, dict) or any(type(t) is not str for t in content.values()):
            raise InputError(f'{path} is no result file of LongVideoBench: it is {{"id": "A"}}')
        found = {
            item.id: Prediction(id=item.id, text=content[item.id])
            for item in items
            if item.id in content
        }
        if not found:
            raise InputError(f"{path} answers no question of this split; is it of another one?")
        return found

    def submission(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> dict[str, str]:
        """Return the file to hand in for `test`, which for `val` is the same format."""
        result = {
            item.id: predictions[item.id].text if item.id in predictions else "" for item in items
        }
        text = json.dumps(result, ensure_ascii=False, indent=1)
        return {"longvideobench_submission.json": text}

    def _lines(self, item: Item, settings: Settings, seconds: Sequence[float]) -> list[str]:
        """Return the subtitles that the loader puts between the frames, in its order."""
        path = item.subtitles
        if path is None:
            return []
        if not path.parent.is_dir():
            _refuse_packed(path.parent.parent, "subtitles")
        duration = item.details["duration_seconds"]
        count = self.num_frames(item, settings)
        moments = seconds if len(seconds) else [duration * n / count for n in range(count)]
        cues = read_timed_lines(
            path,
            offset_seconds=item.details["subtitles_offset_seconds"],
            duration_seconds=duration,
        )
        return [part for part in interleaved(moments, cues) if isinstance(part, str)]


def _item(row: Mapping[str, Any], number: int, path: Path, videos: Finder, labelled: bool) -> Item:
    options = _options(row)
    if not 2 <= len(options) <= len(_LETTERS) or not all(isinstance(o, str) for o in options):
        raise bad_value(path, number, "candidates", list(options), "2 to 5 texts")
    answer = row.get("correct_choice") if labelled else None
    if labelled and (type(answer) is not int or not 0 <= answer < len(options)):
        raise bad_value(path, number, "correct_choice", answer, f"0 to {len(options) - 1}")
    return Item(
        id=row["id"],
        video=videos.find(f"videos/{row['video_path']}", row["video_path"]),
        video_id=row["video_id"],
        question=row["question"],
        options=options,
        answer=answer,
        groups={axis: str(row[axis]) for axis in LongVideoBench.axes if axis in row},
        subtitles=path.parent / "subtitles" / row["subtitle_path"],
        details={
            "subtitles_offset_seconds": row["starting_timestamp_for_subtitles"],
            "duration_seconds": row["duration"],
        },
    )


def _options(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Take the options from the JSON file's list or from the hub's five columns."""
    if isinstance(row.get("candidates"), list):
        return tuple(row["candidates"])
    columns = [row.get(f"option{number}") for number in range(len(_LETTERS))]
    return tuple(option for option in columns if option not in (_NO_OPTION, None))


def _refuse_packed(data: Path, name: str) -> None:
    """Say how to unpack the hub's tar, if that is all there is of a folder."""
    parts = sorted(data.glob(f"{name}.tar*"))
    if parts and not (data / name).is_dir():
        raise InputError(
            f"{data / name} is still packed in {parts[0].name}: "
            f"unpack it with `cat {name}.tar* | tar -x` in {data}"
        )
