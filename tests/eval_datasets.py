"""Tiny datasets in the layouts that the benchmarks are published in, with films of shapes.

Each builder writes three films of one moving shape each, questions about its colour, kind and
motion, and a question about a fourth film that is not there. ``BUILDERS`` names them all.
"""

from __future__ import annotations

import csv
import functools
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FRAMES_A_SECOND = 8
FRAME_COUNT = 32
SECONDS = FRAME_COUNT / FRAMES_A_SECOND


@dataclass(frozen=True)
class Shape:
    """What the one thing in a film is and does."""

    name: str
    colour: str
    kind: str
    motion: str


SHAPES = (
    Shape("clip_one", "red", "circle", "right"),
    Shape("clip_two", "blue", "star", "left"),
    Shape("clip_three", "green", "square", "still"),
)
MISSING = Shape("clip_missing", "yellow", "ring", "up")

_OPTIONS = {
    "colour": ("red", "blue", "green", "yellow", "purple"),
    "kind": ("circle", "star", "square", "ring", "cross"),
    "motion": ("right", "left", "still", "up", "down"),
}
_WORDINGS = {
    "colour": "what colour is the {0.kind}?",
    "kind": "what shape is the {0.colour} object?",
    "motion": "which way does the {0.kind} move?",
}


@dataclass(frozen=True)
class Asked:
    """A question about a film, with its options and which is right."""

    shape: Shape
    about: str
    text: str
    options: tuple[str, ...]
    right: int


def questions(shape: Shape, option_count: int) -> list[Asked]:
    """Ask for colour, kind and motion; the right option moves from question to question."""
    asked = []
    for number, (about, wording) in enumerate(_WORDINGS.items()):
        answer = getattr(shape, about)
        wrong = [option for option in _OPTIONS[about] if option != answer]
        options = wrong[: option_count - 1]
        right = (number + len(shape.name)) % option_count
        options.insert(right, answer)
        asked.append(Asked(shape, about, wording.format(shape), tuple(options), right))
    return asked


def all_questions(option_count: int) -> list[Asked]:
    """Three questions about each film that is there, and one about the one that is not."""
    there = [asked for shape in SHAPES for asked in questions(shape, option_count)]
    return [*there, questions(MISSING, option_count)[0]]


@functools.cache
def film_bytes(shape: Shape) -> bytes:
    """Render and encode a film of four seconds, 8 frames a second, 96 by 128 pixels."""
    import io

    from pplava_core.shapes.film import encode_mp4

    buffer = io.BytesIO()
    encode_mp4(film_frames(shape), buffer, fps=FRAMES_A_SECOND, preset="ultrafast")
    return buffer.getvalue()


def film_frames(shape: Shape) -> Any:
    """Render the frames of a film, ``(32, 96, 128, 3)`` uint8."""
    from pplava_core.shapes.render import render
    from pplava_core.shapes.scene import COLOURS, DIRECTIONS, Scene, Thing

    across, down = DIRECTIONS[shape.motion]
    thing = Thing(
        kind=shape.kind,
        colour=shape.colour,
        radius=0.14,
        shade=COLOURS[shape.colour],
        motion=shape.motion,
        start=(0.5 - 0.3 * across, 0.5 - 0.3 * down),
        stop=(0.5 + 0.3 * across, 0.5 + 0.3 * down),
    )
    scene = Scene(
        things=(thing,), aspect=128 / 96, duration_seconds=SECONDS, backdrop_seed=7, clutter=0.1
    )
    moments = [(index + 0.5) / FRAME_COUNT for index in range(FRAME_COUNT)]
    return render(scene, moments, height=96, width=128)[0]


def write_films(folder: Path, names: Callable[[Shape], str]) -> None:
    """Write the films of `SHAPES` under the names given."""
    for shape in SHAPES:
        path = folder / names(shape)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(film_bytes(shape))


