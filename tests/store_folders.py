"""Folders as `pplava models pull` leaves them, written without a hub."""

from __future__ import annotations

import json
from pathlib import Path

from pplava_core.models.store.digests import digest_of
from pplava_core.models.store.source import SourceRecord, StoredFile, write_record
from pplava_core.paths import models_directory

CONFIG = {"model_type": "llava_next", "vision_config": {"model_type": "clip_vision_model"}}


def write_pulled(name: str, *, repo: str = "owner/small", revision: str = "a" * 40) -> Path:
    """Write a small pulled folder into the cache's folder of models."""
    folder = models_directory() / name
    (folder / "aligner_source").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(bytes(1000))
    (folder / "aligner_source" / "config.json").write_text("{}")
    files = {}
    for path in sorted(folder.rglob("*.*")):
        kind = "sha256" if path.suffix == ".safetensors" else "git-sha1"
        files[path.relative_to(folder).as_posix()] = StoredFile(
            size_bytes=path.stat().st_size, digest=digest_of(path, kind)
        )
    record = SourceRecord(
        repo=repo,
        subfolder="",
        requested_revision="main",
        revision=revision,
        licence="mit",
        aligner_repo="openai/clip-vit-large-patch14-336",
        aligner_revision="b" * 40,
        files=files,
    )
    write_record(record, folder)
    return folder
