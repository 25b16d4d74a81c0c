"""`pplava bench`: how long each stage takes on this machine."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pplava_cli import opening
from pplava_cli.console import printable
from pplava_cli.inputs import check_videos, group_inputs
from pplava_cli.options import (
    ClipOptions,
    GenerationOptions,
    ModelOptions,
    OutputOptions,
    PoolingOptions,
    examples,
    takes_options,
)
from pplava_cli.records import SCHEMA, model_record
from pplava_cli.wishes import wishes_from

if TYPE_CHECKING:
    from pplava_core.bench import Measurements
    from pplava_core.models.videolm import VideoLM

_EXAMPLES = examples(
    "pplava bench",
    "pplava bench film.mp4 --frames 32 --rounds 9",
    "pplava bench --device cuda --json > bench.json",
)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("bench", epilog=_EXAMPLES)(takes_options(bench))


def bench(
    *,
    context: typer.Context,
    video: Annotated[
        str | None,
        typer.Argument(metavar="VIDEO", help="What to measure with; a film is made if left out."),
    ] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", min=1, help="Rounds to take the median of.")
    ] = 5,
    clip: ClipOptions,
    pooling: PoolingOptions,
    generation: GenerationOptions,
    model: ModelOptions,
    output: OutputOptions,
) -> None:
    """Measure reading, encoding, pooling and answering on this machine.

    Every round reads a clip and answers two questions about it. Prints medians.
    """
    from pplava_core.bench import measure, write_clip

    out = output.open()
    wishes = wishes_from(context, clip, pooling, generation)
    if video is not None:
        (one,) = group_inputs(check_videos([video]), each=True)
        if one.error is not None:
            raise one.error
    loaded = opening.open_model(model, out)
    with tempfile.TemporaryDirectory(prefix="pplava-bench-") as folder:
        path = Path(folder) / "clip.mp4" if video is None else Path(video)
        if video is None:
            write_clip(path)
        with out.progress("Measuring") as progress:
            measured = measure(
                [path],
                loaded,
                sampling=wishes.sampling,
                reader=wishes.reader,
                pooling=wishes.pooling,
                generation=wishes.generation,
                rounds=rounds,
                progress=progress,
            )
    opening.tell_notice(loaded, out)
    if out.json:
        out.record(_record(video, loaded, measured))
        return
    for line in _lines(video, loaded, measured):
        out.line(line)


def _lines(video: str | None, model: VideoLM, measured: Measurements) -> list[str]:
    """Lay the measurements out for people."""
    frames, rows, columns = measured.grid_size
    record = model_record(model)
    share = 100 * measured.second_question_ratio
    speed = measured.text_token_count / max(measured.generate_seconds, 1e-9)
    rows_of_table = [
        ("decode", measured.decode_seconds, f"{frames} frames"),
        ("encode", measured.encode_seconds, f"{frames}×{rows}×{columns} patches"),
        ("pool", measured.pool_seconds, f"{measured.patch_count} → {measured.token_count} tokens"),
        ("generate", measured.generate_seconds, _tokens(measured.text_token_count, speed)),
        ("2nd question: pool", measured.second_pool_seconds, f"{share:.1f} % of decode + encode"),
        ("2nd question: generate", measured.second_generate_seconds, ""),
        ("the clip from the cache", measured.cached_open_seconds, "instead of decode + encode"),
    ]
    head = f"{record['name']} on {record['device']} {record['dtype']}, median of {measured.rounds}"
    table = [f"{name:<26}{seconds:9.4f} s  {note}" for name, seconds, note in rows_of_table]
    return [f"{printable(video or 'a film made for this')}: {head}", *map(str.rstrip, table)]


def _tokens(token_count: int, tokens_per_second: float) -> str:
    tokens = "1 token" if token_count == 1 else f"{token_count} tokens"
    return f"{tokens}, {tokens_per_second:.0f} a second"


def _record(video: str | None, model: VideoLM, measured: Measurements) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "type": "bench",
        "inputs": [] if video is None else [video],
        "model": model_record(model),
        **dataclasses.asdict(measured),
        "grid_size": list(measured.grid_size),
        "second_question_ratio": measured.second_question_ratio,
    }
