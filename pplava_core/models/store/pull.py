"""Fetching a model from a hub into the cache's folder of models.

Everything is gathered in `NAME.partial`, which an interrupted run leaves for the next one,
and which becomes `NAME` once every file is there with the right hash. The commit is pinned
before the first file and written to `source.json`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pplava_core.errors import ModelError
from pplava_core.models.config import read_config
from pplava_core.models.store import hub
from pplava_core.models.store.download import Progress, Wanted, check_space, fill, sweep
from pplava_core.models.store.foreign import describe_foreign
from pplava_core.models.store.known import UNVERIFIED, AlignerSource, known_at
from pplava_core.models.store.safe_paths import check_index
from pplava_core.models.store.selection import choose_aligner_files, choose_model_files
from pplava_core.models.store.source import (
    ALIGNER_FOLDER,
    HubSource,
    SourceRecord,
    StoredFile,
    read_record,
    write_record,
)
from pplava_core.paths import models_directory

PARTIAL_SUFFIX = ".partial"


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """A model that is here now."""

    name: str
    folder: Path
    record: SourceRecord
    already_here: bool
    "Whether nothing had to be fetched."


def pull(
    source: HubSource,
    *,
    offline: bool = False,
    again: bool = False,
    progress: Progress | None = None,
) -> Pulled:
    """Bring a model here, or find that it is.

    Args:
        source: which one.
        offline: ask nobody, and be content with a copy of what was asked for.
        again: check every file and fetch what is damaged or missing, even if the model
            is here.
        progress: is told how many bytes of how many are here.

    Raises:
        ModelError: it cannot be fetched: no access, connection or space, a wrong hash, an
            unsafe name, or offline without a copy.
    """
    folder = models_directory() / source.name
    here = _record_here(folder, again=again)
    if offline:
        return _found_offline(folder, here, source)
    listing = hub.list_files(source)
    if here and here.revision == listing.commit and not again and _is_whole(folder, here):
        return Pulled(name=folder.name, folder=folder, record=here, already_here=True)
    chosen = choose_model_files(listing.files, source)
    partial = folder.with_name(folder.name + PARTIAL_SUFFIX)
    with _alone(partial):
        _reuse(folder, here, partial)
        record = _gather(source, listing, chosen, partial, progress)
        _take_place(partial, folder)
    return Pulled(name=folder.name, folder=folder, record=record, already_here=False)


def _record_here(folder: Path, *, again: bool) -> SourceRecord | None:
    """Read what is here by this name; a model that was not pulled is left alone."""
    try:
        record = read_record(folder)
    except ModelError:
        if not again:
            raise
        return None
    if record is None and folder.exists():
        raise ModelError(f"{folder} holds something that was not pulled; move it away first")
    return record


def _found_offline(folder: Path, here: SourceRecord | None, source: HubSource) -> Pulled:
    if here is None or not here.is_of(source) or not _is_whole(folder, here):
        raise ModelError(
            f"offline, and {source} is not here; `pplava models pull` without --offline and "
            "PPLAVA_OFFLINE fetches it"
        )
    return Pulled(name=folder.name, folder=folder, record=here, already_here=True)


def _is_whole(folder: Path, record: SourceRecord) -> bool:
    """Tell by their sizes whether all files are there; hashes are `verify`'s work."""
    paths = {folder / name: file.size_bytes for name, file in record.files.items()}
    return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())


@contextlib.contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """Make the partial folder, keep other runs out of it, and say plainly if it cannot be filled.

    Raises:
        ModelError: another run is at work, or the cache cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(partial.with_name(f".{partial.name}.lock"), timeout=0):
            partial.mkdir(exist_ok=True)
            yield
    except Timeout:
        raise ModelError(
            f"another `pplava models pull` is filling {partial}; wait for it to end"
        ) from None
    except OSError as error:
        raise ModelError(
            f"{partial} cannot be filled: {error}; PPLAVA_CACHE_DIR names another place"
        ) from error


def _reuse(folder: Path, here: SourceRecord | None, partial: Path) -> None:
    """Link what is here already into the partial folder, where `fill` checks it."""
    for name in here.files if here else ():
        old, new = folder / name, partial / name
        if old.is_file() and not new.exists():
            new.parent.mkdir(exist_ok=True)
            with contextlib.suppress(OSError):  # no hard links on this file system
                os.link(old, new)


def _gather(
    source: HubSource,
    listing: hub.Listing,
    chosen: dict[str, hub.HubFile],
    partial: Path,
    progress: Progress | None,
) -> SourceRecord:
    """Fetch the model's chosen files, then its aligner, and write down what they are."""
    at_commit = replace(source, revision=listing.commit)
    wanted = {name: Wanted(source=at_commit, file=file) for name, file in chosen.items()}
    check_space(partial, wanted)
    fill(partial, {"config.json": wanted["config.json"]})
    with _refusing(partial):
        aligner = _aligner_of(source, partial)
    aligner_commit = None
    if aligner:
        aligner_commit, files = _wanted_of_aligner(aligner)
        wanted |= files
        check_space(partial, wanted)
    fill(partial, wanted, progress)
    sweep(partial, wanted)
    with _refusing(partial):
        check_index(partial)
    known = known_at(source.repo, source.subfolder)
    record = SourceRecord(
        repo=source.repo,
        subfolder=source.subfolder,
        requested_revision=source.revision,
        revision=listing.commit,
        licence=listing.licence or (known.licence if known else UNVERIFIED),
        aligner_repo=aligner.repo if aligner else None,
        aligner_revision=aligner_commit,
        files={
            name: StoredFile(size_bytes=one.file.size_bytes, digest=one.file.digest)
            for name, one in sorted(wanted.items())
        },
    )
    write_record(record, partial)
    return record


def _aligner_of(source: HubSource, partial: Path) -> AlignerSource | None:
    """Say what has to be fetched beside the model, if anything.

    Raises:
        ModelError: this version cannot use such a model, so that the rest is not fetched.
    """
    foreign = describe_foreign(partial)
    if foreign is None:
        read_config(partial)
        return None
    if not foreign.backbone:
        raise ModelError(
            f"{source} is a {foreign.model_type!r} model, which no adapter of this version takes; "
            "`pplava models list` shows some that one takes"
        )
    known = known_at(source.repo, source.subfolder)
    aligner = known.aligner if known else foreign.aligner
    if aligner and aligner.weights_inside and aligner.has_bundled_tokenizer:
        return None
    return aligner


def _wanted_of_aligner(aligner: AlignerSource) -> tuple[str, dict[str, Wanted]]:
    source = HubSource(repo=aligner.repo)
    listing = hub.list_files(source)
    at_commit = replace(source, revision=listing.commit)
    chosen = choose_aligner_files(listing.files, source, weights=not aligner.weights_inside)
    return listing.commit, {
        f"{ALIGNER_FOLDER}/{name}": Wanted(source=at_commit, file=file)
        for name, file in chosen.items()
    }


@contextlib.contextmanager
def _refusing(partial: Path) -> Iterator[None]:
    """Keep nothing of a model that is refused."""
    try:
        yield
    except ModelError:
        shutil.rmtree(partial)
        raise


def _take_place(partial: Path, folder: Path) -> None:
    """Rename the partial folder into place; an old one goes only after the new one stands."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
