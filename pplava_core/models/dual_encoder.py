"""The two encoders whose agreement is relevance: a text tower and a head on the patches.

Built on open_clip's text transformer, from the settings of a checkpoint and never from one
of open_clip's named configurations. Knows token ids and patch features; no tokenizer, no
pictures, no files. The arithmetic of the patch side and of Eq. 1 itself is in `alignment`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pplava_core import alignment, context
from pplava_core.errors import ModelError, ShapeError
from pplava_core.models.open_clip_parts import load_text_transformer


@dataclass(frozen=True, kw_only=True)
class TextTowerSettings:
    """The shape of a text tower; the defaults are OpenAI CLIP's habits."""

    width: int
    layers: int
    heads: int
    vocab_size: int
    embed_dim: int
    "Width of the space shared with the patches."
    context_length: int = 77
    "Rows of the position table."
    mlp_width: int | None = None
    "Inner width of the feed-forward layers; None is four times the width."
    activation: Literal["gelu", "gelu_tanh", "quick_gelu"] = "gelu"
    causal: bool = True
    "Whether a token sees only those before it. A bidirectional tower sees padding too."
    pooling: Literal["argmax", "eos", "last"] = "argmax"
    "The position that stands for the text: highest id, first `eos_id`, or the last one."
    eos_id: int | None = None
    "Needed by the pooling `eos`."
    projection_bias: bool = False
    eps: float = 1e-5
    "Of the layernorms."

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ModelError(
                f"a text tower {self.width} wide cannot have {self.heads} heads; the width must "
                "be a multiple of the heads"
            )
        if self.pooling == "eos" and self.eos_id is None:
            raise ModelError("a text tower pooled at its end mark needs to know it; set eos_id")


@dataclass(frozen=True, kw_only=True)
class PatchHeadSettings:
    """The shape of the head that carries patch features into the shared space."""

    kind: Literal["clip", "siglip"] = "clip"
    width: int
    "Width of the vision tower's features."
    embed_dim: int
    "Width of the shared space; for `siglip` the same as `width`."
    mlp_width: int | None = None
    "Inner width of SigLIP's pooling head; None is four times the width."
    probe_heads: int | None = None
    "Attention heads of SigLIP's probe, where relevance is multiplied with its attention."
    eps: float = 1e-5
    "Of the layernorms; 1e-6 in SigLIP."

    def __post_init__(self) -> None:
        if self.kind == "siglip" and self.width != self.embed_dim:
            raise ModelError(
                f"a SigLIP head keeps its width: {self.width} is not {self.embed_dim}; "
                "set embed_dim to the width"
            )


