"""The dual encoder's weights as released checkpoints name them, renamed for open_clip's classes.

Released checkpoints keep the text tower under Hugging Face's names, with query, key and
value apart and the extended position table in two halves. Knows names and shapes of
tensors only; reading the files is somebody else's work.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pplava_core.errors import ModelError
from pplava_core.models.dual_encoder import PatchHeadSettings, TextTowerSettings

_BLOCK_NAMES = {
    "layer_norm1": "ln_1",
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


_UNREAD = (
    "linear_1.",
    "linear_2.",
    "logit_bias",
    "clip_text_model.embeddings.position_ids",
    "clip_visual_head.probe",
    "clip_visual_head.attention.out_proj.",
)
"What a released projector holds beside; the head's are read where its attention is asked for."


class _Weights:
    """The checkpoint's tensors, missed by name and not by `KeyError`."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self.read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise ModelError(f"the checkpoint has no tensor {name!r}; its files are incomplete")
        self.read.add(name)
        return self.tensors[name]

    def check_all_read(self) -> None:
        """Refuse what has no place."""
        strays = sorted(
            name for name in set(self.tensors) - self.read if not name.startswith(_UNREAD)
        )
        if strays:
            raise ModelError(
                f"the checkpoint has an unknown tensor {strays[0]!r} ({len(strays)} unknown); "
                "its config.json belongs to another model"
            )


def dual_encoder_state(
    tensors: Mapping[str, Tensor],
    text: TextTowerSettings,
    patches: PatchHeadSettings,
    *,
    kept: int = 20,
) -> dict[str, Tensor]:
    """Return a state dict for `DualEncoder` from the projector module of a released checkpoint.

    The bias on SigLIP's logits is left out, since a softmax does not see it, and so is what
    of its pooling head no patch passes through.

    Args:
        tensors: by name, without the prefix ``multi_modal_projector.``.
        text: settings of the text tower that will take them.
        patches: settings of the patch head that will take them.
        kept: positions that the extended table takes from its first half (Eq. 4).

    Raises:
        ModelError: a tensor is missing or unknown.
    """
    weights = _Weights(tensors)
    state = {"logit_scale": weights["logit_scale"].reshape(())}
    for name, tensor in _text_tower(weights, text, kept).items():
        state[f"text.{name}"] = tensor
    head = _clip_head(weights) if patches.kind == "clip" else _siglip_head(weights, patches)
    for name, tensor in head.items():
        state[f"patches.{name}"] = tensor
    weights.check_all_read()
    return state


def _text_tower(weights: _Weights, settings: TextTowerSettings, kept: int) -> dict[str, Tensor]:
    """Return the weights of open_clip's text transformer."""
    old = "clip_text_model"
    state = {
        "token_embedding.weight": weights[f"{old}.embeddings.token_embedding.weight"],
        "positional_embedding": _positions(weights, f"{old}.embeddings", kept),
    }
    for kind in ("weight", "bias"):
        state[f"ln_final.{kind}"] = weights[f"{old}.final_layer_norm.{kind}"]
        for layer in range(settings.layers):
            source, target = f"{old}.encoder.layers.{layer}", f"transformer.resblocks.{layer}"
            thirds = [weights[f"{source}.self_attn.{third}_proj.{kind}"] for third in "qkv"]
            state[f"{target}.attn.in_proj_{kind}"] = torch.cat(thirds)
            for theirs, ours in _BLOCK_NAMES.items():
                state[f"{target}.{ours}.{kind}"] = weights[f"{source}.{theirs}.{kind}"]
    if settings.projection_bias:
        state["text_projection.weight"] = weights[f"{old}.head.weight"]
        state["text_projection.bias"] = weights[f"{old}.head.bias"]
    else:
        state["text_projection"] = weights["clip_text_projection.weight"].T
    return state


def _positions(weights: _Weights, prefix: str, kept: int) -> Tensor:
    """Return the position table: in one piece, or with the rows after ``kept`` from the second."""
    if f"{prefix}.position_embedding.weight" in weights:
        return weights[f"{prefix}.position_embedding.weight"]
    first = weights[f"{prefix}.position_embedding"]
    second = weights[f"{prefix}.position_embedding_res"]
    return torch.cat([first[:kept], second[kept:]])


def _clip_head(weights: _Weights) -> dict[str, Tensor]:
    """Return the weights of `ClipPatchHead`."""
    return {
        "norm.weight": weights["clip_visual_ln.weight"],
        "norm.bias": weights["clip_visual_ln.bias"],
        "projection": weights["clip_visual_projection.weight"].T,
    }


def _siglip_head(weights: _Weights, settings: PatchHeadSettings) -> dict[str, Tensor]:
    """Return the weights of `SiglipPatchHead`."""
    old, state = "clip_visual_head", {}
    for kind in ("weight", "bias"):
        query, key, value = weights[f"{old}.attention.in_proj_{kind}"].chunk(3)
        state[f"norm.{kind}"] = weights[f"clip_visual_ln.{kind}"]
        state[f"value.{kind}"] = value
        state[f"mlp_norm.{kind}"] = weights[f"{old}.layernorm.{kind}"]
        state[f"fc1.{kind}"] = weights[f"{old}.mlp.fc1.{kind}"]
        state[f"fc2.{kind}"] = weights[f"{old}.mlp.fc2.{kind}"]
        if settings.probe_heads:
            state[f"query.{kind}"], state[f"key.{kind}"] = query, key
    if settings.probe_heads:
        state["probe"] = weights[f"{old}.probe"].flatten()
    return state
