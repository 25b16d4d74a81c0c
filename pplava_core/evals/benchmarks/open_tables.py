"""The questions of open-ended benchmarks in every layout they are published in.

Either two JSON files, of questions and of answers, or one table with both: JSON or parquet.
Names of columns differ from copy to copy; they come out alike. Knows no benchmark by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pplava_core.errors import InputError
from pplava_core.evals.data.data_folder import check_unique, checked, find_file, read_rows

_DEPTHS = ("", "*/", "*/*/")
"How deep in the data folder a table may lie; videos beside it may be too many to walk."


@dataclass(frozen=True, kw_only=True)
class OpenRow:
    """One question of a table."""

    id: str
    question: str
    answer: str
    video: str | int
    "A name, or a number that a benchmark makes a name of."
    others: Mapping[str, Any] = field(default_factory=dict)
    "The further columns."


def find_table(data: Path, split: str, *, what: str) -> Path:
    """Find the file of questions of a split.

    Raises:
        InputError: there is none.
    """
    names = (f"{split}_q.json", f"*{split}_qa.json", f"{split}-*.parquet", f"{split}.parquet")
    return find_file(data, [depth + name for name in names for depth in _DEPTHS], what=what)


def read_table(path: Path) -> list[OpenRow]:
    """Read a file of questions, with the file of answers beside it where that is apart.

    Raises:
        InputError: a file is missing or damaged, a column is missing or of another type, an
            id comes twice, or questions and answers do not belong together.
    """
    rows = read_rows(path)
    if path.name.endswith("_q.json"):
        rows = _with_answers(path, rows)
    keys = _Keys.of(rows, path)
    text: tuple[type, ...] = (str, int, float)
    checked(
        rows, path, {keys.id: (str, int), "question": str, "answer": text, keys.video: (str, int)}
    )
    check_unique((str(row[keys.id]) for row in rows), path)
    return [
        OpenRow(
            id=str(row[keys.id]),
            question=row["question"],
            answer=str(row["answer"]),
            video=row[keys.video],
            others={name: value for name, value in row.items() if name not in keys.all},
        )
        for row in rows
    ]


@dataclass(frozen=True)
class _Keys:
    """How a copy calls the id and the video."""

    id: str
    video: str

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], path: Path) -> _Keys:
        columns = rows[0] if rows else {}
        found = [
            next((name for name in names if name in columns), names[0])
            for names in (("question_id", "id"), ("video_name", "video", "video_id"))
        ]
        return cls(*found)

    @property
    def all(self) -> set[str]:
        return {self.id, self.video, "question", "answer"}


def _with_answers(path: Path, questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join the answers to the questions: by id, which must be the same on both sides."""
    beside = path.with_name(path.name.removesuffix("_q.json") + "_a.json")
    if not beside.is_file():
        raise InputError(f"{beside} is missing: the answers to {path.name} stand there")
    answers = checked(read_rows(beside), beside, {"question_id": (str, int)})
    check_unique((str(row["question_id"]) for row in answers), beside)
    checked(questions, path, {"question_id": (str, int)})
    by_id = {str(row["question_id"]): row for row in answers}
    for number, row in enumerate(questions, 1):
        if str(row["question_id"]) not in by_id:
            raise InputError(
                f"{path}, row {number}: question {row['question_id']} has no answer in "
                f"{beside.name}; the two files are of different versions"
            )
    return [by_id[str(row["question_id"])] | row for row in questions]
