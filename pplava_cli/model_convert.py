"""`pplava models convert`: any model that can be loaded, as a folder of this project's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pplava_cli import opening
from pplava_cli.console import printable
from pplava_cli.model_store import ModelName
from pplava_cli.options import OutputOptions, Quantization, examples, takes_options
from pplava_cli.records import SCHEMA

_EXAMPLES = examples(
    "pplava models convert ppllava-vicuna-7b ./ppllava-4bit --quantize 4bit",
    'pplava ask clip.mp4 "what happens?" --model ./ppllava-4bit',
)


def register(group: typer.Typer) -> None:
    """Add the command to `pplava models`."""
    group.command("convert", epilog=_EXAMPLES)(takes_options(convert))


def convert(
    *,
    source: ModelName,
    target: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder that is not there yet.")
    ],
    quantize: Annotated[
        Quantization | None,
        typer.Option(
            "--quantize", metavar="NAME", help="Store the language model in 4bit or 8bit."
        ),
    ] = None,
    output: OutputOptions,
) -> None:
    """Write a model as a folder of this project's format.

    Every part gets a place of its own: `base/` for transformers, `aligner/` for the dual
    encoder. With --quantize the language model is stored smaller, for small cards.
    """
    from pplava_core.models import convert as conversion

    out = output.open()
    entry = opening.find_model(source)
    with out.progress(f"Converting {printable(entry.name)}"):
        conversion.convert(
            entry.folder, target, quantize=None if quantize is None else quantize.value
        )
    size_bytes = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    if out.json:
        out.record(
            {
                "schema": SCHEMA,
                "type": "converted_model",
                "name": target.name,
                "folder": str(target),
                "size_bytes": size_bytes,
            }
        )
        return
    out.line(f"{target}: {size_bytes / 1e6:.1f} MB")
    out.note(f'next: pplava ask VIDEO "QUESTION" --model {target}')
