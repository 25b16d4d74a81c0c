"""`pplava ask`: a question about videos or pictures, answered on stdout."""

from __future__ import annotations

from typing import Annotated

import typer

from pplava_cli.answering import Request, answer_inputs
from pplava_cli.inputs import check_question, group_inputs
from pplava_cli.options import (
    ClipOptions,
    Evidence,
    GenerationOptions,
    ModelOptions,
    OutputOptions,
    PoolingOptions,
    Videos,
    examples,
    takes_options,
)
from pplava_cli.wishes import wishes_from

_EXAMPLES = examples(
    'pplava ask examples/shapes.mp4 "how many objects are there?"',
    'pplava ask film.mp4 "what happens?" --from 1:30 --to 2:00 --evidence',
    'pplava ask *.mp4 "is there a red circle?" --json > answers.jsonl',
)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("ask", epilog=_EXAMPLES)(takes_options(ask))


def ask(
    *,
    context: typer.Context,
    videos: Videos = None,
    question: Annotated[
        str,
        typer.Argument(metavar="QUESTION", help="What to ask, in quotes; - reads it from stdin."),
    ],
    clip: ClipOptions,
    pooling: PoolingOptions,
    generation: GenerationOptions,
    model: ModelOptions,
    output: OutputOptions,
    each: Annotated[
        bool,
        typer.Option(
            "--each", help="Answer for each picture, not for the set.", rich_help_panel="Answer"
        ),
    ] = False,
    evidence: Evidence = False,
) -> int:
    """Answer a question about videos or pictures.

    Pictures alone get one joint answer. As soon as one input is a video or a folder, every
    input gets its own answer, in order, one a line with the file's name.
    """
    paths, question = check_question(videos or [], question)
    wishes = wishes_from(context, clip, pooling, generation)
    request = Request(question=question, wishes=wishes, evidence=evidence)
    return answer_inputs(group_inputs(paths, each=each), request, model, output.open())
