"""The files of results that scorers of open-ended question answering read and write.

Video-ChatGPT's script reads a list of predictions, each with its question and right answer,
and writes the judge's replies by video name and a running number; ActivityNet-QA's reads a
list of ids and answers. Here every entry has to belong to a question of the data.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pplava_core.errors import InputError
from pplava_core.evals.base import Item, Prediction
from pplava_core.evals.data.data_folder import read_json
from pplava_core.evals.judges.judge_replies import MATCH

UNNAMED_JUDGE = "a judge that the file does not name"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One answer of an official file."""

    names: tuple[str, ...]
    "Ids or video names by which the file may mean a question."
    question: str | None
    text: str
    reply: Any = None
    "The judge's dictionary, where the file is one of replies."
    judged: bool = False


def read_results(path: Path, items: Sequence[Item]) -> dict[str, Prediction]:
    """Read predictions or replies, by item.

    Raises:
        InputError: the file is no such list, or an entry belongs to no question.
    """
    value = read_json(path)
    entries = _replies(path, value) if isinstance(value, dict) else _predictions(path, value)
    by_id = {item.id: item for item in items}
    by_words: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for one in items:
        by_words[one.video_id, one.question].append(one)
    found: dict[str, Prediction] = {}
    for number, entry in enumerate(entries, 1):
        item = _item_of(entry, by_id, by_words, found)
        if item is None:
            raise InputError(
                f"{path}, entry {number}: {entry.names[0]!r} is no question of the data; "
                "give the data that was answered"
            )
        if item.id in found:
            raise InputError(f"{path}, entry {number}: question {item.id} is answered twice")
        found[item.id] = Prediction(id=item.id, text=entry.text, details=_details(entry))
    return found


def prediction_list(items: Sequence[Item], predictions: Mapping[str, Prediction]) -> str:
    """Return the JSON text of the list that the official script reads; errors are left out."""
    rows = [
        {
            "id": item.id,
            "video_name": item.video_id,
            "question": item.question,
            "answer": item.answer,
            "pred": predictions[item.id].text,
        }
        for item in items
        if item.id in predictions and predictions[item.id].error is None
    ]
    return json.dumps(rows, indent=1) + "\n"


def _predictions(path: Path, rows: Any) -> list[Entry]:
    if not isinstance(rows, list):
        raise InputError(f"{path} is neither a list of predictions nor replies of a judge")
    entries = []
    for number, row in enumerate(rows, 1):
        fields = row if isinstance(row, dict) else {}
        keys = ("id", "question_id", "video_name")
        names = tuple(str(fields[key]) for key in keys if key in fields)
        question = fields.get("question", fields.get("Q"))
        # The exact-match script's files hold ids and answers alone.
        text = fields.get("pred", fields.get("answer"))
        if not names or not isinstance(text, str) or not isinstance(question, str | None):
            raise InputError(f"{path}, entry {number}: needs `id` or `video_name`, and `pred`")
        entries.append(Entry(names=names, question=question, text=text))
    return entries


def _replies(path: Path, value: Mapping[str, Any]) -> list[Entry]:
    entries = []
    for key, pair in value.items():
        try:
            reply, asked = pair
            question, text = asked["q"], asked["pred"]
        except (ValueError, TypeError, KeyError):
            raise InputError(
                f"{path}: {key!r} is not a pair of a reply and what was asked"
            ) from None
        name = key.rpartition("_")[0]
        entries.append(
            Entry(names=(key, name), question=question, text=str(text), reply=reply, judged=True)
        )
    return entries


def _item_of(
    entry: Entry,
    by_id: Mapping[str, Item],
    by_words: Mapping[tuple[str, str], Sequence[Item]],
    taken: Mapping[str, Prediction],
) -> Item | None:
    """Find the question by its id, or by video and words; alike ones in their order."""
    for name in entry.names:
        if name in by_id and entry.question in (None, by_id[name].question):
            return by_id[name]
    for name in entry.names:
        for same in by_words.get((name, entry.question or ""), ()):
            if same.id not in taken:
                return same
    return None


def _details(entry: Entry) -> dict[str, Any]:
    if not entry.judged:
        return {}
    return {"judge": {MATCH: {"reply": repr(entry.reply), "model": UNNAMED_JUDGE}}}
