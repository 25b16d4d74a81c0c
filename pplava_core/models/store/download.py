"""Filling a folder with wanted files: what is there is checked, the rest is fetched.

A file gets its name only once its hash is right; until then it grows in `.incoming` under
its hash, where the next run finds it. Knows nothing of models.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from pplava_core.errors import ModelError
from pplava_core.models.store import hub
from pplava_core.models.store.digests import matches
from pplava_core.models.store.safe_paths import path_inside
from pplava_core.models.store.source import HubSource

INCOMING = ".incoming"

Progress = Callable[[int, int], None]
"""Told how many bytes of how many are done."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One file to fetch."""

    source: HubSource
    "Its repository, at a commit."
    file: hub.HubFile


def free_disk_bytes(folder: Path) -> int:
    """Return how much may be written where the folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_space(folder: Path, wanted: Mapping[str, Wanted]) -> None:
    """Make sure that what is still missing fits on the disk.

    Raises:
        ModelError: it does not.
    """
    missing_bytes = sum(
        one.file.size_bytes - _bytes_here(folder, name, one) for name, one in wanted.items()
    )
    free_bytes = free_disk_bytes(folder)
    if missing_bytes > free_bytes:
        raise ModelError(
            f"no space: {missing_bytes / 1e9:.1f} GB are to be fetched into {folder.parent}, where "
            f"{free_bytes / 1e9:.1f} GB are free; make room, or set PPLAVA_CACHE_DIR"
        )


def fill(folder: Path, wanted: Mapping[str, Wanted], progress: Progress | None = None) -> None:
    """Bring all wanted files into the folder, each under its key.

    Raises:
        ModelError: a file cannot be fetched, or is not what the hub promised. Whatever has
            arrived stays for the next run.
    """
    total_bytes = sum(one.file.size_bytes for one in wanted.values())
    done_bytes = 0
    for name, one in sorted(wanted.items(), key=lambda item: item[1].file.size_bytes):

        def report(of_this_bytes: int, before_bytes: int = done_bytes) -> None:
            if progress:
                progress(before_bytes + of_this_bytes, total_bytes)

        _bring(folder, name, one, report)
        done_bytes += one.file.size_bytes


def sweep(folder: Path, wanted: Container[str]) -> None:
    """Delete all files but the wanted ones: leftovers of other runs."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in wanted:
            path.unlink()


def _bring(folder: Path, name: str, wanted: Wanted, report: Callable[[int], None]) -> None:
    target, file = path_inside(folder, name, of=str(wanted.source)), wanted.file
    if target.exists():
        if target.stat().st_size == file.size_bytes and matches(target, file.digest, report):
            return
        target.unlink()
    incoming = _incoming(folder, file)
    incoming.parent.mkdir(exist_ok=True)
    hub.fetch(wanted.source, file, incoming, report)
    if not matches(incoming, file.digest):
        incoming.unlink()
        raise ModelError(
            f"{file.name} of {wanted.source} arrived damaged (its hash is not {file.digest}); it "
            "was thrown away, and the same command fetches it again"
        )
    target.parent.mkdir(exist_ok=True)
    incoming.replace(target)


def _incoming(folder: Path, file: hub.HubFile) -> Path:
    return folder / INCOMING / file.digest.replace(":", "-")


def _bytes_here(folder: Path, name: str, wanted: Wanted) -> int:
    """Return how much of a file need not be fetched any more."""
    for path in (folder / name, _incoming(folder, wanted.file)):
        if path.is_file():
            return min(path.stat().st_size, wanted.file.size_bytes)
    return 0
