"""`pplava caption`: a description of a video or picture, as a question with fixed words."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from pplava_cli.answering import Request, answer_inputs
from pplava_cli.inputs import check_videos, group_inputs
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
    "pplava caption examples/shapes.mp4",
    "pplava caption film.mp4 --detail long --from 0:30 --to 1:00",
    "pplava caption *.mp4 --detail short > captions.txt",
)


class Detail(StrEnum):
    """How much a caption tells."""

    short = "short"
    normal = "normal"
    long = "long"


_QUESTIONS = {
    Detail.short: "Describe the video briefly.",
    Detail.normal: "Describe the video.",
    Detail.long: "Describe the video in detail.",
}


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("caption", epilog=_EXAMPLES)(takes_options(caption))


def caption(
    *,
    context: typer.Context,
    videos: Videos = None,
    detail: Annotated[
        Detail, typer.Option("--detail", help="How much to tell.", rich_help_panel="Answer")
    ] = Detail.normal,
    evidence: Evidence = False,
    clip: ClipOptions,
    pooling: PoolingOptions,
    generation: GenerationOptions,
    model: ModelOptions,
    output: OutputOptions,
) -> int:
    """Describe videos or pictures, each on its own."""
    inputs = group_inputs(check_videos(videos or []), each=True)
    wishes = wishes_from(context, clip, pooling, generation)
    request = Request(question=_QUESTIONS[detail], wishes=wishes, evidence=evidence)
    return answer_inputs(inputs, request, model, output.open())
