"""Writes any model that can be loaded as a folder of this project's format.

Released checkpoints keep the aligner inside the projector and the BT-Adapter inside the
tower; in a converted folder each part has a place of its own, transformers alone can read
`base/`, and the language model may be stored in 4 or 8 bits.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pplava_core.errors import UsageError
from pplava_core.models.checkpoint import (
    ALIGNER_NAME,
    BASE_NAME,
    CONFIG_NAME,
    base_of,
    load_model,
    replacing_folder,
)
from pplava_core.models.placement import Placement

if TYPE_CHECKING:
    from pplava_core.models.videolm import VideoLM


def convert(source: Path, target: Path, *, quantize: str | None = None) -> None:
    """Convert a model folder; the target appears only when it is whole.

    Args:
        source: a folder that `load_model` reads.
        target: a folder that is not there yet.
        quantize: ``4bit``, ``8bit``, or None to keep the numbers as they are.

    Raises:
        UsageError: the target is there already, or the source is small and whole, or quantised.
        ModelError: the source cannot be loaded.
    """
    from pplava_core.models.layouts.aligner_folder import save_aligner
    from pplava_core.models.layouts.transformers_folder import aligner_of, hushed, load_settings
    from pplava_core.models.quantization import stored_quantization

    if target.exists():
        raise UsageError(f"{target} is there already; name a folder that is not")
    base = base_of(source)
    if base is None:
        raise UsageError(f"{source} is in this project's format and whole; copy the folder")
    settings = load_settings(base)
    stored = stored_quantization(settings)
    if stored:
        raise UsageError(f"{source} is stored in {stored} already; copy the folder")
    placement = Placement(dtype=settings.dtype, quantize=quantize)
    model = load_model(source, placement)
    with replacing_folder(target) as folder:
        with hushed():
            model.llm.save_pretrained(folder / BASE_NAME)
        model.words.save(folder / BASE_NAME)
        _copy_preprocessors(base, folder / BASE_NAME)
        if model.aligner is not None:
            save_aligner(aligner_of(model), folder / ALIGNER_NAME)
        _write_config(model, folder, target.name)


def _copy_preprocessors(base: Path, target: Path) -> None:
    """Bring along what other readers of a base model look for."""
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        if (base / name).is_file():
            shutil.copyfile(base / name, target / name)


def _write_config(model: VideoLM, folder: Path, name: str) -> None:
    config = dataclasses.replace(model.config, name=name)
    text = json.dumps(config.to_dict(), indent=2, ensure_ascii=False)
    (folder / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")
