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
    "pplava shapes render talks --set chat",
)


class Split(StrEnum):
    """Which scenes; no two splits share one."""

    train = "train"
    validation = "validation"
    test = "test"


class ShapeSet(StrEnum):
    """What is asked about what kind of films; as `pplava_core.shapes.dataset.SETS`."""

    plain = "plain"
    redundant = "redundant"
    long_prompt = "long-prompt"
    unseen = "unseen"
    chat = "chat"


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
    test_set: Annotated[
        ShapeSet, typer.Option("--set", help="Which kind of films and questions.")
    ] = ShapeSet.plain,
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
            test_set=test_set.value,
            workers=workers,
            progress=progress,
        )
    if out.json:
        record = {"schema": SCHEMA, "type": "shapes", "folder": str(folder)}
        out.record(record | {"set": test_set.value, "questions": count})
        return
    out.note(f"{count} questions")
    out.line(str(folder))
