"""The adapter of LLaVA-NeXT: CLIP ViT-L/14-336, and whatever language model the config says.

Takes the folders of `llava-hf/llava-v1.6-*` and the authors' own, whose BT-Adapter, when
there is one, is a side branch of the same tower.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pplava_core.errors import ModelError, UsageError
from pplava_core.models import tiles
from pplava_core.models.backbones.transformers_parts import (
    TransformersParts,
    check_feature_layer,
    pictures_of,
    pixel_statistics,
    square,
)
from pplava_core.models.bt_adapter import BtAdapter, bt_adapter_state
from pplava_core.models.config import VideoLMConfig
from pplava_core.types import ClipSource, PixelRule, VisualTokens
from pplava_core.window import Size, Window

_LLAMA_TEMPLATES = ((32_100, "llava_vicuna"), (64_100, "llava_yi"), (128_400, "llava_llama3"))
"Models of type `llama` tell themselves apart by their vocabularies alone."


def load_config(folder: Path) -> Any:
    """Return transformers' configuration of a folder."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def key_mapping(values: dict[str, Any]) -> dict[str, str] | None:
    """Return how tensor names of an older layout become transformers'."""
    return None


def describe(folder: Path, config: Any) -> VideoLMConfig:
    """Say what a folder's model is, in this project's terms."""
    return describe_released(
        folder, config, backbone="llava_next", resize="squash", base_template=_template(config)
    )


def describe_released(
    folder: Path,
    config: Any,
    *,
    backbone: str,
    resize: Any,
    base_template: str,
    fallback: dict[str, list[float]] | None = None,
) -> VideoLMConfig:
    """Say what a base model's folder, or one of the authors' checkpoints, is.

    The authors' say how they pool and were trained to project first; a base model is pooled
    by a convex weighting before its projector. The authors' pictures were cut as transformers
    did it then, see `tiles.cut_llava_next`. ``fallback`` are the pixels' statistics for a
    folder that has none.

    Raises:
        ModelError: a setting makes no sense.
    """
    check_feature_layer(folder, config)
    released = getattr(config, "pooling_kernel", None) is not None
    side = config.vision_config.image_size
    text_type = config.text_config.model_type
    return VideoLMConfig(
        name=folder.name,
        backbone=backbone,
        description=f"{config.model_type} with {text_type}, {'PPLLaVA' if released else 'base'}",
        licence="unverified",
        pixels=PixelRule(height=side, width=side, resize=resize),
        num_frames=min(32, config.max_T) if getattr(config, "btadapter", False) else 32,
        window=_window(config, "pooling", (2, 3, 3)),
        image_window=_window(config, "image_pooling", (1, 3, 3)),
        weighting="authors",
        pooling_temperature=getattr(config, "pooling_temp", 0.01),
        projector_order="project_first" if released else "pool_first",
        template=("qwen" if text_type == "qwen2" else "v1") if released else base_template,
        tower=pixel_statistics(folder, fallback) | {"short_padding": released},
        is_base=not released,
    )


def _template(config: Any) -> str:
    """Tell how a base model words its prompts."""
    text = config.text_config
    if text.model_type == "llama":
        return next(
            (name for most, name in _LLAMA_TEMPLATES if text.vocab_size <= most), "llava_llama3"
        )
    return "llava_mistral" if text.model_type == "mistral" else "llava_qwen"


def _window(config: Any, name: str, default: Size) -> Window:
    kernel = tuple(getattr(config, f"{name}_kernel", None) or default)
    stride = tuple(getattr(config, f"{name}_stride", None) or kernel)
    return Window(kernel, stride)


class Parts(TransformersParts):
    """LLaVA-NeXT's tower, projector and layout of tiles, and the authors' BT-Adapter."""

    reference_axis_quirk = False
    "Set it to read clips of exactly 3 frames as the authors' code misreads them; see `BtAdapter`."

    def take_extra(self, tensors: Mapping[str, Tensor]) -> None:
        """Put a checkpoint's BT-Adapter beside the tower, where its configuration has one.

        Raises:
            ModelError: it does not fit, or the configuration has none.
        """
        settings = self.llm.config
        self._branch: BtAdapter | None = None
        if not getattr(settings, "btadapter", False):
            strays = sorted(name for name in tensors if "btadapter_" in name)
            if strays:
                raise ModelError(
                    f"the checkpoint has an unknown tensor {strays[0]!r}; its config.json says "
                    "that there is no BT-Adapter"
                )
            return
        tower = self.base.vision_tower
        with torch.device("meta"):
            branch = BtAdapter(
                tower.config,
                depth=settings.btadapter_depth,
                max_frames=settings.max_T,
                feature_layer=settings.vision_feature_layer,
            )
        prefix = "bt_adapter."  # where a converted folder keeps it
        converted = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        branch.load_state_dict(converted or bt_adapter_state(tensors, branch), assign=True)
        # registered with the model, so that it moves and counts with it
        self.llm.bt_adapter = branch.to(tower.device, tower.dtype).eval()
        self._branch = branch

    def frames_together(self, kind: str, count: int) -> int:
        """Return how many frames are encoded at once: all, where they see each other."""
        if self._branch is None or kind == "image":
            return super().frames_together(kind, count)
        return count

    def encode_pictures(self, pictures: Tensor, kind: str) -> Tensor:
        """Return ``(N, H, W, D)`` features of ``(N, 3, height, width)`` uint8 pictures."""
        pixel_values = self.normalised(pictures, kind)
        if self._branch is None:
            return self.features(pixel_values)
        tower = self.base.vision_tower
        states: Tensor = self._branch(
            tower,
            pixel_values,
            separate=kind == "image",
            reference_axis_quirk=self.reference_axis_quirk,
        )
        return square(states[:, 1:])

    def cuts(self, kind: str) -> bool:
        """Tell that single pictures are cut into tiles."""
        return kind == "image"

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """Return the tiles of a picture, the whole of it first."""
        return tiles.cut_llava_next(
            picture,
            self.llm.config.image_grid_pinpoints,
            self.config.pixels.height,
            short_padding=self.config.tower.get("short_padding", False),
        )

    def arrange(self, tokens: Tensor, size: Size, source: ClipSource | None) -> VisualTokens:
        """Lay pooled tokens out: a cut picture's as its whole, then its rows with their ends."""
        if source is None or source.kind != "image":
            return super().arrange(tokens, size, source)
        arranged = tiles.arrange(
            tokens.reshape(len(tokens), *size, -1),
            picture_size=(source.height, source.width),
            pinpoints=self.llm.config.image_grid_pinpoints,
            size=self.config.pixels.height,
            newline=self.base.image_newline,
        )
        return VisualTokens(tokens=arranged, block_sizes=(arranged.shape[1],))

    def native(self, features: Tensor, source: ClipSource | None) -> VisualTokens:
        """Return the tokens that transformers' own class makes of cut pictures.

        Raises:
            UsageError: LLaVA-NeXT has no path of its own for films.
        """
        if source is None or source.kind not in ("image", "images"):
            raise UsageError(
                "LLaVA-NeXT has no path of its own for films; use --pooling none or average"
            )
        projected = self.base.multi_modal_projector(features.flatten(2, 3))
        pictures, sizes = pictures_of(projected[0], source)
        packed, _ = self.base.pack_image_features(
            pictures,
            sizes,
            vision_feature_select_strategy=self.llm.config.vision_feature_select_strategy,
            image_newline=self.base.image_newline,
        )
        return VisualTokens(
            tokens=torch.cat(list(packed))[None], block_sizes=tuple(len(one) for one in packed)
        )
