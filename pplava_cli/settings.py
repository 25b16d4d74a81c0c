"""`pplava settings`: what every setting is at the moment, and who says so."""

from __future__ import annotations

import os
from typing import Any

import typer

from pplava_cli.config_file import (
    config_path,
    names_of,
    read_config,
    settings_of,
    variables_of,
)
from pplava_cli.options import OutputOptions, examples, takes_options
from pplava_cli.records import SCHEMA

_EXAMPLES = examples("pplava settings", "PPLAVA_FRAMES=32 pplava settings --json")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("settings", epilog=_EXAMPLES)(takes_options(settings))


def settings(context: typer.Context, output: OutputOptions) -> None:
    """Show every setting, its value, and where that comes from.

    A flag on the command line beats the environment, which beats the file, which beats the
    default.
    """
    out = output.open()
    path = config_path()
    table = read_config(path)
    rows = [
        _row(name, parameter, table, str(path))
        for name, parameter in sorted(settings_of(context.find_root().command).items())
        if name == names_of(parameter)[0]
    ]
    if out.json:
        out.record(
            {"schema": SCHEMA, "type": "settings", "config_file": str(path), "settings": rows}
        )
        return
    out.line(f"# {path}" + ("" if path.exists() else " (not there yet)"))
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        value = "(not set)" if row["value"] is None else row["value"]
        out.line(f"{row['name']:<{width}} = {value}  # {row['source']}")


def _row(name: str, parameter: Any, table: dict[str, Any], path: str) -> dict[str, Any]:
    """Find out which of the three places speaks for one setting."""
    for variable in variables_of(parameter):
        if os.environ.get(variable):
            return {"name": name, "value": os.environ[variable], "source": variable}
    for known in names_of(parameter):
        if known in table:
            return {"name": name, "value": table[known], "source": path}
    default = parameter.default
    return {"name": name, "value": getattr(default, "value", default), "source": "default"}
