"""How well every patch of a clip fits a text: the relevance of Eq. 1.

Pure tensors. Knows the arithmetic of both encoders of the paper (CLIP's projection of
patch tokens, the value path of SigLIP's pooling head) but no model class, no tokenizer
and no text; both sides come in as embeddings of the same width ``E``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pplava_core.errors import ShapeError


def relevance(
    patches: Tensor,
    text: Tensor,
    *,
    logit_scale: Tensor | float,
    mask: Tensor | None = None,
) -> Tensor:
    """Spread one unit of attention over all patches of a clip, by how well they fit its text.

    Eq. 1 of the paper: a softmax over all ``T * H * W`` patches of the scaled cosines.
    Clips of a batch never see each other.

    Args:
        patches: ``(B, T, H, W, E)`` patch embeddings, not normalised.
        text: ``(B, E)``, one text per clip, not normalised.
        logit_scale: factor on the cosine, already exponentiated (100 for OpenAI's CLIP).
        mask: ``(B, T, H, W)`` bool, False on the padding of a shorter or smaller clip.

    Returns:
        ``(B, T, H, W)`` float32 (float64 for float64 patches), summing to 1 over each clip,
        exactly 0 on padding.

    Raises:
        ShapeError: the shapes do not go together.
    """
    cosines = cosine_similarity(patches, text)
    scale = logit_scale.to(cosines.dtype) if isinstance(logit_scale, Tensor) else logit_scale
    logits = cosines * scale
    if mask is None:
        return logits.flatten(start_dim=1).softmax(dim=-1).view_as(logits)
    if mask.shape != logits.shape:
        raise ShapeError(
            f"a mask of {tuple(mask.shape)} does not go with patches of {tuple(logits.shape)} "
            "(B, T, H, W); both must describe the same patches"
        )
    logits = logits.masked_fill(~mask, torch.finfo(logits.dtype).min)
    return logits.flatten(start_dim=1).softmax(dim=-1).view_as(logits) * mask


def cosine_similarity(patches: Tensor, text: Tensor) -> Tensor:
    """Return the cosine between every patch and its clip's text.

    Always in float32 or better, also under autocast: a temperature of 100 turns the
    rounding of bfloat16 into a factor of 1.5 on the relevance.

    Args:
        patches: ``(B, T, H, W, E)``.
        text: ``(B, E)``.

    Returns:
        ``(B, T, H, W)``, -1 to 1; 0 for a patch or a text of all zeros.

    Raises:
        ShapeError: the shapes do not go together.
    """
    if patches.ndim != 5 or text.shape != (patches.shape[0], patches.shape[-1]):
        raise ShapeError(
            f"patches of {tuple(patches.shape)} (B, T, H, W, E) do not go with texts of "
            f"{tuple(text.shape)} (B, E); give one text embedding of that width per clip"
        )
    dtype = torch.promote_types(patches.dtype, torch.float32)
    with torch.autocast(device_type=patches.device.type, enabled=False):
        directions = F.normalize(patches.to(dtype), dim=-1)
        return torch.einsum("bthwe,be->bthw", directions, F.normalize(text.to(dtype), dim=-1))


def clip_patch_embeddings(
    features: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    projection: Tensor,
    *,
    eps: float = 1e-5,
) -> Tensor:
    """Carry CLIP's patch features into the space that it shares with its texts.

    The post-layernorm of the vision tower, then its visual projection, on every patch token
    as the tower itself does it on the class token (the paper names the projection only).

    Args:
        features: ``(..., D)`` from the tower's second-to-last layer.
        norm_weight: ``(D,)``.
        norm_bias: ``(D,)``.
        projection: ``(D, E)``, without a bias.
        eps: of the layernorm.

    Returns:
        ``(..., E)``, not normalised.
    """
    normed = F.layer_norm(features, (features.shape[-1],), norm_weight, norm_bias, eps)
    return normed @ projection


@dataclass(frozen=True, kw_only=True)
class SiglipValuePath:
    """The tensors of SigLIP's pooling head that a single patch passes through."""

    norm_weight: Tensor
    "``(D,)`` of the tower's post-layernorm."
    norm_bias: Tensor
    value_weight: Tensor
    "``(D, D)``: the last third of the attention's input projection."
    value_bias: Tensor
    mlp_norm_weight: Tensor
    "``(D,)`` of the head's own layernorm."
    mlp_norm_bias: Tensor
    fc1_weight: Tensor
    "``(M, D)``."
    fc1_bias: Tensor
    fc2_weight: Tensor
    "``(D, M)``."
    fc2_bias: Tensor
    eps: float = 1e-6
    "Of both layernorms."


def siglip_patch_embeddings(features: Tensor, path: SiglipValuePath) -> Tensor:
    """Carry SigLIP's patch features into the space that it shares with its texts.

    SigLIP pools with an attention head and has no projection; of that head every patch
    takes the value path alone: value, then the head's MLP with its residual. Probe, query,
    key and output projection play no part.

    Args:
        features: ``(..., D)`` before the tower's post-layernorm.
        path: the weights.

    Returns:
        ``(..., D)``, not normalised.
    """
    width = (features.shape[-1],)
    normed = F.layer_norm(features, width, path.norm_weight, path.norm_bias, path.eps)
    value = F.linear(normed, path.value_weight, path.value_bias)
    inner = F.layer_norm(value, width, path.mlp_norm_weight, path.mlp_norm_bias, path.eps)
    inner = F.gelu(F.linear(inner, path.fc1_weight, path.fc1_bias), approximate="tanh")
    return value + F.linear(inner, path.fc2_weight, path.fc2_bias)


def siglip_probe_attention(
    features: Tensor,
    query: Tensor,
    path: SiglipValuePath,
    *,
    key_weight: Tensor,
    key_bias: Tensor,
    heads: int,
    mask: Tensor | None = None,
) -> Tensor:
    """Return where SigLIP's own pooling probe looks in every frame, whatever the text.

    The authors' option ``valuew_plus`` multiplies relevance by this, times 1000.

    Args:
        features: ``(B, T, H, W, D)`` before the tower's post-layernorm.
        query: ``(D,)``: the probe after its query projection.
        path: the layernorm is taken from it.
        key_weight: ``(D, D)``.
        key_bias: ``(D,)``.
        heads: divides ``D``.
        mask: ``(B, T, H, W)`` bool, False on padding.

    Returns:
        ``(B, T, H, W)``, the mean over heads; sums to 1 over each frame.
    """
    width = (features.shape[-1],)
    normed = F.layer_norm(features, width, path.norm_weight, path.norm_bias, path.eps)
    keys = torch.unflatten(F.linear(normed, key_weight, key_bias), -1, (heads, -1))
    queries = query.view(heads, -1)
    logits = torch.einsum("bthwnd,nd->bnthw", keys, queries) * queries.shape[-1] ** -0.5
    if mask is not None:
        logits = logits.masked_fill(~mask.unsqueeze(1), torch.finfo(logits.dtype).min)
    attention: Tensor = logits.flatten(start_dim=3).softmax(dim=-1).view_as(logits).mean(dim=1)
    return attention if mask is None else attention * mask
