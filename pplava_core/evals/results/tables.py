"""Rows of a report: how right, over how many, and how sure that is.

Shares get Wilson's interval, mean scores the normal one; both at 95 %. Knows no benchmark:
it is handed the worth of each item's answer and the axes to sum up along.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from pplava_core.evals.base import Extracted, Item, Prediction, Row, Table

_BEST_SCORE = 5.0
_NORMAL_95 = 1.959964


def count_answers(
    items: Sequence[Item],
    predictions: Mapping[str, Prediction],
    read: Callable[[Item, Prediction], Extracted],
) -> dict[str, int]:
    """Count what became of every question: the counts that each report begins with.

    Args:
        items: all questions.
        predictions: by item; those of other items are passed over.
        read: reads the answer out of a prediction without an error.

    Returns:
        `total`, `answered`, and of those answered `unextracted`, `degenerate` and `random`;
        `errors`, and `missing`, which nobody asked.
    """
    names = ("total", "answered", "unextracted", "degenerate", "random", "errors", "missing")
    counts = dict.fromkeys(names, 0)
    counts["total"] = len(items)
    for item in items:
        prediction = predictions.get(item.id)
        if prediction is None:
            counts["missing"] += 1
        elif prediction.error is not None:
            counts["errors"] += 1
        else:
            counts["answered"] += 1
            how = read(item, prediction).how
            if how != "read":
                counts[how] += 1
    return counts


def wilson_interval(hits: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson's, which holds near 0 and 1)."""
    if count == 0:
        return 0.0, 1.0
    z = _NORMAL_95
    share, weight = hits / count, z * z / count
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / count + weight / (4 * count)) / (1 + weight)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def share_row(name: str, hits: float, count: int) -> Row:
    """Make the row of an accuracy, 0 to 1; over nothing it is 0 with the widest interval."""
    low, high = wilson_interval(hits, count)
    return Row(name=name, count=count, value=hits / count if count else 0.0, low=low, high=high)


def mean_row(name: str, scores: Sequence[float]) -> Row:
    """Make the row of a judge's mean score, 0 to 5.

    The interval is the mean's, by its standard error, as far as it lies on the scale.
    """
    count = len(scores)
    if count == 0:
        return Row(name=name, count=0, value=0.0, low=0.0, high=0.0, unit="score")
    mean = math.fsum(scores) / count
    spread = math.fsum((score - mean) ** 2 for score in scores)
    half = _NORMAL_95 * math.sqrt(spread / (count - 1) / count) if count > 1 else 0.0
    low, high = max(mean - half, min(0.0, mean)), min(mean + half, max(_BEST_SCORE, mean))
    return Row(name=name, count=count, value=mean, low=low, high=high, unit="score")


def tables_by_axis(
    items: Sequence[Item],
    points: Mapping[str, float],
    axes: Sequence[str],
    *,
    orders: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Table, ...]:
    """Sum up accuracy along every axis.

    Args:
        items: in the order in which values of an axis shall appear.
        points: 0 to 1 by item; items that are not named are out of every denominator.
        axes: names in `Item.groups`; items without one do not appear in its table.
        orders: a fixed order of an axis's values; those not named come after, as met.

    Returns:
        A table an axis, without those that have no row.
    """
    tables = []
    for axis in axes:
        groups: dict[str, list[float]] = {name: [] for name in (orders or {}).get(axis, ())}
        for item in items:
            if axis in item.groups and item.id in points:
                groups.setdefault(item.groups[axis], []).append(points[item.id])
        rows = tuple(
            share_row(name, math.fsum(group), len(group)) for name, group in groups.items() if group
        )
        if rows:
            tables.append(Table(name=axis, rows=rows))
    return tuple(tables)
