"""Video-MME: 900 films of three lengths, three questions each, with and without subtitles.

Follows the benchmark's README and scoring script; where PPLLaVA's evaluation or lmms-eval do
otherwise, ``--protocol`` chooses.
"""

from __future__ import annotations

import functools
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
    DEFAULT_NUM_FRAMES,
    ChoiceBenchmark,
    chosen,
    with_suffix,
)
from pplava_core.evals.benchmarks.letters import VIDEOMME_PREFIXES, first_capital, ranked_letter
from pplava_core.evals.benchmarks.subtitles import read_srt, shown_in, spoken_at
from pplava_core.evals.data.data_folder import (
    bad_value,
    check_unique,
    checked,
    find_file,
    read_json,
    read_rows,
)
from pplava_core.evals.data.videos import Finder, unpacked
from pplava_core.evals.results.tables import share_row, tables_by_axis

_LETTERS = "ABCD"
_VIDEOS_A_DURATION = 300
_LMMS_SUBTITLE_FRAMES = 32
_LONG_NUM_FRAMES = 64
"PPLLaVA's evaluation for films of medium and long duration."

_ASK = (
    "Select the best answer to the following multiple-choice question based on the video{0}. "
    "Respond with only the letter (A, B, C, or D) of the correct option."
)
_BEST = "The best answer is:"
_LMMS_END = "\nAnswer with the option's letter from the given choices directly."

DURATIONS = ("short", "medium", "long")
DOMAINS = (
    *("Knowledge", "Film & Television", "Sports Competition"),
    *("Artistic Performance", "Life Record", "Multilingual"),
)
SUB_CATEGORIES = (
    *("Humanity & History", "Literature & Art", "Biology & Medicine", "Finance & Commerce"),
    *("Astronomy", "Geography", "Law", "Life Tip", "Technology", "Animation"),
    *("Movie & TV Show", "Documentary", "News Report", "Esports", "Basketball", "Football"),
    *("Athletics", "Other Sports", "Stage Play", "Magic Show", "Variety Show", "Acrobatics"),
    *("Handicraft", "Food", "Fashion", "Daily Life", "Travel", "Pet & Animal", "Exercise"),
    "Multilingual",
)
TASK_TYPES = (
    *("Temporal Perception", "Spatial Perception", "Attribute Perception"),
    *("Action Recognition", "Object Recognition", "OCR Problems", "Counting Problem"),
    *("Temporal Reasoning", "Spatial Reasoning", "Action Reasoning", "Object Reasoning"),
    "Information Synopsis",
)
_TEXT_COLUMNS = (
    *("video_id", "duration", "domain", "sub_category", "videoID", "question_id"),
    *("task_type", "question", "answer"),
)


