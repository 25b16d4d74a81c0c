"""`pplava eval BENCH`: ask a model a benchmark's questions, and show what it came to.

One function serves every benchmark. Under ``accelerate launch`` or ``torchrun`` each process
asks its share, and the first one speaks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pplava_cli import opening
from pplava_cli.console import Output, StepProgress, printable
from pplava_cli.eval_options import (
    AskingOptions,
    Data,
    RunningOptions,
    SelectionOptions,
)
from pplava_cli.eval_tables import summary_lines
from pplava_cli.judge_options import JudgeOptions, open_judging
from pplava_cli.options import (
    ModelOptions,
    OutputOptions,
    PoolingOptions,
    Reader,
    examples,
    takes_options,
)
from pplava_cli.records import SCHEMA
from pplava_cli.wishes import pooling_from
from pplava_core.errors import UsageError
from pplava_core.evals.registry import find_benchmark

if TYPE_CHECKING:
    from pplava_core.evals.base import Benchmark, Item, Settings
    from pplava_core.evals.runs.job import Job, Judging
    from pplava_core.evals.runs.running import Standing, Work
    from pplava_core.evals.runs.selection import Selection
    from pplava_core.evals.runs.sharding import Shard

_REHEARSED_ITEMS = 3


def benchmark_command(name: str) -> tuple[Callable[..., Any], str]:
    """Make the command that runs one benchmark, and the examples for its help."""

    def run(
        *,
        context: typer.Context,
        data: Data,
        protocol: AskingOptions,
        selection: SelectionOptions,
        running: RunningOptions,
        judge: JudgeOptions,
        reader: Annotated[
            Reader, typer.Option("--reader", help="What decodes films.", rich_help_panel="Running")
        ] = Reader.pyav,
        pooling: PoolingOptions,
        model: ModelOptions,
        output: OutputOptions,
    ) -> None:
        run_benchmark(
            name,
            data,
            context=context,
            protocol=protocol,
            selection=selection,
            running=running,
            judge=judge,
            reader=reader.value,
            pooling=pooling,
            model=model,
            out=output.open(),
        )

    run.__doc__ = f"Ask a model the questions of {name} and score its answers."
    shown = examples(
        f"pplava eval {name} --data DIR --model nano",
        f"pplava eval {name} --data DIR --limit 100 --shuffle",
        f"pplava eval {name} --data DIR --dry-run",
    )
    return takes_options(run), shown


def run_benchmark(
    name: str,
    data: Path,
    *,
    context: typer.Context,
    protocol: AskingOptions,
    selection: SelectionOptions,
    running: RunningOptions,
    judge: JudgeOptions,
    reader: str,
    pooling: PoolingOptions,
    model: ModelOptions,
    out: Output,
) -> None:
    """Do all that a benchmark's command does.

    Raises:
        UsageError: options contradict each other or the benchmark.
        InputError: the data folder is not the benchmark's.
        ModelError: the model or the judge is not to be had.
        OutputError: results cannot be written.
    """
    from pplava_core.evals.runs.job import Job, default_folder, manifest_of
    from pplava_core.evals.runs.running import Work
    from pplava_core.evals.runs.selection import select

    wishes = pooling_from(context, pooling)
    benchmark, settings = find_benchmark(name), protocol.settings(selection.seed)
    judging = open_judging(benchmark, settings, judge, out)
    chosen = selection_from(selection)
    items = select(read_items(benchmark, data, settings), chosen)
    if judge.judge_only:
        _judge_saved(benchmark, items, settings, chosen, running.folder, judging, out)
        return
    shard, model, out = shard_for(model, out)
    loaded = opening.open_model(model, out)
    opening.tell_notice(loaded, out)
    work = Work(
        benchmark=benchmark,
        settings=settings,
        model=loaded,
        pooling=wishes.choice,
        generation=protocol.generation(selection.seed),
        reader=reader,
        workers=running.workers,
    )
    if running.dry_run:
        rehearse_items(items[:_REHEARSED_ITEMS], work, out)
        return
    job = Job(
        work=work,
        items=items,
        selection=chosen,
        folder=running.folder or default_folder(manifest_of(work, items, chosen)),
        fresh=not running.resume,
        shard=shard,
        judging=judging,
    )
    _ask(job, out)


def _ask(job: Job, out: Output) -> None:
    """Run a job under a bar and show what it came to."""
    from pplava_core.evals.runs.job import run_job

    out.note(f"results go to {job.folder}")
    try:
        with out.progress(f"Asking {job.work.benchmark.info.title}", long=True) as progress:
            found = run_job(job, progress=standing_shown(progress))
    except KeyboardInterrupt:
        out.note(f"what was answered is kept in {job.folder}: the same command goes on")
        raise
    if found is not None:
        show_summary(found, job.folder, out)


def _judge_saved(
    benchmark: Benchmark,
    items: Sequence[Item],
    settings: Settings,
    selection: Selection,
    folder: Path | None,
    judging: Judging | None,
    out: Output,
) -> None:
    """Have the answers of an earlier run judged.

    Raises:
        UsageError: nobody said where they are, or they were given to something else.
    """
    from pplava_core.evals.runs.job import judge_saved

    if judging is None or folder is None:
        raise UsageError("--judge-only needs the -o of the answers: name their folder")
    summary = judge_saved(benchmark, items, settings, selection, folder, judging)
    show_summary(summary, folder, out)


def read_items(benchmark: Benchmark, data: Path, settings: Settings) -> list[Item]:
    """Read a benchmark's questions after a look at what was asked for.

    Raises:
        UsageError: the benchmark has no such split, or no subtitles.
        InputError: the folder is missing, or not the benchmark's.
    """
    splits = benchmark.info.splits
    if settings.split and settings.split not in splits:
        raise UsageError(
            f"--split {settings.split}: {benchmark.info.title} has {', '.join(splits)}"
        )
    if settings.subtitles and not benchmark.info.has_subtitles:
        raise UsageError(f"--subtitles: {benchmark.info.title} has none; leave it out")
    if not data.is_dir():
        raise UsageError(
            f"--data {data} is no folder: `pplava eval fetch {benchmark.info.name}` gets the data"
        )
    return benchmark.items(data, settings)


def rehearse_items(items: Sequence[Item], work: Work, out: Output) -> None:
    """Show the prompts of the first questions."""
    from pplava_core.evals.runs.dry_run import rehearse

    for one in rehearse(items, work):
        if out.json:
            record = {"id": one.item.id, **dataclasses.asdict(one.prompt), "whole": one.text}
            record |= {"frames": one.frames, "error": one.error}
            out.record({"schema": SCHEMA, "type": "eval_prompt", **record})
            continue
        out.line(f"── {printable(one.item.id)}, {printable(one.item.video_id)}")
        out.line(
            f"prompt: {one.prompt.source}; frames: {one.frames}; "
            f"answer: at most {one.max_new_tokens} tokens"
        )
        if one.error is not None:
            out.line(f"cannot be asked: {one.error}")
        out.line(f"aligned with: {one.prompt.guide!r}")
        out.line(one.text)
        out.line()


def standing_shown(progress: StepProgress) -> Callable[[Standing], None]:
    """Let a progress bar tell how a run stands."""

    def show(standing: Standing) -> None:
        note = f" questions, {standing.videos}/{standing.video_total} videos"
        if standing.judged:
            note += f", {standing.right / standing.judged:.1%} right"
        if standing.errors:
            note += f", {standing.errors} errors"
        progress(standing.questions, standing.question_total, note)

    return show


def show_summary(summary: Mapping[str, Any], folder: Path | None, out: Output) -> None:
    """Show what a run came to, and where it is written, if it is."""
    if out.json:
        place = None if folder is None else str(folder)
        out.record({"schema": SCHEMA, "type": "eval", "folder": place, **summary})
        return
    for line in summary_lines(summary):
        out.line(line)
    if folder is not None:
        out.note(f"written to {folder}")


def selection_from(options: SelectionOptions) -> Selection:
    """Return which questions were asked for, as a run takes it."""
    from pplava_core.evals.runs.selection import Selection

    return Selection(
        limit=options.limit,
        only=tuple(options.only or ()),
        shuffle=options.shuffle,
        seed=options.seed,
    )


def shard_for(model: ModelOptions, out: Output) -> tuple[Shard, ModelOptions, Output]:
    """Join the other processes of a launch, if there are any.

    Returns:
        Which process this is, the model's options with an accelerator of its own, and a voice
        that only the first process raises.
    """
    import torch

    from pplava_core.evals.runs.sharding import this_shard

    on_processor = model.device == "cpu" or not torch.cuda.is_available()
    shard = this_shard(cpu=on_processor)
    if not shard.is_first:
        out = Output(quiet=True, debug=out.debug)
    if shard.count > 1 and not on_processor and model.device in ("auto", "cuda"):
        model = dataclasses.replace(model, device=f"cuda:{shard.local_index}")
    return shard, model, out
