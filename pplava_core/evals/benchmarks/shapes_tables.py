"""The figures of the rendered world's own test: a table for people, plain values for programs.

Beside each accuracy stand its 95 % interval and what the best constant answer would get.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pplava_core.evals.benchmarks.shapes_pointing import GOOD_OVERLAP, Timing
from pplava_core.evals.benchmarks.shapes_scoring import (
    Scored,
    best_constant,
    says_nothing_is_there,
)
from pplava_core.evals.results.tables import wilson_interval
from pplava_core.shapes.questions import TYPES

_SETTINGS = ("usual", "unusual", "long", "very long")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A share of some questions: accuracy, unless the name says what else."""

    name: str
    group: str
    "What it is a row of: `type`, `files`, `wording`, `turn`, `absence`, `captions`, `relevance`."
    count: int
    accuracy: float
    low: float
    high: float
    constant: float
    "Accuracy of the best constant answer; not a number where there is none."


def table(scored: Sequence[Scored]) -> list[Row]:
    """Return a row for each type, kind of file, wording and turn, and for what else is counted."""
    types, files = _grouped(scored, _type), _grouped(scored, lambda one: one.item.film.setting)
    rows = [_row(name, "type", types[name]) for name in TYPES if name in types]
    rows += [_row(f"all, {n} files", "files", files[n]) for n in _SETTINGS if n in files]
    for name, group in sorted(_grouped(scored, lambda one: one.item.wording).items()):
        rows.append(_row(f"{name} wording", "wording", group))
    if any(one.item.turn for one in scored):
        turns = _grouped(scored, lambda one: one.item.turn)
        rows += [_row(f"turn {turn + 1}", "turn", turns[turn]) for turn in sorted(turns)]
    absent = [one for one in scored if says_nothing_is_there(one.item.question.answer)]
    there = [one for one in scored if not says_nothing_is_there(one.item.question.answer)]
    complete = [one.names_all for one in scored if one.names_all is not None]
    pointed = [one.pointed for one in scored if one.pointed is not None]
    rows += _counted("not there, and said so", "absence", map(_denies, absent))
    rows += _counted("there, but denied", "absence", map(_denies, there))
    rows += _counted("descriptions with all", "captions", complete)
    rows += _counted("peak on the thing", "relevance", pointed)
    timings = _timings(scored)
    rows += _counted("peak in its time", "relevance", (one.peak_inside for one in timings))
    rows += _counted("evidence meets its time", "relevance", (one.meets for one in timings))
    good = (one.overlap >= GOOD_OVERLAP for one in timings)
    rows += _counted("evidence fits its time", "relevance", good)
    best = (one.best_overlap >= GOOD_OVERLAP for one in timings)
    rows += _counted("the right frames would fit", "relevance", best)
    return rows


def summary(scored: Sequence[Scored]) -> dict[str, Any]:
    """Return everything measured as plain values."""
    rows = table(scored)
    types = [row.accuracy for row in rows if row.group == "type" and row.name != "caption"]
    timings = _timings(scored)
    pointed = [one for one in scored if one.pointed is not None]
    tokens = [one.token_count for one in scored if one.token_count is not None]
    return {
        "questions": len(scored),
        "rows": [{k: (None if v != v else v) for k, v in vars(row).items()} for row in rows],
        "mean_over_types_without_caption": _mean(types),
        "things_named_in_captions": _mean(one.named_share for one in scored),
        "relevance_on_the_thing": _mean(one.mass for one in scored),
        "visual_tokens": _range(tokens),
        "pointing": {
            "questions": len(pointed),
            "hidden": sum(one.hidden for one in scored),
            "peak": _mean(one.pointed for one in scored),
            "peak_by_chance": _mean(one.chance for one in scored),
            "relevance": _mean(one.mass for one in scored),
            "even_relevance": _mean(one.chance for one in scored),
        },
        "timing": {
            "questions": len(timings),
            "peak": _mean(one.peak_inside for one in timings),
            "peak_by_chance": _mean(one.chance for one in timings),
            "evidence_meets": _mean(one.meets for one in timings),
            "evidence_overlap": _mean(one.overlap for one in timings),
            "evidence_fits": _mean(one.overlap >= GOOD_OVERLAP for one in timings),
            "right_frames_fit": _mean(one.best_overlap >= GOOD_OVERLAP for one in timings),
        },
    }


def _type(one: Scored) -> str:
    return one.item.question.type


def _denies(one: Scored) -> bool:
    return says_nothing_is_there(one.answer)


def _timings(scored: Sequence[Scored]) -> list[Timing]:
    return [one.timing for one in scored if one.timing is not None]


def _grouped(scored: Sequence[Scored], key: Callable[[Scored], Any]) -> dict[Any, list[Scored]]:
    groups: dict[Any, list[Scored]] = defaultdict(list)
    for one in scored:
        groups[key(one)].append(one)
    return groups


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that there are, None where there are none."""
    known = [float(value) for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _range(values: Sequence[int]) -> dict[str, float] | None:
    if not values:
        return None
    return {"min": min(values), "mean": sum(values) / len(values), "max": max(values)}


def _row(name: str, group: str, scored: Sequence[Scored]) -> Row:
    by_type = _grouped(scored, _type)
    constant = sum(
        best_constant(kind, [one.item.question.answer for one in of_type])
        for kind, of_type in by_type.items()
    )
    (row,) = _counted(name, group, (one.right for one in scored), constant / len(scored))
    return row


def _counted(name: str, group: str, hits: Iterable[bool], constant: float = math.nan) -> list[Row]:
    """Return the row of a share, none where nothing is counted."""
    hits = list(hits)
    if not hits:
        return []
    low, high = wilson_interval(sum(hits), len(hits))
    share = sum(hits) / len(hits)
    return [
        Row(
            name=name,
            group=group,
            count=len(hits),
            accuracy=share,
            low=low,
            high=high,
            constant=constant,
        )
    ]