class VideoMME(ChoiceBenchmark):
    """Video-MME; see the module."""

    info = BenchmarkInfo(
        name="videomme",
        title="Video-MME",
        question_counts={"test": 2700},
        video_count=900,
        size_gigabytes=100.0,
        licence="academic research only",
        hub_id="lmms-lab/Video-MME",
        metric="accuracy, without and with subtitles",
        splits=("test",),
        has_subtitles=True,
    )
    axes = ("duration", "domain", "sub_category", "task_type")
    orders: ClassVar[Mapping[str, Sequence[str]]] = {
        "duration": DURATIONS,
        "domain": DOMAINS,
        "sub_category": SUB_CATEGORIES,
        "task_type": TASK_TYPES,
    }

    def items(self, data: Path, settings: Settings) -> list[Item]:
        """Read the one table of questions; see `Benchmark.items`."""
        patterns = ("videomme/*.parquet", "*.parquet", "videomme/*.json", "videomme.json")
        path = find_file(data, patterns, what="questions of Video-MME")
        columns = {**dict.fromkeys(_TEXT_COLUMNS, str), "options": list}
        rows = checked(read_rows(path), path, columns)
        check_unique((row["question_id"] for row in rows), path)
        videos, subtitles = Finder(data), Finder(data, frozenset({".srt"}))
        return [_item(row, number, path, videos, subtitles) for number, row in enumerate(rows, 1)]

    def num_frames(self, item: Item, settings: Settings) -> int:
        """Return how many frames are shown: 32 of a short film, 64 of any other."""
        is_short = item.groups["duration"] == "short"
        return settings.num_frames or (DEFAULT_NUM_FRAMES if is_short else _LONG_NUM_FRAMES)

    def prompt(self, item: Item, settings: Settings, seconds: Sequence[float] = ()) -> Prompt:
        """Word the item; see `Benchmark.prompt`.

        Raises:
            InputError: subtitles are asked for and cannot be read, or the film cannot be.
        """
        lines = self._lines(item, settings, seconds) if settings.subtitles else None
        word = {"ppllava": _ppllava_prompt, "lmms": _lmms_prompt}
        return word.get(settings.protocol, _official_prompt)(item, lines, settings)

    def extract(self, item: Item, text: str, settings: Settings) -> Extracted:
        """Read a letter by the script's rule, which is VLMEvalKit's too, or by lmms-eval's."""
        if settings.protocol == "lmms":
            return chosen(ranked_letter(text, _LETTERS))
        return chosen(first_capital(text, VIDEOMME_PREFIXES, _LETTERS))

    def is_counted(self, item: Item, prediction: Prediction, settings: Settings) -> bool:
        """Leave out what no letter could be read of, as the script does; lmms-eval does not."""
        if settings.protocol == "lmms":
            return True
        return self.read(item, prediction, settings).how == "read"

    def tables(
        self, items: Sequence[Item], points: Mapping[str, float], settings: Settings
    ) -> tuple[Table, ...]:
        """Sum up over all films, then over those of each duration."""
        tables = list(tables_by_axis(items, points, self.axes, orders=self.orders))
        for duration in DURATIONS:
            part = [item for item in items if item.groups["duration"] == duration]
            tables += with_suffix(
                tables_by_axis(part, points, self.axes[1:], orders=self.orders), duration
            )
        return (
            tuple(tables) if settings.protocol != "lmms" else _by_substring(tables, items, points)
        )

    def notes(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> list[str]:
        """Say how subtitles were used, what is left out, and where the script would refuse."""
        said = [f"{'with' if settings.subtitles else 'without'} subtitles"]
        if settings.protocol != "lmms" and not settings.strict:
            said.append(
                "answers of which no letter could be read are left out of every denominator, "
                "as the authors' script does; errors and missing answers count as wrong"
            )
        for duration in DURATIONS:
            videos = {item.video_id for item in items if item.groups["duration"] == duration}
            if videos and len(videos) != _VIDEOS_A_DURATION:
                said.append(
                    f"{len(videos)} {duration} films: the authors' script takes only "
                    f"{_VIDEOS_A_DURATION}"
                )
        return said

    def read_results(self, path: Path, items: Sequence[Item]) -> dict[str, Prediction]:
        """Read the script's nested JSON: films, each with its questions and responses."""
        known = {item.id for item in items}
        found = {}
        films = read_json(path)
        try:
            for question in (question for film in films for question in film["questions"]):
                name, response = question["question_id"], question.get("response")
                if name not in known:
                    raise InputError(f"{path}: there is no question {name} in the data")
                if response is not None:
                    found[name] = Prediction(id=name, text=str(response))
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{path} is no result file of Video-MME ({type(error).__name__}: {error}); "
                "it is a list of films with questions and responses"
            ) from error
        return found

    def submission(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> dict[str, str]:
        """Return the file that the authors' script scores."""
        films: dict[str, dict[str, Any]] = {}
        for item in items:
            number = item.details["video_number"]
            axes = {axis: item.groups[axis] for axis in self.axes[:3]}
            film = films.setdefault(number, {"video_id": number, **axes, "questions": []})
            film["questions"].append(
                {
                    "question_id": item.id,
                    "task_type": item.groups["task_type"],
                    "question": item.question,
                    "options": list(item.options),
                    "answer": _LETTERS[item.answer],
                    "response": predictions[item.id].text if item.id in predictions else "",
                }
            )
        text = json.dumps(list(films.values()), ensure_ascii=False, indent=1)
        return {"videomme_results.json": text}

    def _lines(self, item: Item, settings: Settings, seconds: Sequence[float]) -> list[str] | None:
        """Return the subtitles that the protocol shows, or None where the film has none."""
        import numpy as np

        from pplava_core.media import sample_indices

        if item.subtitles is None:
            return None
        cues = read_srt(unpacked(item.subtitles))
        if settings.protocol == "official" and len(seconds):
            return spoken_at(cues, seconds)
        frame_count, fps = _film_facts(self.paths(item, settings)[0])
        if settings.protocol == "lmms":
            places = np.linspace(0, frame_count - 1, _LMMS_SUBTITLE_FRAMES, dtype=int).tolist()
            return shown_in(cues, places, fps)
        places = sample_indices(frame_count, self.num_frames(item, settings))
        if settings.protocol == "ppllava":
            return shown_in(cues, places, fps)
        return spoken_at(cues, [place / fps for place in places])


def _item(
    row: Mapping[str, Any], number: int, path: Path, videos: Finder, subtitles: Finder
) -> Item:
    options = tuple(row["options"])
    if len(options) != len(_LETTERS) or not all(isinstance(option, str) for option in options):
        raise bad_value(path, number, "options", row["options"], "four texts")
    if row["answer"] not in tuple(_LETTERS):
        raise bad_value(path, number, "answer", row["answer"], "A, B, C or D")
    if row["duration"] not in DURATIONS:
        raise bad_value(path, number, "duration", row["duration"], "short, medium or long")
    name = row["videoID"]
    return Item(
        id=row["question_id"],
        video=videos.find(f"data/{name}.mp4", f"{name}.mp4"),
        video_id=name,
        question=row["question"],
        options=options,
        answer=_LETTERS.index(row["answer"]),
        groups={axis: row[axis] for axis in VideoMME.axes},
        subtitles=subtitles.find(f"subtitle/{name}.srt", f"{name}.srt"),
        details={"video_number": row["video_id"]},
    )


def _official_prompt(item: Item, lines: Sequence[str] | None, settings: Settings) -> Prompt:
    """Word the item as the benchmark's README does."""
    options = "\n".join(item.options)
    query = f"{_ASK.format('')}\n{item.question}\n{options}\n{_BEST}"
    if lines:
        query = "This video's subtitles are listed below:\n" + "\n".join(lines) + f"\n{query}"
    return Prompt(query=query, guide=f"{item.question}\n{options}")


def _ppllava_prompt(item: Item, lines: Sequence[str] | None, settings: Settings) -> Prompt:
    """Word the item as PPLLaVA's evaluation does, which prints a NumPy array of options."""
    import numpy as np

    asked = f"{item.question}\n{np.array(item.options, dtype=object)}"
    query = f"{_ASK.format(' and the subtitles')}\n{asked}"
    text = " ".join(lines or ())
    if text:
        query = f"This video's subtitles are listed below: {text} \n{query}"
    return Prompt(query=query, guide=asked, answer_prefix=_BEST, source="ppllava")


def _lmms_prompt(item: Item, lines: Sequence[str] | None, settings: Settings) -> Prompt:
    """Word the item as lmms-eval does."""
    options = "\n".join(item.options)
    query = f"{_ASK.format(' and the subtitles')}\n{item.question}\n{options}\n"
    if settings.subtitles:
        text = "No subtitles available" if lines is None else "\n".join(lines)
        query = f"This video's subtitles are listed below: \n{text}\n{query}{_BEST}"
    else:
        query += _LMMS_END
    return Prompt(query=query, guide=f"{item.question}\n{options}", source="lmms")


@functools.lru_cache(maxsize=8)
def _film_facts(path: Path) -> tuple[int, float]:
    """Return a film's number of frames and frames per second; the next questions ask again."""
    from pplava_core.media import load_clip
    from pplava_core.types import PixelRule, Sampling

    clip = load_clip(path, sampling=Sampling(num_frames=1), pixels=PixelRule(height=16, width=16))
    return clip.source.frame_count, clip.source.fps


def _by_substring(
    tables: Sequence[Table], items: Sequence[Item], points: Mapping[str, float]
) -> tuple[Table, ...]:
    """Sum up "Multilingual" as lmms-eval does: of domain or sub-category, in both tables."""
    name = DOMAINS[-1]
    members = [
        item.id
        for item in items
        if item.id in points and name in (item.groups["domain"], item.groups["sub_category"])
    ]
    row = share_row(name, sum(points[member] for member in members), len(members))
    return tuple(
        Table(name=table.name, rows=tuple(row if old.name == name else old for old in table.rows))
        if table.name in ("domain", "sub_category")
        else table
        for table in tables
    )
