"""The questions of VCG-Bench as their authors and as the hub publish them.

Three sets: general questions, questions about the order of events, and pairs of questions
that ask for the same in other words. The hub's copy has each question of a pair in a row of
its own; they are put together again. Knows nothing of models or judges.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pplava_core.errors import InputError
from pplava_core.evals.data.data_folder import Rows, checked, find_file, read_rows

SETS = ("generic", "temporal", "consistency")

_DEPTHS = ("", "*/", "*/*/")
_NO_QUESTION = "None"
"What the hub's copy has in place of the other question of a pair: a text."


@dataclass(frozen=True, kw_only=True)
class VcgRow:
    """One question, or two that ask for the same."""

    questions: tuple[str, ...]
    answer: str
    video: str


def find_set(data: Path, name: str) -> Path:
    """Find the file of one of `SETS`.

    Raises:
        InputError: there is none.
    """
    patterns = [f"{depth}{name}_qa.json" for depth in _DEPTHS]
    patterns += [f"{depth}{name.capitalize()}/test-*.parquet" for depth in _DEPTHS]
    return find_file(data, patterns, what=f"{name} questions of VCG-Bench")


def read_set(path: Path, name: str) -> list[VcgRow]:
    """Read a file of one of `SETS`, in order.

    Raises:
        InputError: it is damaged, a column is missing, or a question's other half is.
    """
    rows = read_rows(path)
    theirs = bool(rows) and "A" in rows[0]
    if name != "consistency":
        question, answer = ("Q", "A") if theirs else ("question", "answer")
        checked(rows, path, {question: str, answer: str, "video_name": str})
        return [
            VcgRow(questions=(row[question],), answer=row[answer], video=row["video_name"])
            for row in rows
        ]
    if not theirs:
        return _joined(rows, path)
    checked(rows, path, {"Q1": str, "Q2": str, "A": str, "video_name": str})
    return [
        VcgRow(questions=(row["Q1"], row["Q2"]), answer=row["A"], video=row["video_name"])
        for row in rows
    ]


def _joined(rows: Rows, path: Path) -> list[VcgRow]:
    """Put the halves of pairs together: those of one video with one answer, in their order."""
    text: tuple[type, ...] = (str, type(None))
    columns: dict[str, type | tuple[type, ...]]
    columns = {"question_1": text, "question_2": text, "answer": str, "video_name": str}
    halves: dict[tuple[str, str], tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for row in checked(rows, path, columns):
        pair = halves[row["video_name"], row["answer"]]
        for place in (0, 1):
            question = row[f"question_{place + 1}"]
            if _is_question(question):
                pair[place].append(question)
    pairs = []
    for (video, answer), (firsts, seconds) in halves.items():
        if len(firsts) != len(seconds):
            raise InputError(
                f"{path}: video {video} has {len(firsts)} first and {len(seconds)} second "
                "questions; every question needs its other half, get the file anew"
            )
        pairs += [
            VcgRow(questions=both, answer=answer, video=video)
            for both in zip(firsts, seconds, strict=True)
        ]
    return pairs


def _is_question(value: Any) -> bool:
    return value is not None and value != _NO_QUESTION
