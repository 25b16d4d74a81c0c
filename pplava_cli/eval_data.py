"""`pplava eval list`, `fetch` and `check`: which benchmarks there are, and their data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pplava_cli.console import Output, is_terminal, printable
from pplava_cli.eval_options import Data
from pplava_cli.eval_run import read_items
from pplava_cli.eval_tables import table_lines
from pplava_cli.failures import SOME_FAILED
from pplava_cli.options import OutputOptions, examples, takes_options
from pplava_cli.records import SCHEMA
from pplava_core.errors import UsageError
from pplava_core.evals.registry import BENCHMARKS, all_benchmarks, find_benchmark

if TYPE_CHECKING:
    from pplava_core.evals.base import BenchmarkInfo
    from pplava_core.evals.data.data_check import DataCheck
    from pplava_core.evals.data.fetch import Offer

_SHOWN_TROUBLES = 20


def complete_benchmark(incomplete: str) -> list[str]:
    """Offer the names of benchmarks to the shell."""
    return [name for name in BENCHMARKS if name.startswith(incomplete)]


Bench = Annotated[
    str,
    typer.Argument(
        metavar="BENCH",
        help="A name from `pplava eval list`.",
        autocompletion=complete_benchmark,
    ),
]


def register(group: typer.Typer) -> None:
    """Add the commands to `pplava eval`."""
    group.command("list", epilog=examples("pplava eval list"))(takes_options(show_list))
    group.command(
        "fetch",
        epilog=examples("pplava eval fetch mvbench", "pplava eval fetch mvbench -o DIR --yes"),
    )(takes_options(fetch_data))
    group.command("check", epilog=examples("pplava eval check mvbench --data DIR"))(
        takes_options(check_data_folder)
    )


def show_list(output: OutputOptions) -> None:
    """List the benchmarks with their sizes, licences and metrics."""
    out = output.open()
    infos = [benchmark.info for benchmark in all_benchmarks()]
    if out.json:
        for info in infos:
            record = {**dataclasses.asdict(info), "question_counts": dict(info.question_counts)}
            out.record({"schema": SCHEMA, "type": "benchmark", **record})
        return
    headings = ("name", "size", "questions", "licence", "metric")
    for line in table_lines(headings, map(_row, infos), prose=headings[2:]):
        out.line(line)


def fetch_data(
    *,
    bench: Bench,
    folder: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where to \\[a folder in the cache]."),
    ] = None,
    hub_id: Annotated[
        str | None,
        typer.Option("--repo", metavar="OWNER/NAME", help="Another dataset with this layout."),
    ] = None,
    revision: Annotated[
        str, typer.Option("--revision", metavar="NAME", help="A branch, a tag or a commit.")
    ] = "main",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: OutputOptions,
) -> None:
    """Get a benchmark's data from the hub, after a word on size, licence and disk.

    Files that are there are not fetched again. Prints the folder.
    """
    from pplava_core.evals.data.fetch import fetch, look_up
    from pplava_core.paths import cache_directory

    out = output.open()
    target = folder or cache_directory() / "evals" / "data" / bench
    with out.progress("Asking the hub"):
        offer = look_up(find_benchmark(bench).info, target, hub_id=hub_id, revision=revision)
    out.note(_offer_line(offer))
    if offer.missing_bytes and not yes:
        _confirm()
    with out.progress(f"Fetching {offer.source.repo}", long=True) as progress:
        fetch(offer, progress=lambda done, total: progress(done >> 20, total >> 20, " MiB"))
    if out.json:
        record: dict[str, Any] = {"folder": str(target), "repo": offer.source.repo}
        record |= {"revision": offer.source.revision, "total_bytes": offer.total_bytes}
        out.record({"schema": SCHEMA, "type": "eval_data", "benchmark": bench, **record})
        return
    out.line(str(target))


def check_data_folder(
    *,
    bench: Bench,
    data: Data,
    split: Annotated[
        str, typer.Option("--split", metavar="NAME", help="Part of the data \\[first].")
    ] = "",
    output: OutputOptions,
) -> None:
    """List what is missing or unreadable in a data folder, before hours are spent.

    Ends with 1 if a video is missing or cannot be opened, with 3 if the questions cannot
    be read.
    """
    from pplava_core.evals.base import Settings
    from pplava_core.evals.data.data_check import check_data

    out, settings = output.open(), Settings(split=split)
    benchmark = find_benchmark(bench)
    items = read_items(benchmark, data, settings)
    with out.progress("Opening videos", long=True) as progress:
        found = check_data(benchmark, items, settings, progress=progress)
    if out.json:
        record = {"benchmark": bench, **dataclasses.asdict(found)}
        out.record({"schema": SCHEMA, "type": "eval_check", **record})
    else:
        _show_check(found, out)
    if found.troubles:
        raise typer.Exit(SOME_FAILED)


def _row(info: BenchmarkInfo) -> tuple[str, ...]:
    counts = ", ".join(f"{count} {split}" for split, count in info.question_counts.items())
    size = "?" if info.size_gigabytes is None else f"{info.size_gigabytes:g} GB"
    return info.name, size, counts, info.licence, info.metric


def _offer_line(offer: Offer) -> str:
    return (
        f"{offer.source.repo} at {offer.source.revision[:8]}: {offer.file_count} files, "
        f"{offer.total_bytes / 1e9:.1f} GB, {offer.missing_bytes / 1e9:.1f} GB of them to fetch; "
        f"licence: {offer.licence}; free in {offer.folder}: {offer.free_bytes / 1e9:.1f} GB"
    )


def _confirm() -> None:
    """Ask on a terminal; elsewhere nobody could answer.

    Raises:
        UsageError: there is no terminal.
    """
    import sys

    if not is_terminal(sys.stdin):
        raise UsageError("--yes is needed to fetch without being asked")
    typer.confirm("Fetch them?", abort=True, err=True)


def _show_check(found: DataCheck, out: Output) -> None:
    zipped = f", {found.zipped} inside zips not opened" if found.zipped else ""
    out.line(
        f"{found.questions} questions about {found.videos} videos: {found.opened} looked at{zipped}"
    )
    missing = sum(trouble.missing for trouble in found.troubles)
    if found.troubles:
        out.line(f"{missing} missing, {len(found.troubles) - missing} unreadable")
    for trouble in found.troubles[:_SHOWN_TROUBLES]:
        out.line(f"  {_trouble_line(dataclasses.asdict(trouble))}")
    if len(found.troubles) > _SHOWN_TROUBLES:
        out.line(f"  and {len(found.troubles) - _SHOWN_TROUBLES} more: --json lists all")


def _trouble_line(trouble: dict[str, Any]) -> str:
    count = trouble["questions"]
    asked = "1 question" if count == 1 else f"{count} questions"
    return f"{printable(trouble['video_id'])} ({asked}): {printable(trouble['reason'])}"
