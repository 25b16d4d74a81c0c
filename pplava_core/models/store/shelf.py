"""The models that were pulled: finding one, describing it, checking it, throwing it away.

Works on folders alone, without a network, and reads no weights but to hash them.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pplava_core.errors import ModelError, UsageError
from pplava_core.models.store.digests import matches
from pplava_core.models.store.download import Progress
from pplava_core.models.store.foreign import describe_foreign
from pplava_core.models.store.known import (
    UNVERIFIED,
    KnownModel,
    find_known,
    known_at,
    known_models,
)
from pplava_core.models.store.pull import PARTIAL_SUFFIX
from pplava_core.models.store.safe_paths import path_inside
from pplava_core.models.store.source import HubSource, SourceRecord, read_record
from pplava_core.paths import models_directory


@dataclass(frozen=True, kw_only=True)
class FolderFacts:
    """What can be said of a folder in somebody else's format without loading it."""

    description: str
    licence: str
    backbone: str
    "Empty where no adapter takes it."
    size_bytes: int
    record: SourceRecord | None
    "Where it was pulled from; None for a folder that came by another way."
    known: KnownModel | None
    "Its entry among the known models, if it has one."


def is_model_name(name: str) -> bool:
    """Tell a model's name from leftovers: of pulls that go on later, and of renames."""
    return name != "" and not name.startswith(".") and not name.endswith(PARTIAL_SUFFIX)


def facts_of(folder: Path) -> FolderFacts | None:
    """Describe a folder in transformers' format; None if it is not one.

    Raises:
        ModelError: its `source.json` is damaged.
    """
    foreign = describe_foreign(folder)
    if foreign is None:
        return None
    record = read_record(folder)
    known = known_at(record.repo, record.subfolder) if record else None
    where = f" from {record.repo}" if record else ""
    description = known.description if known else f"{foreign.model_type} model{where}"
    if foreign.backbone and foreign.aligner is None and not (folder / "aligner").is_dir():
        description += "; without an aligner (docs/training.md)"
    return FolderFacts(
        description=description,
        licence=record.licence if record else UNVERIFIED,
        backbone=foreign.backbone,
        size_bytes=size_of(folder),
        record=record,
        known=known,
    )


def folder_of_hub_name(name: str) -> Path | None:
    """Find the pulled model that `owner/repo[@revision][:subfolder]` means.

    Returns:
        Its folder; None if the name is no such thing, or nothing of it is here.
    """
    source = _source_of(name)
    if source is None:
        return None
    folder = models_directory() / source.name
    record = read_record(folder)
    if record is None or ("@" in name and not record.is_of(source)):
        return None
    return folder


def pulled_folder(name: str) -> Path:
    """Find the folder of a model that was pulled, whatever has become of its files.

    Raises:
        ModelError: no such model was pulled.
    """
    folder = folder_of_hub_name(name)
    if folder is None and Path(name).name == name:
        folder = models_directory() / name
    if folder is None or read_record(folder) is None:
        raise ModelError(
            missing_line(name)
            or f"{name} was not pulled from a hub, so there is nothing to compare it with"
        )
    return folder


def missing_line(name: str) -> str | None:
    """Say how to fetch a model that is not here; None if the name is none on a hub."""
    known, source = find_known(name), _source_of(name)
    if known is None and source is not None:
        known = known_at(source.repo, source.subfolder)
    if known is None and source is None:
        return None
    if known is None:
        return (
            f"{name} is neither a folder nor a model that was pulled; `pplava models pull {name}` "
            "looks for it on the hub"
        )
    size = f"{known.download_bytes / 1e9:.0f} GB"
    return f"{name} is not here; `pplava models pull {name}` fetches it ({size})"


def absent_models() -> list[KnownModel]:
    """Return the known models that are not here, in the data file's order."""
    shelf = models_directory()
    return [known for known in known_models() if not (shelf / known.name / "config.json").is_file()]


def verify(folder: Path, progress: Progress | None = None) -> SourceRecord:
    """Hash every file of a pulled model again, and compare with what the hub promised.

    Args:
        folder: the model's.
        progress: is told how many bytes of how many have been read.

    Returns:
        What was checked.

    Raises:
        ModelError: a file is missing or has changed, or nothing is recorded of this folder.
    """
    record = read_record(folder)
    if record is None:
        raise ModelError(f"{folder} was not pulled from a hub: there is nothing to compare it with")
    broken, done_bytes = [], 0
    for name, file in record.files.items():

        def report(of_this_bytes: int, before_bytes: int = done_bytes) -> None:
            if progress:
                progress(before_bytes + of_this_bytes, record.size_bytes)

        path = path_inside(folder, name, of=str(folder))
        if not path.is_file():
            broken.append(f"{name} is missing")
        elif path.stat().st_size != file.size_bytes or not matches(path, file.digest, report):
            broken.append(f"{name} has changed")
        done_bytes += file.size_bytes
    if broken:
        raise ModelError(
            f"{folder.name}: {', '.join(broken)}; `pplava models pull {record.argument} --again` "
            "fetches only that"
        )
    return record


def removable_folders(name: str) -> list[Path]:
    """Return what `remove` would delete: the model's folder, and what a pull left unfinished.

    Raises:
        UsageError: the name cannot be that of a model in the cache.
        ModelError: there is no such model there.
    """
    folder, source = folder_of_hub_name(name), _source_of(name)
    plain = folder.name if folder else source.name if source and "@" not in name else name
    if Path(plain).name != plain or not is_model_name(plain):
        raise UsageError(f"{name!r} is no model in {models_directory()}; give its name")
    found = [models_directory() / plain, models_directory() / (plain + PARTIAL_SUFFIX)]
    found = [path for path in found if path.is_dir()]
    if not found:
        raise ModelError(
            f"no model {name!r} in {models_directory()}; `pplava models list` shows all"
        )
    return found


def remove(name: str) -> int:
    """Delete a model from the cache, and what a pull of it left unfinished.

    A folder loses its name before its files go, so that half a model is never found. Of a
    symbolic link only the link goes.

    Returns:
        The bytes that are free again.

    Raises:
        UsageError: the name cannot be that of a model in the cache.
        ModelError: there is no such model there.
        OSError: a file cannot be deleted.
    """
    freed_bytes = 0
    for folder in removable_folders(name):
        if folder.is_symlink():
            folder.unlink()
            continue
        freed_bytes += size_of(folder)
        doomed = folder.with_name(f".{folder.name}.removed")
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
        shutil.rmtree(doomed)
    return freed_bytes


def size_of(folder: Path) -> int:
    """Return the size of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _source_of(name: str) -> HubSource | None:
    try:
        return HubSource.parse(name)
    except (UsageError, ModelError):
        return None
