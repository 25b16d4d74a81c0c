"""Short ways to score invented answers to the small datasets of `eval_datasets`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pplava_core.errors import InputError
from pplava_core.evals.base import Item, Prediction, Report, Table

DATA = Path(__file__).parent / "data" / "evals"


def answers(items: Sequence[Item], texts: Mapping[str, str] | str) -> dict[str, Prediction]:
    """Make predictions of the texts by item, or of one text for all."""
    by_id = dict.fromkeys((item.id for item in items), texts) if isinstance(texts, str) else texts
    return {name: Prediction(id=name, text=text) for name, text in by_id.items()}


def right_letters(items: Sequence[Item]) -> dict[str, str]:
    """Answer every item with the letter that is right."""
    return {item.id: "ABCDE"[item.answer] for item in items}


def table(report: Report, name: str) -> Table:
    return next(one for one in report.tables if one.name == name)


def values(report: Report, name: str) -> dict[str, float]:
    return {row.name: row.value for row in table(report, name).rows}


def refused(said: str, call: Callable[..., Any], *arguments: Any) -> None:
    """Check that the call raises an InputError of one line that says so."""
    with pytest.raises(InputError, match=re.escape(said)) as raised:
        call(*arguments)
    assert "\n" not in str(raised.value)
