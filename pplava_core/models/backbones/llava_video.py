"""The adapter of LLaVA-OneVision and LLaVA-Video: SigLIP so400m-384 and Qwen2.

Takes `llava-hf/llava-onevision-*`, the authors' SigLIP folders, and the original layout of
`lmms-lab/LLaVA-Video-*`, see `llava_qwen`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pplava_core.media.preprocess import resize_picture
from pplava_core.models import tiles
from pplava_core.models.backbones import is_original, llava_next, llava_qwen
from pplava_core.models.backbones.transformers_parts import pictures_of, square
from pplava_core.models.config import VideoLMConfig
from pplava_core.models.language.prompts import VISUAL
from pplava_core.types import ClipSource, Preparation, VisualTokens


def load_config(folder: Path) -> Any:
    """Return transformers' configuration of a folder."""
    return (llava_qwen if _is_original(folder) else llava_next).load_config(folder)


def key_mapping(values: dict[str, Any]) -> dict[str, str] | None:
    """Return how tensor names of the original layout become transformers'."""
    return llava_qwen.KEY_MAPPING if is_original(values) else None


def unread(config: Any) -> tuple[str, ...]:
    """Name what an original folder carries along: the layer that its tower leaves out."""
    if not hasattr(config, "mm_newline_position"):
        return ()
    return (f"vision_tower.encoder.layers.{config.vision_config.num_hidden_layers}.",)


def fill_missing(llm: Any, folder: Path, missing: Iterable[str]) -> set[str]:
    """Fill what an original folder leaves to a SigLIP beside it; return what is filled."""
    return llava_qwen.fill_missing(llm, folder, missing) if _is_original(folder) else set()


def _is_original(folder: Path) -> bool:
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return is_original(values)


def describe(folder: Path, config: Any) -> VideoLMConfig:
    """Say what a folder's model is, in this project's terms."""
    original = hasattr(config, "mm_newline_position")
    described = llava_next.describe_released(
        folder,
        config,
        backbone="llava_video",
        resize="pad",
        base_template="llava_video" if original else "llava_onevision",
        fallback=llava_qwen.STATISTICS if original else None,
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

    def visual_token(self, tokenizer: Any) -> str:
        """Return what stands for a picture in a prompt; original tokenizers have no such word."""
        if hasattr(self.llm.config, "mm_newline_position"):
            tokenizer.add_tokens([VISUAL], special_tokens=True)
            return VISUAL
        return super().visual_token(tokenizer)

    def native(self, features: Tensor, source: ClipSource | None) -> VisualTokens:
        """Return the tokens that transformers' own class makes of a film or of pictures."""
        projected = self.base.multi_modal_projector(features.flatten(2, 3))[0]
        newline = self.base.image_newline
        if source is None or source.kind in ("video", "frames"):
            pooled = self.base.apply_pooling(projected)
            where = getattr(self.llm.config, "mm_newline_position", "one_token")
            tokens = _with_newlines(pooled, newline.to(pooled), where)[None]
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


def _with_newlines(frames: Tensor, newline: Tensor, where: str) -> Tensor:
    """Put the tokens of ``(T, P, D)`` pooled frames in a row, ended as the model was trained.

    Args:
        frames: P is a square, row after row.
        newline: ``(D,)``.
        where: one of `llava_qwen.NEWLINES`; OneVision's is ``one_token``.
    """
    if where == "no_token":
        return frames.flatten(0, 1)
    if where == "one_token":
        return torch.cat([frames.flatten(0, 1), newline[None]])
    rows = square(frames).flatten(0, 1) if where == "grid" else frames
    ends = newline.expand(len(rows), 1, -1)
    return torch.cat([rows, ends], dim=1).flatten(0, 1)
