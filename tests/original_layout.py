"""A LLaVA-OneVision folder rewritten, name by name, as lmms-lab publishes such models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

_TEXT_FIELDS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "hidden_act",
)  # fmt: skip


def original_name(name: str) -> str:
    """Return what the original calls a tensor of transformers' OneVision folder."""
    if name.startswith("language_model.model."):
        return "model." + name.removeprefix("language_model.model.")
    if name.startswith("language_model.lm_head."):
        return name.removeprefix("language_model.")
    if name.startswith("vision_tower."):
        return "model.vision_tower.vision_tower.vision_model." + name.removeprefix("vision_tower.")
    if name.startswith("multi_modal_projector.linear_1."):
        return "model.mm_projector.0." + name.removeprefix("multi_modal_projector.linear_1.")
    if name.startswith("multi_modal_projector.linear_2."):
        return "model.mm_projector.2." + name.removeprefix("multi_modal_projector.linear_2.")
    assert name == "image_newline", name
    return "model.image_newline"


def write_original(
    onevision: Path, siglip: Path, folder: Path, *, tower: str = "own", **changes: Any
) -> Path:
    """Write the original layout of a OneVision folder; SigLIP's settings lie beside it.

    Args:
        onevision: transformers' folder; its tower has a layer less than ``siglip``'s.
        siglip: becomes ``aligner_source``.
        folder: made.
        tower: ``own`` as OneVision's, ``whole`` with SigLIP's last layer and head, ``none``.
        changes: to `config.json`; None takes a value away.
    """
    folder.mkdir()
    tensors = {original_name(k): v for k, v in load_file(onevision / "model.safetensors").items()}
    prefix = "model.vision_tower.vision_tower."
    if tower == "none":
        tensors = {name: value for name, value in tensors.items() if not name.startswith(prefix)}
    if tower == "whole":
        for name, value in load_file(siglip / "model.safetensors").items():
            if name.startswith("vision_model."):
                tensors.setdefault(prefix + name, value)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copy(onevision / "tokenizer_config.json", folder)
    tokenizer = json.loads((onevision / "tokenizer.json").read_text(encoding="utf-8"))
    places = ("<image>", "<video>")  # the original splits the text at them itself
    tokenizer["added_tokens"] = [
        token for token in tokenizer["added_tokens"] if token["content"] not in places
    ]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    values = json.loads((onevision / "config.json").read_text(encoding="utf-8"))
    text = values["text_config"]
    theta = text["rope_parameters"]["rope_theta"]
    original = {
        "architectures": ["LlavaQwenForCausalLM"],
        "model_type": "llava_qwen",
        **{name: text[name] for name in _TEXT_FIELDS},
        "rope_theta": theta,
        "image_aspect_ratio": values["vision_aspect_ratio"],
        "image_grid_pinpoints": values["image_grid_pinpoints"],
        "mm_hidden_size": values["vision_config"]["hidden_size"],
        "mm_newline_position": "one_token",
        "mm_patch_merge_type": "spatial_unpad",
        "mm_projector_type": "mlp2x_gelu",
        "mm_spatial_pool_mode": "bilinear",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "google/siglip-so400m-patch14-384",
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        **changes,
    }
    kept = {name: value for name, value in original.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept), encoding="utf-8")
    shutil.copytree(siglip, folder / "aligner_source")
    return folder


def tower_from_siglip(onevision: Path, siglip: Path) -> None:
    """Make a OneVision folder's tower the first layers of a SigLIP's, as in the originals."""
    path = onevision / "model.safetensors"
    tensors, source = load_file(path), load_file(siglip / "model.safetensors")
    for name in tensors:
        if name.startswith("vision_tower."):
            tensors[name] = source[name.replace("vision_tower.", "vision_model.")].clone()
    save_file(tensors, path, metadata={"format": "pt"})
    assert all(torch.isfinite(value).all() for value in tensors.values())
