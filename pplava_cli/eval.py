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
from pplava_cli.shapes import ShapeSet
from pplava_cli.wishes import pooling_from
from pplava_core.atomic import replacing
from pplava_core.errors import UsageError
from pplava_core.evals.registry import BENCHMARKS

if TYPE_CHECKING:
    from pplava_core.evals.benchmarks.shapes_scoring import Scored
    from pplava_core.evals.benchmarks.shapes_tables import Row
    from pplava_core.shapes.dataset import Item

_EXAMPLES = examples(
    "pplava eval shapes",
    "pplava eval shapes --questions 2400 --seed 3 -o scores.json",
    "pplava eval shapes --set redundant --questions 400 --json",
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
    test_set: Annotated[
        ShapeSet | None,
        typer.Option("--set", help="Which kind of films and questions \\[plain, without --data]."),
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

    Answers are greedy and must be right to the letter, times to half a second. Beside each
    accuracy: its 95 % interval, and what the best constant answer would get. Then where the
    relevance lies: how often its peak is on the thing asked for, and in its time.
    """
    from pplava_core.evals.benchmarks import shapes as benchmark
    from pplava_core.evals.benchmarks import shapes_tables as tables
    from pplava_core.shapes.dataset import read_dataset, write_dataset

    out = output.open()
    wishes = pooling_from(context, pooling)
    if details is not None and (details.is_dir() or not details.parent.is_dir()):
        raise UsageError(f"--output {details}: no file can be written there; choose another")
    with tempfile.TemporaryDirectory(prefix="pplava-") as temporary:
        if data is None:
            data, test_set = Path(temporary) / "films", test_set or ShapeSet.plain
            with out.progress("Rendering films") as progress:
                write_dataset(
                    data,
                    split="test",
                    seed=seed,
                    question_count=questions,
                    test_set=test_set.value,
                    progress=progress,
                )
        items = read_dataset(data)
        name = _set_name(items, test_set)
        judged = opening.open_model(model, out)
        opening.tell_notice(judged, out)
        with out.progress("Asking") as progress:
            scored = benchmark.score_items(
                items, data, judged, pooling=wishes.choice, progress=progress
            )
    summary = {"schema": SCHEMA, "type": "eval_shapes", "model": judged.name}
    summary |= {"revision": judged.revision, "set": name, **tables.summary(scored)}
    if details is not None:
        with replacing(details) as path:
            path.write_text(json.dumps({**summary, "answers": _answers(scored)}, indent=1))
    if out.json:
        out.record(summary)
        return
    for line in [*_lines(tables.table(scored)), *_figures(summary)]:
        out.line(line)


def _set_name(items: list[Item], wanted: ShapeSet | None) -> str | None:
    """Return the name of the set that questions are of, None where nobody says and none shows.

    Raises:
        UsageError: they are not of the set that was named.
    """
    from pplava_core.evals.benchmarks.shapes import set_of

    shown = set_of(items)
    if wanted is None:
        return shown
    telling = (ShapeSet.chat, ShapeSet.redundant)
    if wanted != shown and (shown is not None or wanted in telling):
        held = f"of the set {shown!r}" if shown else f"not of the set {wanted.value!r}"
        raise UsageError(f"--set {wanted.value}: the questions are {held}; leave out --set")
    return wanted.value


def _lines(rows: list[Row]) -> list[str]:
    lines = [f"{'':<26} {'n':>5} {'right':>7}   {'95 % interval':<15} {'constant':>8}"]
    for row in rows:
        interval = f"{row.low:.1%} – {row.high:.1%}"
        constant = "" if row.constant != row.constant else f"{row.constant:.1%}"
        line = f"{row.name:<26} {row.count:>5} {row.accuracy:>7.1%}   {interval:<15} {constant:>8}"
        lines.append(line.rstrip())
    return lines


def _figures(summary: dict[str, Any]) -> list[str]:
    """Word what has no row of its own: means, and what would be got by chance."""
    pointing, timing = summary["pointing"], summary["timing"]
    shares = {
        "mean over types": summary["mean_over_types_without_caption"],
        "things named in captions": summary["things_named_in_captions"],
        "peak on it by chance": pointing["peak_by_chance"],
        "relevance on the thing": pointing["relevance"],
        "in an even map": pointing["even_relevance"],
        "peak in its time by chance": timing["peak_by_chance"],
    }
    lines = [f"{name:<28} {share:.1%}" for name, share in shares.items() if share is not None]
    if pointing["hidden"]:
        lines.append(f"{'asked for but never shown':<28} {pointing['hidden']}")
    return lines


def _answers(scored: list[Scored]) -> list[dict[str, Any]]:
    return [
        {
            "video": one.item.film.file_name,
            "setting": one.item.film.setting,
            "wording": one.item.wording,
            "turn": one.item.turn,
            "question_type": one.item.question.type,
            "question": one.item.question.text,
            "right_answer": one.item.question.answer,
            "answer": one.answer,
            "right": one.right,
            "visual_tokens": one.token_count,
            "peak_on_the_thing": one.pointed,
            "relevance_on_the_thing": one.mass,
            "even_relevance": one.chance,
            "timing": None if one.timing is None else vars(one.timing),
        }
        for one in scored
    ]
