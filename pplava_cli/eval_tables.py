"""Tables of results for people: Rich lays them out, this says what stands where."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

from pplava_core.evals.results.reports import facts, headline, shown, shown_interval

_WIDTH = 100


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """Lay a run's summary out: the figure, its circumstances, a table an axis."""
    lines = [headline(summary)]
    lines += [f"  {name}: {text}" for name, text in facts(summary)]
    lines += [f"  {note}" for note in summary["notes"]]
    for error, count in list(summary["errors"].items())[:5]:
        lines.append(f"  {count} not answered: {error}")
    if len(summary["errors"]) > 5:
        lines.append(f"  and {len(summary['errors']) - 5} more reasons in summary.json")
    for table in summary["tables"]:
        lines += ["", *table_lines(_headed(table), _rows(table["rows"]))]
    return lines


def table_lines(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, prose: Collection[str] = ()
) -> list[str]:
    """Lay out a table: names in the first column, figures in the others.

    Args:
        headings: a column each.
        rows: cells, as many as there are headings.
        prose: headings of columns that hold words, which may be broken into lines.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for place, heading in enumerate(headings):
        words = heading in prose
        side: Literal["left", "right"] = "left" if place == 0 or words else "right"
        table.add_column(Text(heading), justify=side, no_wrap=not words)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    text = io.StringIO()
    Console(file=text, width=_WIDTH, color_system=None).print(table)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def _headed(table: Mapping[str, Any]) -> tuple[str, ...]:
    shares = all(row["unit"] == "share" for row in table["rows"])
    return table["name"], "n", "%" if shares else "value", "95 % interval"


def _rows(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (row["name"], str(row["count"]), shown(row["value"], row["unit"]), shown_interval(row))
        for row in rows
    ]
