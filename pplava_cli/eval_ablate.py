"""`pplava eval ablate`: kinds of pooling, kernels and context, each in turn, in one table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pplava_cli import opening
from pplava_cli.console import Output
from pplava_cli.eval_data import Bench
from pplava_cli.eval_options import AskingOptions, Data, RunningOptions, SelectionOptions
from pplava_cli.eval_run import read_items, selection_from, shard_for, standing_shown
from pplava_cli.eval_tables import table_lines
from pplava_cli.options import ModelOptions, OutputOptions, Weighting, examples, takes_options
from pplava_cli.records import SCHEMA
from pplava_core.errors import UsageError
from pplava_core.evals.registry import find_benchmark
from pplava_core.evals.results.reports import shown, shown_interval
from pplava_core.window import Window

if TYPE_CHECKING:
    from pplava_core.evals.results.ablate import Outcome, Variant
    from pplava_core.evals.runs.job import Job
    from pplava_core.evals.runs.running import Progress

_EXAMPLES = examples(
    "pplava eval ablate shapes --data my-shapes",
    "pplava eval ablate mvbench --data DIR --limit 400 -o ablation --plot ablation.png",
    "pplava eval ablate shapes --data my-shapes --pooling max --kernel 1,3,3 --kernel 4,3,3",
)
_HEADINGS = ("", "variant", "value", "95 % interval", "tokens", "difference", "p")


def register(group: typer.Typer) -> None:
    """Add the command to `pplava eval`."""
    group.command("ablate", epilog=_EXAMPLES)(takes_options(ablate))


def ablate(
    *,
    bench: Bench,
    data: Data,
    poolings: Annotated[
        list[Weighting] | None,
        typer.Option(
            "--pooling",
            metavar="NAME",
            show_default=False,
            help=f"A kind of pooling to try \\[all]: {', '.join(Weighting)}; may be repeated.",
        ),
    ] = None,
    kernels: Annotated[
        list[str] | None,
        typer.Option(
            "--kernel",
            metavar="T,H,W",
            show_default=False,
            help="A kernel to try \\[some around the model's]; may be repeated.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw accuracy against visual tokens as PNG."),
    ] = None,
    protocol: AskingOptions,
    selection: SelectionOptions,
    running: RunningOptions,
    model: ModelOptions,
    output: OutputOptions,
) -> None:
    """Try kinds of pooling, kernels and the aligner's unextended context on a benchmark.

    Each variant is a run in a sub-folder, so that the whole can be broken off and gone on
    with. The first is the model's own way, which the others are held against.
    """
    from pplava_core.evals.results import ablate as ablation
    from pplava_core.evals.runs.job import Job, manifest_of
    from pplava_core.evals.runs.running import Work
    from pplava_core.evals.runs.selection import select

    out, settings = output.open(), protocol.settings(selection.seed)
    windows = [Window.parse(kernel) for kernel in kernels or ()]
    benchmark, chosen = find_benchmark(bench), selection_from(selection)
    if benchmark.info.judged or running.dry_run:
        raise UsageError("ablate shows no prompts and asks no judge: use `pplava eval` for those")
    items = select(read_items(benchmark, data, settings), chosen)
    shard, own_model, out = shard_for(model, out)
    loaded = opening.open_model(own_model, out)
    opening.tell_notice(loaded, out)
    work = Work(
        benchmark=benchmark,
        settings=settings,
        model=loaded,
        generation=protocol.generation(selection.seed),
        workers=running.workers,
    )
    names = [name.value for name in poolings or ()]
    variants = ablation.variants_of(loaded, weightings=names, kernels=windows)
    folder = running.folder or _default_folder(manifest_of(work, items, chosen), variants)
    out.note(f"results go to {folder}")
    out.note(
        f"{loaded.name} was trained for the first variant alone; the paper trains one a variant"
    )
    job = Job(
        work=work,
        items=items,
        selection=chosen,
        folder=folder,
        fresh=not running.resume,
        shard=shard,
    )
    outcomes = _run_all(job, variants, out)
    if shard.is_first:
        _show(outcomes, folder, plot, out)


def _run_all(job: Job, variants: Sequence[Variant], out: Output) -> list[Outcome]:
    from pplava_core.evals.results import ablate as ablation

    with out.progress("Asking", long=True) as progress:
        told = standing_shown(progress)

        def begin(variant: Variant) -> Progress:
            number = variants.index(variant) + 1
            progress.label = f"{number}/{len(variants)} {variant.name}"
            return told

        return ablation.ablate(job, variants, begin=begin)


def _default_folder(manifest: dict[str, Any], variants: Sequence[Variant]) -> Path:
    from pplava_core.evals.runs.job import default_folder

    names = [variant.folder_name for variant in variants]
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:8]
    run = default_folder(manifest)
    return run.with_name(f"ablate-{run.name}-{digest}")


def _show(outcomes: Sequence[Outcome], folder: Path, plot: Path | None, out: Output) -> None:
    """Write and show the one table."""
    from pplava_core.evals.results.ablate import outcome_records, write_outcomes
    from pplava_core.evals.results.compare import read_run
    from pplava_core.evals.results.plots import plot_runs

    records = outcome_records(outcomes, folder)
    write_outcomes(folder, records)
    if plot is not None:
        done = [one for one in outcomes if one.summary is not None]
        plot_runs([read_run(folder / one.variant.folder_name) for one in done], plot)
        out.note(f"drawn into {plot}")
    if out.json:
        out.record(
            {"schema": SCHEMA, "type": "eval_ablate", "folder": str(folder), "variants": records}
        )
        return
    for line in table_lines(_HEADINGS, map(_row, records), prose=_HEADINGS[:2]):
        out.line(line)
    out.note(f"written to {folder}")


def _row(record: dict[str, Any]) -> list[str]:
    if record["reason"] is not None:
        return [record["kind"], record["name"], "—", "", "", "", ""]
    difference, p_value = record["difference"], record["p_value"]
    return [
        record["kind"],
        record["name"],
        shown(record["value"], record["unit"]),
        shown_interval(record),
        "" if record["visual_tokens"] is None else f"{record['visual_tokens']:g}",
        "" if difference is None else f"{100 * difference:+.1f}",
        "" if p_value is None else f"{p_value:.3g}",
    ]