def write_zip(path: Path, names: Callable[[Shape], str]) -> None:
    """Write the films of `SHAPES` into a zip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for shape in SHAPES:
            archive.writestr(names(shape), film_bytes(shape))


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def lettered(options: Sequence[str]) -> list[str]:
    return [f"{'ABCDE'[number]}. {option}" for number, option in enumerate(options)]


def make_videomme(folder: Path, *, zipped: bool = False) -> Path:
    """Video-MME: one parquet file, films in ``data`` or in a zip, ``subtitle/*.srt`` of two."""
    durations = dict(zip([*SHAPES, MISSING], ["short", "medium", "long", "short"], strict=True))
    places = {"short": ("Knowledge", "Astronomy"), "medium": ("Life Record", "Food")}
    tasks = {
        "colour": "Attribute Perception",
        "kind": "Object Recognition",
        "motion": "Action Recognition",
    }
    rows = []
    for asked in all_questions(4):
        number = [*SHAPES, MISSING].index(asked.shape) + 1
        duration = durations[asked.shape]
        domain, sub_category = places.get(duration, ("Multilingual", "Multilingual"))
        rows.append(
            {
                "video_id": f"{number:03d}",
                "duration": duration,
                "domain": domain,
                "sub_category": sub_category,
                "url": f"https://example.invalid/{asked.shape.name}",
                "videoID": asked.shape.name,
                "question_id": f"{number:03d}-{list(_WORDINGS).index(asked.about) + 1}",
                "task_type": tasks[asked.about],
                "question": asked.text,
                "options": lettered(asked.options),
                "answer": "ABCD"[asked.right],
            }
        )
    write_parquet(folder / "videomme" / "test-00000-of-00001.parquet", rows)
    if zipped:
        write_zip(folder / "videos_chunked_01.zip", lambda shape: f"data/{shape.name}.mp4")
    else:
        write_films(folder / "data", lambda shape: f"{shape.name}.mp4")
    for shape in SHAPES[:2]:
        write_srt(folder / "subtitle" / f"{shape.name}.srt", shape)
    return folder


def write_srt(path: Path, shape: Shape) -> None:
    """Write a cue for each second, as the benchmark's files are written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cues = [
        f"{second + 1}\n00:00:0{second},000 --> 00:00:0{second + 1},000\n"
        f'<font color="white" size=".72c">second {second} of the {shape.kind}</font>\n'
        for second in range(int(SECONDS))
    ]
    path.write_text("\n".join(cues), encoding="utf-8")


def make_mvbench(folder: Path) -> Path:
    """MVBench: ``json`` of 20 tasks, films below ``video``, one task's in a zip, one as frames."""
    from pplava_core.evals.benchmarks.mvbench import TASKS

    asked = all_questions(3)
    for number, task in enumerate(TASKS):
        rows = []
        for one in (asked[number % 9], asked[9]) if number == 1 else (asked[number % 9],):
            name = one.shape.name if task.as_frames else f"{one.shape.name}.mp4"
            row: dict[str, Any] = {
                "video": name,
                "question": one.text,
                "candidates": list(one.options),
                "answer": one.options[one.right],
            }
            if task.bounded:
                row |= {"start": 0.5, "end": 3.5}
            rows.append(row)
        write_json(folder / "json" / f"{task.file_name}.json", rows)
    for place in sorted({task.folder for task in TASKS if not task.as_frames}):
        if place.startswith("star/"):
            write_zip(folder / "video" / "star.zip", lambda shape, p=place: f"{p}/{shape.name}.mp4")
        else:
            write_films(folder / "video" / place, lambda shape: f"{shape.name}.mp4")
    for place in {task.folder for task in TASKS if task.as_frames}:
        for shape in SHAPES:
            write_frames(folder / "video" / place / shape.name, shape)
    return folder


def write_frames(folder: Path, shape: Shape) -> None:
    """Write every third frame as ``00001.jpg``, ``00002.jpg`` …"""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(film_frames(shape)[::3], 1):
        Image.fromarray(frame).save(folder / f"{number:05d}.jpg")


def make_nextqa(folder: Path) -> Path:
    """NExT-QA: ``val.csv`` and ``test.csv``, the map of videos, films in numbered folders."""
    numbers = {shape: str(4000 + place) for place, shape in enumerate([*SHAPES, MISSING])}
    types = {"colour": "DO", "kind": "CW", "motion": "TN"}
    rows = [
        {
            "video": numbers[asked.shape],
            "frame_count": FRAME_COUNT,
            "width": 128,
            "height": 96,
            "question": asked.text.rstrip("?"),
            "answer": asked.right,
            "qid": list(_WORDINGS).index(asked.about),
            "type": types[asked.about],
        }
        | {f"a{number}": option for number, option in enumerate(asked.options)}
        for asked in all_questions(5)
    ]
    for split, part in (("val", rows), ("test", rows[:3])):
        path = folder / "dataset" / "nextqa" / f"{split}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(part)
    places = {number: f"0101/{number}" for number in numbers.values()}
    write_json(folder / "dataset" / "nextqa" / "map_vid_vidorID.json", places)
    write_films(folder / "NExTVideo", lambda shape: f"0101/{numbers[shape]}.mp4")
    return folder


def make_egoschema(folder: Path) -> Path:
    """EgoSchema: ``questions.json``, labels of a part of them, films in a zip."""
    rows: list[dict[str, Any]] = []
    answers = {}
    for number, asked in enumerate(all_questions(5)):
        name = f"{asked.shape.name}-{number:02d}"
        rows.append(
            {"q_uid": name, "google_drive_id": "none", "question": asked.text}
            | {f"option {place}": option for place, option in enumerate(asked.options)}
        )
        if number not in (1, 4):
            answers[name] = asked.right
    write_json(folder / "questions.json", rows)
    write_json(folder / "subset_answers.json", answers)
    archive = folder / "videos_chunked_01.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        for number, asked in enumerate(all_questions(5)[:-1]):
            opened.writestr(f"videos/{asked.shape.name}-{number:02d}.mp4", film_bytes(asked.shape))
    return folder


def make_longvideobench(folder: Path) -> Path:
    """LongVideoBench: labelled and unlabelled questions, films, both formats of subtitles."""
    rows: list[dict[str, Any]] = []
    groups = dict(zip([*SHAPES, MISSING], [15, 60, 600, 3600], strict=True))
    categories = {"colour": "S2A", "kind": "T2O", "motion": "E3E"}
    for number in range(len(all_questions(5))):
        asked = all_questions(3 + number % 3)[number]
        rows.append(
            {
                "video_id": asked.shape.name,
                "question": f"In this film, {asked.text}",
                "question_wo_referring_query": asked.text,
                "candidates": list(asked.options),
                "correct_choice": asked.right,
                "position": [1],
                "topic_category": "KS-Knowledge-STEM",
                "question_category": categories[asked.about],
                "level": "L2-Relation" if asked.about == "motion" else "L1-Perception",
                "id": f"{asked.shape.name}_{number}",
                "video_path": f"{asked.shape.name}.mp4",
                "subtitle_path": f"{asked.shape.name}_en.json",
                "duration_group": groups[asked.shape],
                "starting_timestamp_for_subtitles": 0,
                "duration": SECONDS,
                "view_count": 1,
                "type": "local",
            }
        )
    write_json(folder / "lvb_val.json", rows)
    unlabelled = [{k: v for k, v in row.items() if k != "correct_choice"} for row in rows[:4]]
    write_json(folder / "lvb_test_wo_gt.json", unlabelled)
    write_films(folder / "videos", lambda shape: f"{shape.name}.mp4")
    for number, shape in enumerate([*SHAPES, MISSING]):
        write_json(folder / "subtitles" / f"{shape.name}_en.json", _cues(shape, number % 2 == 1))
    return folder


def _cues(shape: Shape, timed_by_pairs: bool) -> list[dict[str, Any]]:
    lines = [(float(second), f"second {second} of the {shape.kind}") for second in range(4)]
    if timed_by_pairs:
        return [{"timestamp": [start, start + 1], "text": text} for start, text in lines]
    return [
        {"start": f"00:00:{start:06.3f}", "end": f"00:00:{start + 1:06.3f}", "line": text}
        for start, text in lines
    ]


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "videomme": make_videomme,
    "mvbench": make_mvbench,
    "nextqa": make_nextqa,
    "egoschema": make_egoschema,
    "longvideobench": make_longvideobench,
}
