"""`pplava models`: which models there are, what they are, where, and which is the usual one.

Fetching and throwing away are in `pplava_cli.model_store`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pplava_cli import model_convert, model_store, opening
from pplava_cli.config_file import config_path, read_config, write_setting
from pplava_cli.console import Output, printable
from pplava_cli.model_records import catalog_record, known_record
from pplava_cli.model_store import ModelName
from pplava_cli.options import OutputOptions, complete_model, examples, takes_options
from pplava_cli.records import SCHEMA
from pplava_cli.tables import table_lines
from pplava_core.models.catalog import DEFAULT_MODEL

if TYPE_CHECKING:
    from pplava_core.models.store.known import KnownModel

_EXAMPLES = examples(
    "pplava models list",
    "pplava models pull ppllava-vicuna-7b",
    "pplava models info nano",
    "pplava models default ppllava-vicuna-7b",
)
_MODEL_VARIABLE = "PPLAVA_MODEL"

OptionalName = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A model's name or folder; without one, the present default is shown.",
        autocompletion=complete_model,
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    group = typer.Typer(help="List, fetch and look after models.", epilog=_EXAMPLES)
    for name, command, lines in (
        ("list", show_list, ("pplava models list", "pplava models list --json")),
        ("info", show_info, ("pplava models info nano", "pplava models info internvl3-1b")),
        ("path", show_path, ("pplava models path nano", 'cd "$(pplava models path nano)"')),
        ("default", set_default, ("pplava models default", "pplava models default nano")),
    ):
        group.command(name, epilog=examples(*lines))(takes_options(command))
    model_store.register(group)
    model_convert.register(group)
    app.add_typer(group, name="models")


def show_list(output: OutputOptions) -> None:
    """List the models that are here, and those that `pull` knows by a short name.

    Memory is that of the weights alone, in bfloat16 and with the language model in 4 bits.
    """
    from pplava_core.models import catalog
    from pplava_core.models.store import shelf

    out = output.open()
    records = [catalog_record(entry) for entry in catalog.list_models()]
    records += [known_record(known) for known in shelf.absent_models()]
    if out.json:
        for record in records:
            out.record(record)
        return
    headers = ("NAME", "WHERE", "SIZE", "MEMORY", "IN 4 BITS", "BACKBONE", "LICENCE")
    for line in table_lines(headers, map(_row, records), numbers=headers[2:5]):
        out.line(line)
    out.note(f"--model is {_default()[0]} unless said otherwise; known ones are not here yet")


def show_info(name: ModelName, output: OutputOptions) -> None:
    """Show all that is known of a model without loading or fetching it."""
    out = output.open()
    known = _absent(name)
    record = known_record(known) if known else catalog_record(opening.find_model(name))
    if out.json:
        out.record(record)
        return
    for key in list(record)[2:]:
        if record[key] is not None:
            out.line(f"{key}: {printable(str(record[key]))}")


def show_path(name: ModelName, output: OutputOptions) -> None:
    """Print the folder that a model lies in."""
    out = output.open()
    entry = opening.find_model(name)
    if out.json:
        out.record(catalog_record(entry))
    else:
        out.line(str(entry.folder))


def set_default(output: OutputOptions, name: OptionalName = None) -> None:
    """Say which model is used where no --model is given, or show which one that is."""
    out = output.open()
    path = config_path()
    if name is not None:
        entry = opening.find_model(name)
        value = str(entry.folder.absolute()) if entry.source == "folder" else entry.name
        write_setting(path, "model", value)
        _warn_of_environment(out)
    value, where = _default()
    if out.json:
        out.record(
            {
                "schema": SCHEMA,
                "type": "model_default",
                "name": value,
                "from": where,
                "config_file": str(path),
            }
        )
    else:
        out.line(value)
        out.note(f"from {where}")


def _default() -> tuple[str, str]:
    """Find the model that is used without --model, and who says so."""
    if os.environ.get(_MODEL_VARIABLE):
        return os.environ[_MODEL_VARIABLE], _MODEL_VARIABLE
    path = config_path()
    table = read_config(path)
    return (str(table["model"]), str(path)) if "model" in table else (DEFAULT_MODEL, "default")


def _warn_of_environment(out: Output) -> None:
    if os.environ.get(_MODEL_VARIABLE):
        out.warn(f"{_MODEL_VARIABLE} is set in the environment and beats the settings file")


def _absent(name: str) -> KnownModel | None:
    """Find a known model that is not here."""
    from pplava_core.models.store import find_known, shelf

    known = find_known(name)
    return known if known in shelf.absent_models() else None


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    return (
        printable(record["name"]),
        record["source"],
        _size(record["size_bytes"]),
        _size(record["weights_bytes"]),
        _size(record["quantized_weights_bytes"]),
        record["backbone"] or "none",
        printable(record["licence"]),
    )


def _size(size_bytes: int | None) -> str:
    if size_bytes is None:
        return ""
    if size_bytes < 1e9:
        return f"{size_bytes / 1e6:.1f} MB"
    return f"{size_bytes / 1e9:.1f} GB"
