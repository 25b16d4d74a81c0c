"""Which models there are: the embedded one, and any folder that holds one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pplava_core.errors import ModelError
from pplava_core.models.config import VideoLMConfig, read_config
from pplava_core.models.store import shelf
from pplava_core.paths import models_directory

EMBEDDED = Path(__file__).parent / "embedded"
DEFAULT_MODEL = "nano"


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model on this machine."""

    name: str
    folder: Path
    description: str
    licence: str
    size_bytes: int
    "Of all its files."
    backbone: str
    source: str
    "`embedded`, `pulled` or `local` (both in the cache's folder of models) or `folder`."


def list_models() -> list[ModelEntry]:
    """Return the embedded models and those in the cache, by name; damaged folders are left out."""
    entries = {}
    for source, parent in (("local", models_directory()), ("embedded", EMBEDDED)):
        for path in sorted(parent.glob("*/config.json")):
            if not shelf.is_model_name(path.parent.name):
                continue
            try:
                entries[path.parent.name] = _entry(path.parent, source)
            except ModelError:
                continue
    return [entries[name] for name in sorted(entries)]


def find_model(name_or_path: str) -> ModelEntry:
    """Find a model by its name, the folder it lies in, or the `owner/repo` it was pulled from.

    Raises:
        ModelError: there is no such model, or its folder is incomplete.
    """
    for source, parent in (("embedded", EMBEDDED), ("local", models_directory())):
        folder = parent / name_or_path
        if Path(name_or_path).name == name_or_path and (folder / "config.json").is_file():
            return _entry(folder, source)
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return _entry(folder, "folder")
    pulled = shelf.folder_of_hub_name(name_or_path)
    if pulled is not None:
        return _entry(pulled, "local")
    missing = shelf.missing_line(name_or_path)
    if missing is not None:
        raise ModelError(missing)
    known = ", ".join(entry.name for entry in list_models()) or "none"
    raise ModelError(f"no model {name_or_path!r}: give one of {known}, or a model's folder")


def _entry(folder: Path, source: str) -> ModelEntry:
    facts = shelf.facts_of(folder)
    if facts is not None:
        return ModelEntry(
            name=folder.name,
            folder=folder,
            description=facts.description,
            licence=facts.licence,
            size_bytes=facts.size_bytes,
            backbone=facts.backbone,
            source="pulled" if facts.record and source == "local" else source,
        )
    config: VideoLMConfig = read_config(folder)
    return ModelEntry(
        # On a shelf a model goes by its folder's name: that is what finds it there.
        name=config.name if source == "folder" else folder.name,
        folder=folder,
        description=config.description,
        licence=config.licence,
        size_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        backbone=config.backbone,
        source=source,
    )
