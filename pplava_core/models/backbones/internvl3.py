"""The adapter of InternVL3: InternViT-300M-448 with pixel shuffle, and Qwen2.5.

Takes the folders of `OpenGVLab/InternVL3-*-hf`. A grid's features are those after the pixel
shuffle, four of the tower's patches side by side in each, and before the projector. No dual
encoder was ever trained with this tower: an `aligner/` comes from the stage `align_base`.

The model was trained on films as pictures of one tile, each announced by ``Frame1: `` and
between marks of its own (InternVL 2.5 and 3, section on data organisation). Pooled films keep
that form: every pooled time step is such a picture with fewer tokens, numbered by steps. All in
one block would look like the tiles of one large picture, and steps could not be told apart.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pplava_core.errors import ModelError, ShapeError
from pplava_core.models import tiles
from pplava_core.models.backbones.transformers_parts import (
    TransformersParts,
    check_feature_layer,
    pixel_statistics,
    square,
)
from pplava_core.models.config import VideoLMConfig
from pplava_core.types import ClipSource, PixelRule, Preparation, VisualTokens
from pplava_core.window import Size, Window

FILM_WINDOW = Window((2, 4, 4), (2, 3, 3))
PICTURE_WINDOW = Window((1, 4, 4), (1, 3, 3))
"Windows of 4 at steps of 3 end with the grid's sixteenth row; of 3 they would leave it out."
_MOST_TILES = 12


def load_config(folder: Path) -> Any:
    """Return transformers' configuration of a folder."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def key_mapping(values: dict[str, Any]) -> dict[str, str] | None:
    """Return how tensor names of an older layout become transformers', which knows them itself."""
    return None


def describe(folder: Path, config: Any) -> VideoLMConfig:
    """Say what a folder's model is, in this project's terms.

    Raises:
        ModelError: the tower reads no squares, or more than one of its layers is asked for.
    """
    check_feature_layer(folder, config)
    height, width = config.vision_config.image_size
    if height != width:
        raise ModelError(
            f"{folder}: only towers that read squares are taken, not {height}x{width} pixels"
        )
    return VideoLMConfig(
        name=folder.name,
        backbone="internvl3",
        description=f"internvl with {config.text_config.model_type}, base",
        licence="unverified",
        is_base=True,
        pixels=PixelRule(height=height, width=width, resize="squash"),
        num_frames=32,
        window=FILM_WINDOW,
        image_window=PICTURE_WINDOW,
        weighting="authors",
        projector_order="pool_first",
        template="internvl3",
        tower={**pixel_statistics(folder), **_tile_limits(folder)},
    )


def _tile_limits(folder: Path) -> dict[str, int]:
    """Read how many tiles a picture may be cut into; `pixel_statistics` has checked the file."""
    text = (folder / "preprocessor_config.json").read_text(encoding="utf-8")
    values = json.loads(text)
    return {
        "min_tiles": int(values.get("min_patches", 1)),
        "max_tiles": int(values.get("max_patches", _MOST_TILES)),
    }


class Parts(TransformersParts):
    """InternVL's tower, pixel shuffle and projector, and where its tokens stand."""

    whole_picture_tile = -1

    def __init__(self, llm: Any, config: VideoLMConfig) -> None:
        super().__init__(llm, config)
        width = llm.model.multi_modal_projector.linear_1.in_features
        head = config.aligner.get("patches", {}).get("width", width)
        if head != width:
            raise ModelError(
                f"the aligner of {config.name} is for features {head} wide, and this tower's are "
                f"{width}: train one on this model (docs/training.md)"
            )

    def features(self, pixel_values: Tensor) -> Tensor:
        """Return ``(N, H, W, D)`` after the pixel shuffle, of the layer that is configured."""
        settings = self.llm.config
        layer = settings.vision_feature_layer
        output = self.base.vision_tower(pixel_values, output_hidden_states=layer != -1)
        states: Tensor = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
        if settings.vision_feature_select_strategy == "default":
            states = states[:, 1:]
        # transformers calls the first of the two axes the width, and keeps it the first
        shuffled: Tensor = self.base.pixel_shuffle(
            square(states), scale_factor=settings.downsample_ratio
        )
        return shuffled

    def cuts(self, kind: str) -> bool:
        """Tell that single pictures are cut into tiles."""
        return kind == "image"

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """Return the tiles of a picture, and last, if there are several, the whole of it."""
        limits = self.config.tower
        return tiles.cut_internvl(
            picture,
            self.config.pixels.height,
            min_tiles=limits["min_tiles"],
            max_tiles=limits["max_tiles"],
        )

    def preparation(self, kind: str, *, native: bool = False) -> Preparation:
        """Say how pictures are made ready.

        On the base model's own path its processor resizes films; what Pillow makes of a frame
        differs from that by rounding.
        """
        if native and kind in ("video", "frames"):
            return Preparation(pixels=self.config.pixels, cut=self._resized, name="processor")
        return super().preparation(kind, native=native)

    def _resized(self, frame: np.ndarray) -> np.ndarray:
        """Return a film's frame, ``(1, height, width, 3)``, as InternVL's processor resizes it."""
        from transformers import InternVLVideoProcessor

        size = {"height": self.config.pixels.height, "width": self.config.pixels.width}
        processor = InternVLVideoProcessor(size=size, do_rescale=False, do_normalize=False)
        film = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None]
        pixels = processor([film], return_tensors="pt")["pixel_values_videos"][0]
        resized: np.ndarray = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        return resized

    def arrange(self, tokens: Tensor, size: Size, source: ClipSource | None) -> VisualTokens:
        """Lay tokens out: a block for every time step, or for all tiles of a picture.

        Args:
            tokens: ``(B, N, D_llm)``, time slowest.
            size: ``(T', H', W')`` whose product is N.
            source: what the clip is; None is a film.

        Raises:
            ShapeError: tiles of pictures were merged with each other.
        """
        steps, rows, columns = size
        counts = (source.tile_counts if source else ()) or (1,) * steps
        if sum(counts) != steps:
            raise ShapeError(
                f"a window may not merge tiles of pictures: {sum(counts)} tiles became {steps}; "
                "give it an extent of 1 along time"
            )
        blocks = tuple(count * rows * columns for count in counts)
        return VisualTokens(tokens=tokens, block_sizes=blocks)

    def native(self, features: Tensor, source: ClipSource | None) -> VisualTokens:
        """Return the tokens of every patch, as transformers' own class makes and places them."""
        frames, rows, columns = features.shape[1:4]
        size = (frames, rows, columns)
        return self.arrange(self.project(features, None, size, Window((1, 1, 1))), size, source)
