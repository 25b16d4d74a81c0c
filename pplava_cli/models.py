"""`pplava models`: which models there are, what they are, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pplava_cli import opening
from pplava_cli.options import OutputOptions, complete_model, examples, takes_options
from pplava_cli.records import SCHEMA

if TYPE_CHECKING:
    from pplava_core.models.catalog import ModelEntry

_EXAMPLES = examples("pplava models list", "pplava models info nano", "pplava models path nano")

Name = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A model's name or folder.", autocompletion=complete_model
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    group = typer.Typer(help="List models, and show what they are and where.", epilog=_EXAMPLES)
    group.command("list", epilog=_EXAMPLES)(takes_options(show_list))
    group.command("info", epilog=_EXAMPLES)(takes_options(show_info))
    group.command("path", epilog=_EXAMPLES)(takes_options(show_path))
    app.add_typer(group, name="models")


def show_list(output: OutputOptions) -> None:
    """List the models that can be named with --model."""
    from pplava_core.models.catalog import list_models

    out = output.open()
    entries = list_models()
    if out.json:
        for entry in entries:
            out.record(_record(entry))
        return
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        size = f"{entry.size_bytes / 1e6:.1f} MB"
        out.line(f"{entry.name:<{width}}  {size:>10}  {entry.description}")


def show_info(name: Name, output: OutputOptions) -> None:
    """Show all that is known of a model without loading it."""
    out = output.open()
    record = _record(opening.find_model(name))
    if out.json:
        out.record(record)
        return
    for key in list(record)[2:]:
        out.line(f"{key}: {record[key]}")


def show_path(name: Name, output: OutputOptions) -> None:
    """Print the folder that a model lies in."""
    out = output.open()
    entry = opening.find_model(name)
    if out.json:
        out.record(_record(entry))
    else:
        out.line(str(entry.folder))


def _record(entry: ModelEntry) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "type": "model",
        "name": entry.name,
        "description": entry.description,
        "licence": entry.licence,
        "size_bytes": entry.size_bytes,
        "backbone": entry.backbone,
        "source": entry.source,
        "folder": str(entry.folder),
    }
