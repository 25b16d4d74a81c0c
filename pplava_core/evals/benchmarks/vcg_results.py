"""The files of results that VCG-Bench's judge scripts read and write.

They read a list of predictions for each set, and write the judge's replies by video and a
running number, a file for each aspect. Here every entry has to belong to a question of the
data, and files that are read together must not contradict each other.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pplava_core.errors import InputError
from pplava_core.evals.base import Item, Prediction, Settings
from pplava_core.evals.benchmarks.open_results import UNNAMED_JUDGE
from pplava_core.evals.benchmarks.vcg_scores import ASPECTS, ASPECTS_OF_SET, Unit, units_of
from pplava_core.evals.data.data_folder import read_json

_WORDS_OF_ASPECTS = {"correct": "correctness", "detail": "detail", "context": "context"}
_WORDS_OF_ASPECTS |= {"temporal": "temporal", "consistency": "consistency"}
"What the name of a file of replies holds."

_LIST_NAMES = {name: f"vcgbench_{name}.json" for name in ("generic", "temporal", "consistency")}


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """One row of a list, or one pair of replies and what was asked."""

    questions: tuple[str, ...]
    texts: tuple[str, ...]
    video: str
    aspect: str | None = None
    reply: Any = None


def read_results(path: Path, items: Sequence[Item]) -> dict[str, Prediction]:
    """Read one file, or every JSON file of a folder.

    Raises:
        InputError: a file is no such list, belongs to other data, or contradicts another.
    """
    paths = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not paths:
        raise InputError(f"{path} holds no JSON files; give the folder of the lists")
    units = units_of(items)
    texts: dict[str, str] = {}
    replies: dict[str, dict[str, Any]] = defaultdict(dict)
    for file in paths:
        entries = list(_entries(file))
        free = _by_questions(units, _set_of(file, entries, units))
        for number, entry in enumerate(entries, 1):
            same = free[entry.video, frozenset(entry.questions)]
            if not same:
                raise InputError(
                    f"{file}, entry {number}: {entry.questions[0][:60]!r} about {entry.video} is "
                    "no question of the data, or comes too often; give the data that was answered"
                )
            unit = same.pop(0)
            ours = [one for one in (unit.first, unit.second) if one is not None]
            for item, text in zip(ours, entry.texts, strict=True):
                if texts.setdefault(item.id, text) != text:
                    raise InputError(f"{file}: {item.id} has another answer there than elsewhere")
            if entry.aspect is not None:
                values = {"reply": repr(entry.reply), "model": UNNAMED_JUDGE}
                replies[unit.first.id][entry.aspect] = values
    return {
        name: Prediction(
            id=name, text=text, details={"judge": replies[name]} if name in replies else {}
        )
        for name, text in texts.items()
    }


def prediction_lists(
    items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
) -> dict[str, str]:
    """Return the JSON text of each set's list by file name; errors are left out.

    Under `ppllava` the questions of a pair change places while the answers stay, as its
    inference writes them.
    """
    lists: dict[str, list[dict[str, str]]] = {name: [] for name in _LIST_NAMES}
    for unit in units_of(items):
        one = unit.prediction(predictions)
        if one is None or one.error is not None:
            continue
        row = {"A": unit.first.answer, "video_name": unit.first.video_id}
        if unit.second is None:
            row = {"Q": unit.first.question, **row, "pred": one.text}
        else:
            asked = [unit.first.question, unit.second.question]
            if settings.protocol == "ppllava":
                asked.reverse()
            row = {"Q1": asked[0], "Q2": asked[1], **row, "pred1": one.text}
            row["pred2"] = predictions[unit.second.id].text
        lists[unit.first.details["set"]].append(row)
    return {_LIST_NAMES[name]: json.dumps(rows, indent=1) + "\n" for name, rows in lists.items()}


_Index = dict[tuple[str, frozenset[str]], list[Unit]]


def _by_questions(units: Sequence[Unit], name: str) -> _Index:
    """Index the units of a set by video and words, so that a pair is found in either order."""
    found: _Index = defaultdict(list)
    for unit in units:
        if unit.first.details["set"] == name:
            words = {one.question for one in (unit.first, unit.second) if one is not None}
            found[unit.first.video_id, frozenset(words)].append(unit)
    return found


def _set_of(path: Path, entries: Sequence[_Entry], units: Sequence[Unit]) -> str:
    """Tell which set a file is about.

    Some questions stand in two sets, so replies are told by their aspect and lists by where
    most of their questions are, and then by the file's name.
    """
    for entry in entries[:1]:
        if entry.aspect is not None:
            return next(name for name, them in ASPECTS_OF_SET.items() if entry.aspect in them)
    indices = {name: _by_questions(units, name) for name in ASPECTS_OF_SET}
    keys = [(entry.video, frozenset(entry.questions)) for entry in entries]
    return max(
        indices,
        key=lambda name: (sum(key in indices[name] for key in keys), name in path.name.lower()),
    )


def _entries(path: Path) -> Iterator[_Entry]:
    value = read_json(path)
    try:
        if isinstance(value, dict):
            for key, (reply, asked) in value.items():
                video = key.rpartition("_")[0]
                yield _entry(asked, video, {"Q1": "q1", "Q2": "q2", "Q": "q"}, path, reply)
        else:
            for row in value:
                yield _entry(row, row["video_name"], {})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} is neither a list of predictions nor replies of a judge "
            f"({type(error).__name__}: {error})"
        ) from None


def _entry(
    row: Mapping[str, Any],
    video: str,
    names: Mapping[str, str],
    replies_in: Path | None = None,
    reply: Any = None,
) -> _Entry:
    """Make an entry of a row.

    Args:
        row: questions and answers.
        video: what they are about.
        names: the columns of questions where they are not called as in lists.
        replies_in: the file, where it is one of replies.
        reply: the judge's dictionary there.
    """
    columns: tuple[str, ...] = (names.get("Q", "Q"),)
    texts: tuple[str, ...] = ("pred",)
    if columns[0] not in row:
        columns, texts = (names.get("Q1", "Q1"), names.get("Q2", "Q2")), ("pred1", "pred2")
    return _Entry(
        questions=tuple(str(row[name]) for name in columns),
        texts=tuple(str(row[name]) for name in texts),
        video=video,
        aspect=None if replies_in is None else _aspect_of(replies_in, len(columns)),
        reply=reply,
    )


def _aspect_of(path: Path, question_count: int) -> str:
    """Tell from a file's name which aspect its replies are about."""
    if question_count == 2:
        return "consistency"
    for word, aspect in _WORDS_OF_ASPECTS.items():
        if word in path.name.lower():
            return aspect
    raise InputError(f"{path}: its name has to tell which aspect was judged: {', '.join(ASPECTS)}")
