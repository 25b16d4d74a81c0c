"""`pplava eval compare`: runs of one benchmark side by side, with a paired test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pplava_cli.console import printable
from pplava_cli.eval_tables import table_lines
from pplava_cli.options import OutputOptions, examples, takes_options
from pplava_cli.records import SCHEMA
from pplava_core.errors import UsageError
from pplava_core.evals.results.reports import headline, shown

if TYPE_CHECKING:
    from pplava_core.evals.results.compare import Comparison, Run

_EXAMPLES = examples(
    "pplava eval compare runs/a runs/b",
    "pplava eval compare runs/* --plot tokens.png",
    "pplava eval compare runs/a runs/b --flips 50 --json",
)
_SHOWN_CHARACTERS = 60


def register(group: typer.Typer) -> None:
    """Add the command to `pplava eval`."""
    group.command("compare", epilog=_EXAMPLES)(takes_options(compare))


def compare(
    *,
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Folders of results; the first is what others are held against."
        ),
    ],
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw accuracy against visual tokens as PNG."),
    ] = None,
    flips: Annotated[
        int,
        typer.Option("--flips", metavar="N", min=0, help="Questions to show that changed."),
    ] = 10,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of the bootstrap.")] = 0,
    output: OutputOptions,
) -> None:
    """Hold runs of one benchmark against the first of them, question by question.

    Gives McNemar's exact test, a bootstrap over videos, and the questions that flipped.
    """
    from pplava_core.evals.results.compare import compare_runs, read_run

    out = output.open()
    _check_plot(plot)
    runs = [read_run(folder) for folder in folders]
    found = compare_runs(runs, seed=seed)
    if plot is not None:
        from pplava_core.evals.results.plots import plot_runs

        plot_runs(runs, plot)
        out.note(f"drawn into {plot}")
    if out.json:
        records = [dataclasses.asdict(one) for one in found]
        figures = [{"name": run.name, "value": run.summary["value"]} for run in runs]
        out.record({"schema": SCHEMA, "type": "eval_compare", "runs": figures, "pairs": records})
        return
    for line in comparison_lines(runs, found, flips):
        out.line(line)


def comparison_lines(runs: Sequence[Run], found: Sequence[Comparison], flips: int) -> Iterator[str]:
    """Lay runs and their comparisons out for people."""
    yield from _figure_lines(runs, found)
    if len(runs) == 2:
        yield from _side_by_side_lines(runs)
    for one in found:
        if one.flips and flips:
            yield ""
            yield f"{one.after}: {len(one.flips)} questions flipped"
        for flip in one.flips[:flips]:
            yield (
                f"  {printable(flip.id)} {flip.points_before:g} → {flip.points_after:g}  "
                f"{_short(flip.question)}: {_short(flip.before)!r} → {_short(flip.after)!r}"
            )


def _figure_lines(runs: Sequence[Run], found: Sequence[Comparison]) -> Iterator[str]:
    yield headline(runs[0].summary).split(":")[0]
    unit = runs[0].summary["unit"]
    headings = ("run", "value", "tokens", "difference", "95 % interval", "better", "worse", "p")
    rows = []
    for run, one in zip(runs, [None, *found], strict=True):
        tokens = "" if run.visual_tokens is None else f"{run.visual_tokens:g}"
        row = [printable(run.name), shown(run.summary["value"], unit), tokens]
        rows.append([*row, *(_pair_cells(one) if one is not None else [""] * 5)])
    yield from table_lines(headings, rows)
    for one in found:
        if one.left_out:
            yield f"  {one.after}: {one.left_out} questions are not in both runs and left out"


def _pair_cells(one: Comparison) -> list[str]:
    p_value = "" if one.p_value is None else f"{one.p_value:.3g}"
    interval = f"{100 * one.low:+.1f} to {100 * one.high:+.1f}"
    return [f"{100 * one.difference:+.1f}", interval, str(one.better), str(one.worse), p_value]


def _side_by_side_lines(runs: Sequence[Run]) -> Iterator[str]:
    from pplava_core.evals.results.compare import side_by_side

    for table in side_by_side(runs):
        rows = [_side_row(row) for row in table["rows"]]
        yield ""
        yield from table_lines((table["name"], *(printable(run.name) for run in runs)), rows)


def _side_row(row: Mapping[str, Any]) -> list[str]:
    return [row["name"], *(shown(value, row["unit"]) for value in row["values"])]


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _SHOWN_CHARACTERS else plain[:_SHOWN_CHARACTERS] + "…"


def _check_plot(plot: Path | None) -> None:
    """Look for a place for the picture before anything is read.

    Raises:
        UsageError: it cannot be written there.
    """
    if plot is not None and (plot.is_dir() or not plot.parent.is_dir()):
        raise UsageError(f"--plot {plot}: no file can be written there; choose another")
