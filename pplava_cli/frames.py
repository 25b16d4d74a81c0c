"""`pplava frames`: the pictures that the model would be shown, as files to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pplava_cli import opening
from pplava_cli.console import Output, printable
from pplava_cli.inputs import check_videos
from pplava_cli.new_folder import new_folder
from pplava_cli.options import (
    ClipOptions,
    Model,
    OutputOptions,
    examples,
    takes_options,
)
from pplava_cli.records import SCHEMA, sampling_record
from pplava_cli.sampling_line import source_line
from pplava_cli.wishes import sampling_from
from pplava_core.models.catalog import DEFAULT_MODEL

if TYPE_CHECKING:
    import numpy as np

    from pplava_core.models.config import VideoLMConfig
    from pplava_core.types import Clip, Sampling

_EXAMPLES = examples(
    "pplava frames examples/shapes.mp4 -o seen",
    "pplava frames film.mp4 -o seen --frames 32 --from 10:00 --to 12:00",
    "pplava frames film.mp4 -o full --size original --json",
)

_SAMPLING_FILE = "sampling.json"


class Size(StrEnum):
    """Which size frames are written in."""

    model = "model"
    original = "original"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("frames", epilog=_EXAMPLES)(takes_options(frames))


def frames(
    *,
    context: typer.Context,
    video: Annotated[
        str,
        typer.Argument(metavar="VIDEO", help="A video, a picture, or a folder of numbered frames."),
    ],
    folder: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to make for the pictures.")
    ],
    size: Annotated[
        Size, typer.Option("--size", help="As the model sees them, or undistorted.")
    ] = Size.model,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a folder that this command made before.")
    ] = False,
    clip: ClipOptions,
    model: Model = DEFAULT_MODEL,
    output: OutputOptions,
) -> None:
    """Write the pictures that the model would be shown as PNG files, times in their names.

    A single picture is written whole, as it is before a large model cuts it into tiles.
    The folder also gets `sampling.json`, which says where in the film each picture is from.
    Prints the names of the pictures.
    """
    out = output.open()
    (path,) = check_videos([video])
    sampling = sampling_from(context, clip)
    with new_folder(folder, made_by=_is_ours, replace=force) as temporary:
        loaded, config = _load(path, sampling, clip, model, out)
        out.note(source_line(loaded.source, loaded.seconds.tolist()))
        record = _write_pictures(temporary, loaded, size, out)
        record["model"] = {"name": config.name, "pixels": vars(config.pixels)}
        text = json.dumps(record, indent=2) + "\n"
        (temporary / _SAMPLING_FILE).write_text(text, encoding="utf-8")
    if out.json:
        out.record(record | {"folder": str(folder)})
    else:
        for frame in record["sampling"]["frames"]:
            out.line(printable(str(folder / frame["file"])))


def _load(
    path: Path, sampling: Sampling, clip: ClipOptions, model: str, out: Output
) -> tuple[Clip, VideoLMConfig]:
    """Read the clip as the model's configuration asks for it; its weights are not needed."""
    from pplava_core.media import load_clip

    config = opening.model_config(model)
    with out.progress(f"Reading {printable(path.name)}") as progress:
        loaded = load_clip(
            path,
            sampling=config.sampling(sampling),
            pixels=config.pixels,
            default_num_frames=config.num_frames,
            reader=clip.reader.value,
            progress=progress,
        )
    return loaded, config


def _write_pictures(folder: Path, clip: Clip, size: Size, out: Output) -> dict[str, Any]:
    """Write one PNG a frame and return what `sampling.json` says."""
    from PIL import Image

    seconds = [float(time) for time in clip.seconds]
    record = sampling_record(clip.source, seconds)
    has_clock = clip.source.kind == "video"
    with out.progress("Writing pictures") as progress:
        for number, picture in enumerate(_pictures(clip, size)):
            frame = record["frames"][number]
            time = f"_{frame['seconds']:08.3f}s" if has_clock else ""
            frame["file"] = f"{number:04d}{time}.png"
            Image.fromarray(picture).save(folder / frame["file"])
            progress(number + 1, len(seconds))
    return {
        "schema": SCHEMA,
        "type": "frames",
        "inputs": list(clip.source.paths),
        "size": size.value,
        "sampling": record,
    }


def _pictures(clip: Clip, size: Size) -> Iterator[np.ndarray]:
    """Give the frames one at a time; full-size ones are decoded anew, never held together."""
    if size is Size.model:
        yield from clip.frames
        return
    from pplava_core.media import iterate_frames

    for _, picture in iterate_frames(clip.source):
        yield picture


def _is_ours(folder: Path) -> bool:
    """Tell whether a folder holds nothing but what this command writes."""
    names = {entry.name for entry in folder.iterdir()}
    try:
        record = json.loads((folder / _SAMPLING_FILE).read_text(encoding="utf-8"))
        files = {frame["file"] for frame in record["sampling"]["frames"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return names <= files | {_SAMPLING_FILE}
