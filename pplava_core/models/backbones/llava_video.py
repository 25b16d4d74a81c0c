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

from pplava_core.media.preprocess import resize_picture
from pplava_core.models import tiles
from pplava_core.models.backbones import llava_next
from pplava_core.models.backbones.transformers_parts import pictures_of
from pplava_core.models.config import VideoLMConfig
from pplava_core.types import ClipSource, Preparation, VisualTokens

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

    def preparation(self, kind: str, *, native: bool = False) -> Preparation:
        """Say how pictures are made ready.

        OneVision's own path squashes films where pooling keeps their aspect, and does not cut
        a set's pictures but makes each a square.
        """
        if not native or kind == "image":
            return super().preparation(kind)
        if kind == "images":
            padded = replace(self.config.pixels, resize="pad")
            return Preparation(pixels=padded, cut=self._made_square, name="square")
        squashed = replace(self.config.pixels, resize="squash")
        return Preparation(pixels=squashed, cut=self._squashed, name="squash")

    def _made_square(self, picture: np.ndarray) -> np.ndarray:
        """Return a picture of a set, ``(1, height, width, 3)``, on its mean colour as a square."""
        colour = [int(255 * mean) for mean in self.config.tower["image_mean"]]
        side = max(picture.shape[:2])
        canvas = np.empty((side, side, 3), np.uint8)
        canvas[:] = colour
        top, left = ((side - extent) // 2 for extent in picture.shape[:2])
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        return resize_picture(canvas, replace(self.config.pixels, resize="squash"))[None]

    def _squashed(self, frame: np.ndarray) -> np.ndarray:
        """Return a film's frame, ``(1, height, width, 3)``, as OneVision's processor resizes it."""
        from transformers import LlavaOnevisionVideoProcessor

        size = {"height": self.config.pixels.height, "width": self.config.pixels.width}
        processor = LlavaOnevisionVideoProcessor(size=size, do_rescale=False, do_normalize=False)
        film = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None]
        pixels = processor([film], return_tensors="pt")["pixel_values_videos"][0]
        resized: np.ndarray = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        return resized

    def native(self, features: Tensor, source: ClipSource | None) -> VisualTokens:
        """Return the tokens that transformers' own class makes of a film or of pictures."""
        projected = self.base.multi_modal_projector(features.flatten(2, 3))[0]
        newline = self.base.image_newline
        if source is None or source.kind in ("video", "frames"):
            pooled = self.base.apply_pooling(projected).flatten(0, 1)
            tokens = torch.cat([pooled, newline[None].to(pooled)])[None]
            return VisualTokens(tokens=tokens, block_sizes=(tokens.shape[1],))
        pictures, sizes = pictures_of(projected, source)
        packed, _ = self.base.pack_image_features(
            pictures,
            sizes,
            image_newline=newline,
            vision_aspect_ratio=self.llm.config.vision_aspect_ratio,
        )
        return VisualTokens(
            tokens=torch.cat(list(packed))[None], block_sizes=tuple(len(one) for one in packed)
        )