class ClipPatchHead(nn.Module):
    """CLIP's post-layernorm and visual projection, applied to every patch."""

    def __init__(self, settings: PatchHeadSettings) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(settings.width, eps=settings.eps)
        self.projection = nn.Parameter(torch.empty(settings.width, settings.embed_dim))
        nn.init.normal_(self.projection, std=settings.width**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(..., E)`` for features ``(..., D)``."""
        return alignment.clip_patch_embeddings(
            features, self.norm.weight, self.norm.bias, self.projection, eps=self.norm.eps
        )


class SiglipPatchHead(nn.Module):
    """What of SigLIP's attention-pooling head a single patch passes through.

    The probe, its query and the keys exist only where its attention is asked for.
    """

    def __init__(self, settings: PatchHeadSettings) -> None:
        super().__init__()
        width, inner = settings.width, settings.mlp_width or 4 * settings.width
        self.probe_heads = settings.probe_heads
        self.norm = nn.LayerNorm(width, eps=settings.eps)
        self.value = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=settings.eps)
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        if settings.probe_heads:
            self.probe = nn.Parameter(torch.randn(width) * width**-0.5)
            self.query = nn.Linear(width, width)
            self.key = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(..., D)`` for features ``(..., D)``."""
        return alignment.siglip_patch_embeddings(features, self._path())

    def probe_attention(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return ``(B, T, H, W)``: where the probe looks, summing to 1 over each frame."""
        assert self.probe_heads, "a head without a probe was asked for its attention"
        return alignment.siglip_probe_attention(
            features,
            self.query(self.probe),
            self._path(),
            key_weight=self.key.weight,
            key_bias=self.key.bias,
            heads=self.probe_heads,
            mask=mask,
        )

    def _path(self) -> alignment.SiglipValuePath:
        """Hand the weights to the arithmetic."""
        return alignment.SiglipValuePath(
            norm_weight=self.norm.weight,
            norm_bias=self.norm.bias,
            value_weight=self.value.weight,
            value_bias=self.value.bias,
            mlp_norm_weight=self.mlp_norm.weight,
            mlp_norm_bias=self.mlp_norm.bias,
            fc1_weight=self.fc1.weight,
            fc1_bias=self.fc1.bias,
            fc2_weight=self.fc2.weight,
            fc2_bias=self.fc2.bias,
            eps=self.norm.eps,
        )


class DualEncoder(nn.Module):
    """A text tower and a patch head whose cosines say how well a patch fits a text."""

    def __init__(self, text: TextTowerSettings, patches: PatchHeadSettings) -> None:
        super().__init__()
        if text.embed_dim != patches.embed_dim:
            raise ModelError(
                f"texts of {text.embed_dim} and patches of {patches.embed_dim} cannot be "
                "compared; give both sides the same embed_dim"
            )
        self.text_settings, self.patch_settings = text, patches
        self.text: Any = _text_tower(text)
        heads: dict[str, Any] = {"clip": ClipPatchHead, "siglip": SiglipPatchHead}
        self.patches: Any = heads[patches.kind](patches)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @classmethod
    def from_settings(cls, text: TextTowerSettings, *, patch_width: int) -> DualEncoder:
        """Make an untrained encoder in CLIP's manner, initialised for contrastive training.

        Args:
            text: the text tower; its ``embed_dim`` is the shared space.
            patch_width: width of the vision tower's features.
        """
        return cls(text, PatchHeadSettings(width=patch_width, embed_dim=text.embed_dim))

    @property
    def context_length(self) -> int:
        """The longest text, in tokens, that the tower reads."""
        return self.text_settings.context_length

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.logit_scale.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.logit_scale.dtype

    def embed_text(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return one embedding per text.

        A causal tower computes nothing beyond the last position that any text of the batch
        is pooled at, so padding to a fixed length costs nothing.

        Args:
            ids: ``(B, L)`` token ids.
            mask: ``(B, L)``, false or 0 on padding. A bidirectional tower ignores it, as
                SigLIP does.

        Returns:
            ``(B, E)``, not normalised.

        Raises:
            ShapeError: the texts are longer than the position table.
        """
        if ids.ndim != 2 or ids.shape[1] > self.context_length:
            raise ShapeError(
                f"token ids of {tuple(ids.shape)} (B, L) do not fit a text tower of "
                f"{self.context_length} positions; cut the text or extend the tower's context"
            )
        ends = self._pooled_positions(ids)
        if self.text_settings.causal:
            ids = ids[:, : int(ends.max()) + 1]
        states = self.text.token_embedding(ids) + self.text.positional_embedding[: ids.shape[1]]
        states = self.text.transformer(states, attn_mask=self._attention_mask(ids, mask, ends))
        pooled = states[torch.arange(len(ids), device=ids.device), ends]
        pooled = self.text.ln_final(pooled)
        projection = self.text.text_projection
        embedded: Tensor = (
            projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
        )
        return embedded

    def embed_patches(self, features: Tensor) -> Tensor:
        """Return ``(B, T, H, W, E)``, not normalised, for features ``(B, T, H, W, D)``."""
        embedded: Tensor = self.patches(features)
        return embedded

    def relevance(
        self,
        features: Tensor,
        ids: Tensor,
        *,
        text_mask: Tensor | None = None,
        patch_mask: Tensor | None = None,
    ) -> Tensor:
        """Return how well every patch fits its clip's text (Eq. 1).

        Args:
            features: ``(B, T, H, W, D)`` of the vision tower.
            ids: ``(B, L)``, one text per clip.
            text_mask: ``(B, L)``, false or 0 on padding.
            patch_mask: ``(B, T, H, W)`` bool, False on the padding of a smaller clip.

        Returns:
            ``(B, T, H, W)`` float32, summing to 1 over each clip. With a SigLIP probe the
            authors' ``valuew_plus`` instead: that times 1000 times the probe's attention.
        """
        return self.score(
            self.embed_patches(features), self.embed_text(ids, text_mask), features, patch_mask
        )

    def score(
        self, patches: Tensor, texts: Tensor, features: Tensor, patch_mask: Tensor | None = None
    ) -> Tensor:
        """Return `relevance` from embeddings that are known already.

        Args:
            patches: ``(B, T, H, W, E)`` of `embed_patches`.
            texts: ``(B, E)`` of `embed_text`.
            features: ``(B, T, H, W, D)``, which only a SigLIP probe looks at.
            patch_mask: ``(B, T, H, W)`` bool, False on padding.
        """
        shares = alignment.relevance(
            patches, texts, logit_scale=self.logit_scale.exp(), mask=patch_mask
        )
        if not self.patch_settings.probe_heads:
            return shares
        attention: Tensor = self.patches.probe_attention(
            features.to(self.device, self.dtype), patch_mask
        )
        return shares * attention * 1000

    @torch.no_grad()
    def extend_context(
        self,
        *,
        kept: int = 20,
        factor: int = 4,
        how: str = "asymmetric",
        generator: torch.Generator | None = None,
    ) -> None:
        """Stretch the position table in place, so that longer texts fit (Eq. 4: 77 to 248).

        The table is a new parameter afterwards: an optimizer made before does not know it.

        Raises:
            ShapeError: the table has no rows beyond ``kept``.
            UsageError: an unknown way to stretch it.
        """
        table = context.extend_positions(
            self.text.positional_embedding, kept=kept, factor=factor, how=how, generator=generator
        )
        self.text.positional_embedding = nn.Parameter(table)
        self.text.context_length = self.text.num_pos = len(table)
        self.text_settings = replace(self.text_settings, context_length=len(table))

    def _pooled_positions(self, ids: Tensor) -> Tensor:
        """Return ``(B,)``: the position that stands for each text."""
        settings = self.text_settings
        if settings.pooling == "last":
            return torch.full((len(ids),), ids.shape[1] - 1, device=ids.device)
        if settings.pooling == "eos":
            return torch.eq(ids, settings.eos_id or 0).int().argmax(dim=-1)
        return ids.argmax(dim=-1)

    def _attention_mask(self, ids: Tensor, mask: Tensor | None, ends: Tensor) -> Tensor | None:
        """Return what to add to the attention logits, ``(L, L)`` or ``(B * heads, L, L)``.

        Padding behind a text's pooled position is hidden by causality alone; only padding
        before it (to the left) needs a mask of its own for every text.
        """
        if not self.text_settings.causal:
            return None
        length = ids.shape[1]
        ahead = torch.ones(length, length, dtype=torch.bool, device=ids.device).triu(1)
        blocked = ahead
        if mask is not None:
            padding = ~mask[:, :length].bool()
            before_end = torch.arange(length, device=ids.device) <= ends[:, None]
            if bool((padding & before_end).any()):
                # a token always sees itself: a row of nothing but -inf would be NaN
                itself = torch.eye(length, dtype=torch.bool, device=ids.device)
                blocked = (ahead | padding[:, None, :]) & ~itself
                blocked = blocked.repeat_interleave(self.text_settings.heads, dim=0)
        additive = torch.zeros(blocked.shape, device=ids.device)
        return additive.masked_fill_(blocked, float("-inf"))


def _text_tower(settings: TextTowerSettings) -> Any:
    """Build open_clip's text transformer, randomly initialised as open_clip does for training."""
    parts = load_text_transformer()
    activations = {
        "gelu": nn.GELU,
        "gelu_tanh": partial(nn.GELU, approximate="tanh"),
        "quick_gelu": parts.QuickGELU,
    }
    mlp_width = settings.mlp_width or 4 * settings.width
    return parts.TextTransformer(
        context_length=settings.context_length,
        vocab_size=settings.vocab_size,
        width=settings.width,
        heads=settings.heads,
        layers=settings.layers,
        # open_clip cuts width * ratio to a whole number; the half keeps that exact
        mlp_ratio=(mlp_width + 0.5) / settings.width,
        output_dim=settings.embed_dim,
        # masks are made in `_attention_mask`, for the length at hand
        no_causal_mask=True,
        proj_bias=settings.projection_bias,
        act_layer=activations[settings.activation],
        norm_layer=partial(parts.LayerNorm, eps=settings.eps),
    )
