"""`pplava models pull`, `verify` and `rm`: models come, are checked, and go."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from pplava_cli import opening
from pplava_cli.config_file import config_path, read_config
from pplava_cli.console import StepProgress, printable
from pplava_cli.model_records import catalog_record
from pplava_cli.options import OutputOptions, complete_model, examples, takes_options
from pplava_cli.records import SCHEMA
from pplava_core.errors import UsageError


def complete_known(incomplete: str) -> list[str]:
    """Offer the short names that `pull` knows to the shell."""
    from pplava_core.models.store import known_models

    return [known.name for known in known_models() if known.name.startswith(incomplete)]


ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A model's name or folder.", autocompletion=complete_model
    ),
]
Source = Annotated[
    str,
    typer.Argument(
        metavar="NAME|OWNER/REPO",
        help=r"A known name, or a repository on the hub: owner/repo\[@revision]\[:subfolder].",
        autocompletion=complete_known,
    ),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        envvar="PPLAVA_OFFLINE",
        show_envvar=False,
        help="Ask no hub: be content with what is here.",
    ),
]
Again = Annotated[
    bool, typer.Option("--again", help="Check every file and fetch what is damaged or missing.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")]


def register(group: typer.Typer) -> None:
    """Add the commands to `pplava models`."""
    for name, command, lines in (
        (
            "pull",
            pull,
            (
                "pplava models pull ppllava-vicuna-7b",
                "pplava models pull llava-hf/llava-v1.6-vicuna-7b-hf@main",
                "pplava models pull owner/repo:folder --json",
            ),
        ),
        (
            "verify",
            verify,
            ("pplava models verify internvl3-1b", "pplava models verify internvl3-1b --json"),
        ),
        ("rm", remove, ("pplava models rm internvl3-1b", "pplava models rm internvl3-1b --yes")),
    ):
        group.command(name, epilog=examples(*lines))(takes_options(command))


def pull(
    source: Source, output: OutputOptions, offline: Offline = False, again: Again = False
) -> None:
    """Fetch a model from the hub; what an interrupted run fetched is kept and gone on with.

    Weights, settings and tokenizers only, never code. The commit is pinned and every file's
    hash is checked. HF_TOKEN or `hf auth login` opens gated repositories.
    """
    from pplava_core.models import store

    out = output.open()
    wanted = store.HubSource.parse(source)
    with out.progress(f"Fetching {printable(wanted.name)} (MB)") as progress:
        pulled = store.pull(wanted, offline=offline, again=again, progress=_megabytes(progress))
    if out.json:
        out.record(catalog_record(opening.find_model(pulled.name)))
        return
    record = pulled.record
    what = "was here already" if pulled.already_here else f"{record.size_bytes / 1e9:.2f} GB"
    out.line(f"{pulled.name}: {what}, in {pulled.folder}")
    out.note(f"{record.repo} at commit {record.revision}; licence: {printable(record.licence)}")
    out.note(f'try: pplava ask VIDEO "what happens?" --model {pulled.name}')


def verify(name: ModelName, output: OutputOptions) -> None:
    """Hash every file of a pulled model again and compare with what the hub promised."""
    from pplava_core.models.store import shelf

    out = output.open()
    folder = shelf.pulled_folder(name)
    with out.progress(f"Checking {printable(folder.name)} (MB)") as progress:
        record = shelf.verify(folder, _megabytes(progress))
    if out.json:
        out.record(
            {
                "schema": SCHEMA,
                "type": "model_verified",
                "name": folder.name,
                "repo": record.repo,
                "revision": record.revision,
                "file_count": len(record.files),
                "size_bytes": record.size_bytes,
            }
        )
        return
    size = f"{record.size_bytes / 1e9:.2f} GB"
    out.line(f"{folder.name}: {len(record.files)} files, {size}, all as {record.repo} has them")


def remove(name: ModelName, output: OutputOptions, yes: Yes = False) -> None:
    """Delete a model from the cache, and what an interrupted `pull` left of it."""
    from pplava_core.models.store import shelf

    out = output.open()
    folders = shelf.removable_folders(name)
    size = f"{sum(map(shelf.size_of, folders)) / 1e9:.2f} GB"
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"nobody can be asked whether {name} may go: give --yes")
        question = f"Delete {printable(', '.join(map(str, folders)))} ({size})?"
        if not typer.confirm(question, err=True):
            out.note("kept")
            return
    freed_bytes = shelf.remove(name)
    if out.json:
        out.record(
            {
                "schema": SCHEMA,
                "type": "model_removed",
                "name": folders[0].name,
                "freed_bytes": freed_bytes,
            }
        )
    else:
        out.line(f"{printable(name)} is gone, {freed_bytes / 1e9:.2f} GB freed")
    if read_config(config_path()).get("model") in (name, folders[0].name):
        out.warn(f"{name} is still the default model; `pplava models default nano` changes that")


def _megabytes(progress: StepProgress) -> Callable[[int, int], None]:
    """Let a bar count in megabytes, which people can read."""
    return lambda done, total: progress(done // 10**6, total // 10**6)
