"""`pplava eval score`: a file of answers, scored without any model but a judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pplava_cli.eval_data import Bench
from pplava_cli.eval_options import Data, ProtocolOptions
from pplava_cli.eval_run import read_items, show_summary
from pplava_cli.judge_options import EndpointOptions, open_judging
from pplava_cli.options import OutputOptions, examples, takes_options
from pplava_core.errors import UsageError
from pplava_core.evals.registry import find_benchmark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pplava_core.evals.base import Benchmark, Item, Prediction

_EXAMPLES = examples(
    "pplava eval score mvbench predictions.jsonl --data DIR",
    "pplava eval score videomme results.json --data DIR --strict",
    "pplava eval score egoschema predictions.jsonl --data DIR --split full -o submission",
    "pplava eval score vcgbench LISTS --data DIR --judge-url http://localhost:8000/v1",
)


def register(group: typer.Typer) -> None:
    """Add the command to `pplava eval`."""
    group.command("score", epilog=_EXAMPLES)(takes_options(score))


def score(
    *,
    bench: Bench,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Predictions of ours (.jsonl), or the benchmark's own results."
        ),
    ],
    data: Data,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Write the reports and submission files there."
        ),
    ] = None,
    protocol: ProtocolOptions,
    judge: EndpointOptions,
    output: OutputOptions,
) -> None:
    """Score a file of answers by a benchmark's rules; no model but a judge is asked.

    Questions that the file does not answer count as the protocol says.
    """
    from pplava_core.evals.results.reports import summarise
    from pplava_core.evals.runs.job import finish

    out, settings = output.open(), protocol.settings()
    benchmark = find_benchmark(bench)
    judging = open_judging(benchmark, settings, judge, out)
    items = read_items(benchmark, data, settings)
    predictions = _read(benchmark, file, items)
    manifest = {"benchmark": bench, "file": str(file)}
    if folder is not None:
        _make(folder)
    if judging is not None:
        predictions = judging(items, predictions, folder)
    if folder is None:
        summary = summarise(benchmark, items, predictions, settings, manifest)
        show_summary(summary, None, out)
        return
    summary = finish(benchmark, items, predictions, settings, manifest, folder)
    show_summary(summary, folder, out)


def _read(benchmark: Benchmark, file: Path, items: Sequence[Item]) -> dict[str, Prediction]:
    """Read answers in our own format or in the benchmark's.

    Raises:
        UsageError: no answer belongs to the data.
        InputError: the file cannot be read.
    """
    from pplava_core.evals.runs.predictions import read_predictions

    if file.suffix == ".jsonl":
        found = read_predictions(file)
    else:
        found = benchmark.read_results(file, items)
    if not any(item.id in found for item in items):
        raise UsageError(
            f"{file} answers none of the {len(items)} questions: is it of {benchmark.info.title}, "
            "and of this --split?"
        )
    return found


def _make(folder: Path) -> None:
    from pplava_core.evals.runs.predictions import unwritable

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
