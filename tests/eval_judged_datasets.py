"""Tiny datasets of the judged benchmarks in their published layouts, with films of shapes.

Each holds questions about three films and one about a fourth film that is not there. The
questions are invented.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from eval_datasets import (
    MISSING,
    SHAPES,
    Shape,
    all_questions,
    write_films,
    write_json,
    write_parquet,
    write_zip,
)

_TYPES = {"colour": 4, "kind": 5, "motion": 0}


def _answer(asked: Any) -> str:
    return asked.options[asked.right]


def _number(shape: Shape) -> int:
    return 1200 + [*SHAPES, MISSING].index(shape)


def activitynet_rows() -> list[dict[str, Any]]:
    """Questions of types 0, 4 and 5, and one that is answered by yes or no."""
    rows = [
        {
            "video_name": asked.shape.name,
            "question": asked.text.rstrip("?"),
            "question_id": f"v_{asked.shape.name}_{number}",
            "answer": _answer(asked),
            "type": _TYPES[asked.about],
        }
        for number, asked in enumerate(all_questions(3))
    ]
    shape = SHAPES[0]
    yes_or_no = {"question": f"is there a {shape.kind}", "answer": "yes", "type": 3}
    names = {"video_name": shape.name, "question_id": f"v_{shape.name}_99"}
    return [*rows, names | yes_or_no]


def make_activitynetqa(folder: Path) -> Path:
    """ActivityNet-QA as its authors publish it: questions and answers apart, films `v_*`."""
    rows = activitynet_rows()
    asked = ("video_name", "question", "question_id")
    write_json(folder / "test_q.json", [{name: row[name] for name in asked} for row in rows])
    given = ("answer", "type", "question_id")
    write_json(folder / "test_a.json", [{name: row[name] for name in given} for row in rows])
    suffixes = dict(zip(SHAPES, ("mp4", "mkv", "webm"), strict=True))
    write_films(folder / "videos", lambda shape: f"v_{shape.name}.{suffixes[shape]}")
    return folder


def make_activitynetqa_hub(folder: Path) -> Path:
    """ActivityNet-QA as the hub has it: one parquet file, films in a zip, types as text."""
    rows = [row | {"type": str(row["type"])} for row in activitynet_rows()]
    write_parquet(folder / "data" / "test-00000-of-00001.parquet", rows)
    write_zip(folder / "activitynetqa_01.zip", lambda shape: f"all_test/v_{shape.name}.mp4")
    return folder


def make_msvdqa(folder: Path) -> Path:
    """MSVD-QA: numbers in the questions, a mapping to the films' names."""
    rows = [
        {
            "answer": _answer(asked),
            "id": number,
            "question": asked.text,
            "video_id": _number(asked.shape),
        }
        for number, asked in enumerate(all_questions(3))
    ]
    write_json(folder / "test_qa.json", rows)
    lines = [f"{shape.name}_3_7 vid{_number(shape)}\n" for shape in (*SHAPES, MISSING)]
    (folder / "youtube_mapping.txt").write_text("".join(lines), encoding="utf-8")
    write_films(folder / "YouTubeClips", lambda shape: f"{shape.name}_3_7.avi")
    return folder


def make_msrvttqa(folder: Path) -> Path:
    """MSRVTT-QA: films named by number."""
    rows = [
        {
            "answer": _answer(asked),
            "category_id": 3,
            "id": number,
            "question": asked.text,
            "video_id": _number(asked.shape),
        }
        for number, asked in enumerate(all_questions(3))
    ]
    write_json(folder / "test_qa.json", rows)
    write_films(folder / "video", lambda shape: f"video{_number(shape)}.mp4")
    return folder


def vcg_rows() -> dict[str, list[dict[str, Any]]]:
    """Seven general questions, four about order of which one is also general, four pairs."""
    shapes = (*SHAPES, MISSING)
    general = [
        {
            "Q": f"{wording} the {shape.kind}?",
            "A": f"The {shape.kind} is {shape.colour}.",
            "video_name": f"v_{shape.name}",
        }
        for shape in shapes
        for wording in ("What is the colour of", "Can you describe")
    ][:7]
    order = [
        {
            "Q": f"Where does the {shape.kind} go in the end?",
            "A": f"It goes {shape.motion}.",
            "video_name": f"v_{shape.name}",
        }
        for shape in shapes[1:]
    ]
    pairs = [
        {
            "Q1": f"What is {shape.colour}?",
            "Q2": f"Which thing has the colour {shape.colour}?",
            "A": f"The {shape.kind}.",
            "video_name": f"v_{shape.name}",
        }
        for shape in shapes
    ]
    return {"generic": general, "temporal": [general[0], *order], "consistency": pairs}


def make_vcgbench(folder: Path) -> Path:
    """VCG-Bench as its authors publish it."""
    for name, rows in vcg_rows().items():
        write_json(folder / f"{name}_qa.json", rows)
    write_films(folder / "Test_Videos", lambda shape: f"v_{shape.name}.mp4")
    return folder


def make_vcgbench_hub(folder: Path) -> Path:
    """VCG-Bench as the hub has it: the halves of pairs in rows of their own."""
    rows = vcg_rows()
    for name in ("generic", "temporal"):
        renamed = [
            {"video_name": row["video_name"], "question": row["Q"], "answer": row["A"]}
            for row in rows[name]
        ]
        write_parquet(folder / name.capitalize() / "test-00000-of-00001.parquet", renamed)
    halves = [
        {
            "video_name": row["video_name"],
            "question_1": row["Q1"] if part == 1 else "None",
            "question_2": row["Q2"] if part == 2 else "None",
            "answer": row["A"],
        }
        for part in (1, 2)
        for row in rows["consistency"]
    ]
    write_parquet(folder / "Consistency" / "test-00000-of-00001.parquet", halves)
    write_zip(folder / "videos.zip", lambda shape: f"Test_Videos/v_{shape.name}.mp4")
    return folder


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "activitynetqa": make_activitynetqa,
    "msvdqa": make_msvdqa,
    "msrvttqa": make_msrvttqa,
    "vcgbench": make_vcgbench,
}
"By benchmark, in the authors' layout."

HUB_BUILDERS: dict[str, Callable[[Path], Path]] = {
    "activitynetqa": make_activitynetqa_hub,
    "vcgbench": make_vcgbench_hub,
}
"By benchmark, in the hub's layout."
