"""The original layout of LLaVA-Video: `LlavaQwenForCausalLM`, as lmms-lab publishes it.

The same tower, projector and language model as LLaVA-OneVision's under other names, with one
flat configuration and, as a rule, SigLIP named and not included. Here it is said how such a
folder becomes transformers' classes. Knows no pictures and no prompts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pplava_core.errors import ModelError
from pplava_core.models.layouts import aligner_folder
from pplava_core.models.layouts.tensor_files import read_tensors

if TYPE_CHECKING:
    from torch import Tensor

KEY_MAPPING = {
    r"^model\.vision_tower\.vision_tower\.vision_model\.": "model.vision_tower.",
    r"^model\.mm_projector\.0\.": "model.multi_modal_projector.linear_1.",
    r"^model\.mm_projector\.2\.": "model.multi_modal_projector.linear_2.",
    r"^model\.(embed_tokens|layers|norm)\.": r"model.language_model.\1.",
}
STATISTICS = {"image_mean": [0.5] * 3, "image_deviation": [0.5] * 3}
"SigLIP's, for folders without a preprocessor."
NEWLINES = ("grid", "frame", "one_token", "no_token")
"Where a film's tokens are ended: every row of a frame, every frame, the film, nowhere."
_TOWER = "model.vision_tower."
_SUPPORTED = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_spatial_pool_mode": "bilinear",
    "mm_spatial_pool_stride": 2,
    "add_faster_video": False,
}
"What transformers' classes compute; a folder that asks for something else is refused."


def load_config(folder: Path) -> Any:
    """Return transformers' configuration of such a folder.

    Raises:
        ModelError: it asks for what transformers' classes cannot do, or names a tower whose
            configuration is nowhere.
    """
    from transformers import LlavaOnevisionConfig, Qwen2Config

    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    newline = values.get("mm_newline_position", "grid")
    for name, wanted in _SUPPORTED.items():
        if values.get(name, wanted) != wanted:
            raise ModelError(f"{folder}: {name} is {values[name]!r}; only {wanted!r} is read")
    if newline not in NEWLINES:
        raise ModelError(
            f"{folder}: mm_newline_position is {newline!r}, none of {', '.join(NEWLINES)}"
        )
    tower = _tower_settings(values, folder)
    known = {*Qwen2Config().to_dict(), "rope_theta", "rope_scaling"}
    known -= {"architectures", "model_type", "dtype", "transformers_version"}
    text = {name: value for name, value in values.items() if name in known}
    config = LlavaOnevisionConfig(
        text_config=Qwen2Config(**text),
        vision_config=tower,
        image_grid_pinpoints=_pinpoints(values.get("image_grid_pinpoints"), tower["image_size"]),
        vision_aspect_ratio=_aspect_ratio(values),
        tie_word_embeddings=bool(values.get("tie_word_embeddings", False)),
    )
    config.mm_newline_position = newline
    return config


def fill_missing(llm: Any, folder: Path, missing: Iterable[str]) -> set[str]:
    """Take the tower from the SigLIP beside the folder, where the folder has none of its own.

    Args:
        llm: transformers' model, loaded but for the tower.
        folder: the model's.
        missing: parameters that its files do not hold.

    Returns:
        Those that have their values now.

    Raises:
        ModelError: the SigLIP is not there, or lacks a tensor.
    """
    wanted = {name for name in missing if name.startswith(_TOWER)}
    if not wanted:
        return set()
    source = folder / aligner_folder.SOURCE_FOLDER
    if not (source / "config.json").is_file():
        raise ModelError(
            f"{folder} holds no vision tower: put the SigLIP that it names into {source}, or "
            "fetch the model with `pplava models pull`, which does"
        )
    found = read_tensors(source, lambda name: name.startswith("vision_model."))
    parameters = dict(llm.named_parameters())
    for name in sorted(wanted):
        _copy(
            parameters[name], found.get(f"vision_model.{name.removeprefix(_TOWER)}"), name, source
        )
    return wanted


def _copy(parameter: Tensor, value: Tensor | None, name: str, source: Path) -> None:
    if value is None or value.shape != parameter.shape:
        what = "lacks it" if value is None else f"has {tuple(value.shape)}"
        raise ModelError(f"{name} should be {tuple(parameter.shape)}, and {source} {what}")
    parameter.data.copy_(value)


def _tower_settings(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the tower's settings: the named SigLIP without its last layer and its head."""
    source = aligner_folder.named_source(str(values.get("mm_vision_tower")), folder)
    settings = json.loads((source / "config.json").read_text(encoding="utf-8"))
    vision: dict[str, Any] = settings["vision_config"]
    width = values.get("mm_hidden_size", vision["hidden_size"])
    if width != vision["hidden_size"]:
        raise ModelError(
            f"{folder} is for a tower of width {width}, {source} is {vision['hidden_size']} wide"
        )
    layers = vision["num_hidden_layers"] - 1
    return {**vision, "num_hidden_layers": layers, "vision_use_head": False}


def _aspect_ratio(values: dict[str, Any]) -> str:
    name = str(values.get("image_aspect_ratio"))
    return name if re.fullmatch(r"anyres_max_\d+", name) else "anyres_max_9"


def _pinpoints(value: Any, size: int) -> Any:
    """Return the sizes pictures are cut to; some folders write ``(1x1),...,(6x6)`` for all."""
    if not isinstance(value, str):
        return value
    ends = [tuple(map(int, pair)) for pair in re.findall(r"\((\d+)x(\d+)\)", value)]
    if not ends or "..." not in value:
        raise ModelError(f"image_grid_pinpoints is {value!r}; a list of sizes is read, or a range")
    (first_row, first_column), (last_row, last_column) = ends[0], ends[-1]
    return [
        [row * size, column * size]
        for row in range(first_row, last_row + 1)
        for column in range(first_column, last_column + 1)
    ]
