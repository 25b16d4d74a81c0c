"""`pplava shapes`: films of moving shapes and questions about them, to watch and to check."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pplava_cli.options import OutputOptions, examples, takes_options
from pplava_cli.records import SCHEMA

_EXAMPLES = examples(
    "pplava shapes render my-shapes",
    "pplava shapes render test-set --split test --questions 1200 --seed 7",
)


class Split(StrEnum):
    """Which scenes; no two splits share one."""

    train = "train"
    validation = "validation"
    test = "test"


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    group = typer.Typer(help="Render films of moving shapes with questions.", epilog=_EXAMPLES)
    group.callback()(_group)
    group.command("render", epilog=_EXAMPLES)(takes_options(render))
    app.add_typer(group, name="shapes")


def _group() -> None:
    """Keep `render` a command of its own, though it is the only one."""


def render(
    *,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.")],
    split: Annotated[Split, typer.Option("--split", help="Which scenes.")] = Split.test,
    questions: Annotated[
        int, typer.Option("--questions", metavar="N", help="How many questions.", min=1)
    ] = 120,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0)] = 0,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", help="Processes \\[one a core].", min=1)
    ] = None,
    output: OutputOptions,
) -> None:
    """Write mp4 films and a questions.jsonl with the right answers.

    The same seed gives the same questions and the same frames. Prints the folder.
    """
    from pplava_core.shapes.dataset import write_dataset

    out = output.open()
    with out.progress("Rendering films") as progress:
        count = write_dataset(
            folder,
            split=split.value,
            seed=seed,
            question_count=questions,
            workers=workers,
            progress=progress,
        )
    if out.json:
        record = {"schema": SCHEMA, "type": "shapes", "folder": str(folder), "questions": count}
        out.record(record)
        return
    out.note(f"{count} questions")
    out.line(str(folder))
