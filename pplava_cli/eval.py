"""`pplava eval`: how right a model is, with intervals, on a benchmark.

A command for each benchmark, all alike (`eval_run`) but for the rendered world's own, which
stands here: it renders what it asks about and also scores where the model looked.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pplava_cli import eval_ablate, eval_compare, eval_data, eval_score, opening
from pplava_cli.eval_run import benchmark_command
from pplava_cli.options import (
    ModelOptions,
    OutputOptions,
    PoolingOptions,
    examples,
    takes_options,
)
from pplava_cli.records import SCHEMA
from pplava_cli.wishes import pooling_from
from pplava_core.atomic import replacing
from pplava_core.errors import UsageError
from pplava_core.evals.registry import BENCHMARKS

if TYPE_CHECKING:
    from pplava_core.evals.benchmarks.shapes import Row

_EXAMPLES = examples(
    "pplava eval shapes",
    "pplava eval shapes --questions 2400 --seed 3 -o scores.json",
    "pplava eval shapes --data test-set --pooling average",
)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    group = typer.Typer(help="Measure a model on a benchmark.", epilog=_EXAMPLES)
    for name in BENCHMARKS:
        if name != "shapes":
            command, shown = benchmark_command(name)
            group.command(name, epilog=shown)(command)
    group.command("shapes", epilog=_EXAMPLES)(takes_options(shapes))
    for commands in (eval_data, eval_score, eval_compare, eval_ablate):
        commands.register(group)
    app.add_typer(group, name="eval")


def shapes(
    *,
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="A folder from `pplava shapes render`."),
    ] = None,
    questions: Annotated[
        int, typer.Option("--questions", metavar="N", help="How many, without --data.", min=12)
    ] = 1200,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the films.", min=0)] = 0,
    details: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write every answer as JSON."),
    ] = None,
    pooling: PoolingOptions,
    model: ModelOptions,
    output: OutputOptions,
) -> None:
    """Ask a model about rendered films of the test split and score the answers.

    Answers are greedy and must be right to the letter. Beside each accuracy: its 95 %
    interval, and what the best constant answer would get.
    """
    from pplava_core.evals.benchmarks import shapes as benchmark
    from pplava_core.shapes.dataset import read_dataset, write_dataset

    out = output.open()
    wishes = pooling_from(context, pooling)
    if details is not None and (details.is_dir() or not details.parent.is_dir()):
        raise UsageError(f"--output {details}: no file can be written there; choose another")
    with tempfile.TemporaryDirectory(prefix="pplava-") as temporary:
        if data is None:
            data = Path(temporary) / "films"
            with out.progress("Rendering films") as progress:
                write_dataset(
                    data, split="test", seed=seed, question_count=questions, progress=progress
                )
        items = read_dataset(data)
        judged = opening.open_model(model, out)
        with out.progress("Asking") as progress:
            scored = benchmark.score_items(
                items, data, judged, pooling=wishes.choice, progress=progress
            )
    summary = {"schema": SCHEMA, "type": "eval_shapes", "model": judged.name}
    summary |= {"revision": judged.revision, **benchmark.summary(scored)}
    if details is not None:
        with replacing(details) as path:
            path.write_text(json.dumps({**summary, "answers": _answers(scored)}, indent=1))
    if out.json:
        out.record(summary)
        return
    for line in _lines(benchmark.table(scored)):
        out.line(line)
    for name in ("things_named_in_captions", "relevance_on_the_thing"):
        if summary[name] is not None:
            out.line(f"{name.replace('_', ' '):<28} {summary[name]:.1%}")


def _lines(rows: list[Row]) -> list[str]:
    lines = [f"{'':<20} {'n':>5} {'right':>7}   {'95 % interval':<15} {'constant':>8}"]
    for row in rows:
        interval = f"{row.low:.1%} – {row.high:.1%}"
        constant = "" if row.constant != row.constant else f"{row.constant:.1%}"
        lines.append(
            f"{row.name:<20} {row.count:>5} {row.accuracy:>7.1%}   {interval:<15} {constant:>8}"
        )
    return lines


def _answers(scored: Any) -> list[dict[str, Any]]:
    return [
        {
            "video": one.item.film.file_name,
            "setting": one.item.film.setting,
            "question_type": one.item.question.type,
            "question": one.item.question.text,
            "right_answer": one.item.question.answer,
            "answer": one.answer,
            "right": one.right,
            "peak_on_the_thing": one.pointed,
        }
        for one in scored
    ]
