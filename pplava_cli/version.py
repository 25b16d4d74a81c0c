"""`pplava version`: this package's version and those that its answers depend on."""

from __future__ import annotations

import platform
from importlib import metadata

import typer

from pplava_cli.options import OutputOptions, examples, takes_options
from pplava_cli.records import SCHEMA
from pplava_core import __version__

_EXAMPLES = examples("pplava version", "pplava version --json")

_LIBRARIES = ("torch", "transformers", "open_clip_torch", "av", "decord", "numpy", "pillow")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("version", epilog=_EXAMPLES)(takes_options(version))


def version(output: OutputOptions) -> None:
    """Show the versions of pplava and of the libraries under it."""
    out = output.open()
    versions: dict[str, str | None] = {
        "pplava": __version__,
        "python": platform.python_version(),
        **{name: _installed(name) for name in _LIBRARIES},
    }
    if out.json:
        out.record({"schema": SCHEMA, "type": "version", "versions": versions})
        return
    for name, number in versions.items():
        out.line(f"{name} {number or 'not installed'}")


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
