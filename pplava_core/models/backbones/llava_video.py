"""The adapter of LLaVA-OneVision and LLaVA-Video: SigLIP so400m-384 and Qwen2.

Takes `llava-hf/llava-onevision-*`, the authors' SigLIP folders, and the original layout of
`lmms-lab/LLaVA-Video-*`, whose tensors are renamed while they are loaded.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pplava_core.models import tiles
from pplava_core.models.backbones import llava_next
from pplava_core.models.config import VideoLMConfig
from pplava_core.types import ClipSource, VisualTokens

load_config = llava_next.load_config
key_mapping = llava_next.key_mapping


def describe(folder: Path, config: Any) -> VideoLMConfig:
    """Say what a folder's model is, in this project's terms."""
    described = llava_next.describe_released(
        folder, config, backbone="llava_video", resize="pad", base_template="llava_onevision"
    )
    if described.tower["short_padding"]:  # a checkpoint of the authors pads films so, too
        return replace(described, pixels=replace(described.pixels, resize="pad_short"))
    return described


class Parts(llava_next.Parts):
    """LLaVA-OneVision's tower, projector and layout of tiles."""

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """Return the tiles of a picture, the whole of it first."""
        return tiles.cut_llava_onevision(
            picture,
            self.llm.config.image_grid_pinpoints,
            self.config.pixels.height,
            short_padding=self.config.tower.get("short_padding", False),
        )

    def native(self, features: Tensor, source: ClipSource | None) -> VisualTokens:
        """Return the tokens that transformers' own class makes of a film or a cut picture."""
        projected = self.base.multi_modal_projector(features.flatten(2, 3))[0]
        newline = self.base.image_newline
        if source is None or source.kind in ("video", "frames"):
            pooled = self.base.apply_pooling(projected).flatten(0, 1)
            tokens = torch.cat([pooled, newline[None].to(pooled)])[None]
            return VisualTokens(tokens=tokens, block_sizes=(tokens.shape[1],))
        pictures = [projected] if source.kind == "image" else list(projected[:, None])
        packed, _ = self.base.pack_image_features(
            pictures,
            torch.tensor([[source.height, source.width]] * len(pictures)),
            image_newline=newline,
            vision_aspect_ratio=self.llm.config.vision_aspect_ratio,
        )
        return VisualTokens(
            tokens=torch.cat(list(packed))[None], block_sizes=tuple(len(one) for one in packed)
        )
