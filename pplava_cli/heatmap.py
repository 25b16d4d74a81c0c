"""`pplava heatmap`: where in a film, and when, a question points; as pictures or a film.

Also known as `visualize-attention`. `draw_heatmap` serves every command that draws one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pplava_cli import opening
from pplava_cli.console import Output, printable
from pplava_cli.inputs import check_question, group_inputs
from pplava_cli.new_folder import new_folder
from pplava_cli.options import (
    ClipOptions,
    ModelOptions,
    OutputOptions,
    Videos,
    examples,
    takes_options,
)
from pplava_cli.records import SCHEMA, model_record, moment_record, sampling_record
from pplava_cli.sampling_line import clock, sampling_line
from pplava_cli.wishes import sampling_from
from pplava_core.errors import UsageError

if TYPE_CHECKING:
    from pplava_core.heatmap import Heatmap
    from pplava_core.session import Session

_NAMES = ("heatmap", "visualize-attention")


def register(app: typer.Typer) -> None:
    """Add the command to the program, under both of its names."""
    for name in _NAMES:
        help_end = examples(
            f'pplava {name} clip.mp4 "where is the red circle?" -o sheet.png',
            f'pplava {name} clip.mp4 "a red circle" --compare "a blue square" -o both.mp4',
            f'pplava {name} film.mp4 "a dog" -o seen/ --frames 32 --from 1:00 --to 1:30',
        )
        app.command(name, epilog=help_end)(takes_options(heatmap))


def heatmap(
    *,
    context: typer.Context,
    videos: Videos = None,
    question: Annotated[
        str,
        typer.Argument(metavar="QUESTION", help="What to look for, in quotes; - reads stdin."),
    ],
    target: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="OUT", help="A .png, .mp4 or .gif file, or a folder."
        ),
    ],
    compare: Annotated[
        str | None,
        typer.Option("--compare", metavar="QUESTION", help="Another question to show beside it."),
    ] = None,
    patches: Annotated[
        bool, typer.Option("--patches", help="Show every patch with its borders, unsmoothed.")
    ] = False,
    clip: ClipOptions,
    model: ModelOptions,
    output: OutputOptions,
) -> None:
    """Show where in a video, and when, a question points.

    The name of OUT chooses the form: .png is one sheet with every frame, .mp4 and .gif play
    them, a folder gets one PNG a frame. An older heatmap there is replaced, any other file
    stays. Prints the names of the files.
    """
    from pplava_core.session import PoolingChoice

    out = output.open()
    paths, question = check_question(videos or [], question)
    questions = [question] if compare is None else [question, compare.strip()]
    if not all(questions):
        raise UsageError("--compare needs a question, in quotes")
    _check_target(target)
    sampling = sampling_from(context, clip)
    (one, *others) = group_inputs(paths, each=False)
    if others:
        raise UsageError("a heatmap is about one video, or about pictures alone")
    if one.error is not None:
        raise one.error
    session = opening.open_session(
        one.paths,
        opening.open_model(model, out),
        sampling=sampling,
        reader=clip.reader.value,
        out=out,
    )
    opening.tell_notice(session.model, out)
    out.note(sampling_line(session, PoolingChoice()))
    drawn = draw_heatmap(session, questions, target, smooth=not patches, out=out)
    if out.json:
        out.record(_record(session, drawn))
    else:
        for file in drawn.files:
            out.line(printable(str(file)))


@dataclass(frozen=True, kw_only=True)
class DrawnHeatmap:
    """What was drawn, and where it lies."""

    heatmap: Heatmap
    form: str
    "`sheet`, `pages`, `mp4` or `gif`."
    files: tuple[Path, ...]


def draw_heatmap(
    session: Session, questions: Sequence[str], target: str, *, smooth: bool = True, out: Output
) -> DrawnHeatmap:
    """Draw the relevance of one or two questions over the clip that is open.

    Args:
        session: the clip; its film is read again, for undistorted pictures.
        questions: side by side where there are two.
        target: where to; its name chooses the form.
        smooth: let neighbouring patches run into each other.
        out: shows the progress.

    Raises:
        UsageError: the name asks for no known form, or is taken by something else.
        InputError: the film cannot be read any more.
    """
    from pplava_core.evidence import picture_box_of
    from pplava_core.heatmap import Heatmap, form_of, write_heatmap
    from pplava_core.media import iterate_frames

    _check_target(target)
    heatmap = Heatmap(
        relevances=[session.relevance(question) for question in questions],
        source=session.source,
        caption=_caption(session),
        smooth=smooth,
        picture_box=picture_box_of(session.source, session.preparation.pixels),
    )
    form = form_of(target)
    frames = (picture for _, picture in iterate_frames(session.source))
    with out.progress("Drawing") as progress:
        if form != "pages":
            files = write_heatmap(target, heatmap, frames, progress=progress)
            return DrawnHeatmap(heatmap=heatmap, form=form, files=files)
        with new_folder(Path(target), made_by=_holds_heatmaps, replace=True) as temporary:
            pages = write_heatmap(temporary, heatmap, frames, progress=progress)
    files = tuple(Path(target) / page.name for page in pages)
    return DrawnHeatmap(heatmap=heatmap, form=form, files=files)


def _check_target(target: str) -> None:
    """Find out before anything is read that the name cannot be used."""
    from pplava_core.heatmap import check_replaceable, form_of

    if form_of(target) != "pages":
        check_replaceable(Path(target))


def _holds_heatmaps(folder: Path) -> bool:
    from pplava_core.heatmap import is_heatmap

    return all(is_heatmap(path) for path in folder.iterdir())


def _caption(session: Session) -> str:
    source = session.source
    parts = [", ".join(printable(Path(path).name) for path in source.paths)]
    if source.kind == "video":
        parts.append(f"{len(source.indices)} of {source.frame_count} frames")
        parts.append(f"{clock(source.start_seconds)} – {clock(source.stop_seconds)}")
    parts.append(session.model.name)
    return " · ".join(parts)


def _record(session: Session, drawn: DrawnHeatmap) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "type": "heatmap",
        "inputs": list(session.source.paths),
        "questions": [
            {
                "question": relevance.text,
                "evidence": [moment_record(moment) for moment in session.evidence(relevance)],
            }
            for relevance in drawn.heatmap.relevances
        ],
        "form": drawn.form,
        "files": [str(file) for file in drawn.files],
        "model": model_record(session.model),
        "sampling": sampling_record(session.source, [float(t) for t in session.seconds]),
        "from_cache": session.from_cache,
    }
