"""What the adapters of transformers' multimodal models have in common.

The whole model is transformers' own class; it is the language model of a `VideoLM` and
takes prompts as embeddings. `TransformersParts` reaches into it for tower and projector, so
that pooling can stand between the two. An adapter module adds:

- ``load_config(folder)``: transformers' configuration;
- ``describe(folder, config)``: the same as a `VideoLMConfig`;
- ``key_mapping(values)``: how names of an older layout become transformers', or None;
- ``unread(config)`` and ``fill_missing(llm, folder, missing)``, where need be: parts of names
  that a folder carries along unused, and weights that it leaves to a folder beside it;
- ``Parts``: a subclass of `TransformersParts`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pplava_core.errors import ModelError
from pplava_core.models.config import VideoLMConfig
from pplava_core.models.language.prompts import TEMPLATES
from pplava_core.models.language.words import TransformersWords
from pplava_core.models.projector import before_last_layer, last_layer
from pplava_core.types import ClipSource, Preparation, VisualTokens
from pplava_core.window import Size, Window

if TYPE_CHECKING:
    from pplava_core.models.layouts.aligner_folder import Aligner

FRAMES_PER_BATCH = 8
_PICTURE_FILES = (("preprocessor_config.json", None), ("processor_config.json", "image_processor"))
_FILM_FILES = (
    ("video_preprocessor_config.json", None),
    ("video_processor/preprocessor_config.json", None),
    ("processor_config.json", "video_processor"),
)
"Where transformers has kept a processor's settings, and under which key."


class TransformersParts(ABC):
    """Tower and projector of a model of transformers, and how its tokens are laid out.

    Holds no weights of its own: they belong to ``llm``.

    Args:
        llm: transformers' model with a language modelling head.
        config: what it is.
    """

    takes_aligned = False
    whole_picture_tile = 0
    "Which of a cut picture's tiles shows all of it."

    def __init__(self, llm: Any, config: VideoLMConfig) -> None:
        self.llm, self.config = llm, config

    @property
    def base(self) -> Any:
        """The model without its head."""
        return self.llm.model

    def frames_together(self, kind: str, count: int) -> int:
        """Return how many of a clip's frames are encoded at once."""
        return FRAMES_PER_BATCH

    def preparation(self, kind: str, *, native: bool = False) -> Preparation:
        """Say how an input's pictures are made ready for the tower.

        Args:
            kind: of the input.
            native: for the base model's own path, on which each picture of a set is cut as a
                single one is; pooling takes one tile of each.
        """
        if not self.cuts("image" if native and kind == "images" else kind):
            return Preparation(pixels=self.config.pixels)
        squashed = replace(self.config.pixels, resize="squash")
        return Preparation(pixels=squashed, cut=self.cut, name="tiles")

    def cuts(self, kind: str) -> bool:
        """Tell whether inputs of a kind are cut into tiles instead of resized."""
        return False

    @abstractmethod
    def cut(self, picture: np.ndarray) -> np.ndarray:
        """Return the tiles ``(N, height, width, 3)`` of a picture ``(H, W, 3)``, uint8."""

    def take_extra(self, tensors: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Take what a checkpoint holds for parts of its own, by its names; most hold nothing."""

    def words(self, folder: Path, aligner: Aligner | None) -> TransformersWords:
        """Load the tokenizer and say how prompts are worded.

        Raises:
            ModelError: the folder has no usable tokenizer.
        """
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # the library's own parser raises plain ones
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"{folder} has no usable tokenizer: {reason}") from error
        room = self.llm.get_input_embeddings().num_embeddings
        if len(tokenizer) > room:
            raise ModelError(
                f"the tokenizer of {folder} has {len(tokenizer)} tokens, more than the {room} of "
                "the language model; the folder is mixed from two models"
            )
        named = self.llm.generation_config.eos_token_id
        template = TEMPLATES[self.config.template]
        ends = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
        ends.add(tokenizer.convert_tokens_to_ids(template.after_answer.strip()))
        return TransformersWords(
            tokenizer,
            None if aligner is None else aligner.tokenizer,
            template,
            visual_token=self.visual_token(tokenizer),
            end_ids=ends - {None, tokenizer.unk_token_id},
            pad_texts_fully=aligner is not None and aligner.pads_fully,
        )

    def visual_token(self, tokenizer: Any) -> str:
        """Return what stands for a picture in a prompt.

        Raises:
            ModelError: the tokenizer has no such token.
        """
        number = self.llm.config.image_token_id
        token = tokenizer.convert_ids_to_tokens(number)
        if token is None:
            raise ModelError(
                f"the tokenizer has no token {number}, a picture's place by config.json; "
                "its files belong to another model"
            )
        return str(token)

    def encode_pictures(self, pictures: Tensor, kind: str) -> Tensor:
        """Return ``(N, H, W, D)`` features of ``(N, 3, height, width)`` uint8 pictures."""
        return self.features(self.normalised(pictures, kind))

    def normalised(self, pictures: Tensor, kind: str) -> Tensor:
        """Return pictures as the tower reads them, by the checkpoint's mean and deviation."""
        table = self.config.tower
        which = "video" if kind in ("video", "frames") and "video_mean" in table else "image"
        mean, deviation = (
            torch.tensor(table[f"{which}_{name}"], device=pictures.device)[:, None, None]
            for name in ("mean", "deviation")
        )
        tower = self.base.vision_tower
        return ((pictures.float() / 255 - mean) / deviation).to(tower.device, tower.dtype)

    def features(self, pixel_values: Tensor) -> Tensor:
        """Return ``(N, H, W, D)`` of the layer that the configuration names."""
        settings = self.llm.config
        layer = settings.vision_feature_layer
        output = self.base.vision_tower(pixel_values, output_hidden_states=layer)
        states: Tensor = output.hidden_states[layer]
        if settings.vision_feature_select_strategy == "default":
            states = states[:, 1:]
        return square(states)

    def before_last_layer(self, features: Tensor) -> Tensor:
        """Apply the projector but for its last layer, which commutes with pooling."""
        projector = self.base.multi_modal_projector
        first = projector.linear_1.weight
        return before_last_layer(projector, features.to(first.device, first.dtype))

    def last_layer(self, hidden: Tensor, weight_sums: Tensor | None = None) -> Tensor:
        """Apply the projector's last layer to pooled features; see `projector.last_layer`."""
        return last_layer(self.base.multi_modal_projector, hidden, weight_sums)

    def project(
        self, pooled: Tensor, aligned: Tensor | None, grid_size: Size, window: Window
    ) -> Tensor:
        """Return ``(B, N, D_llm)`` for pooled features ``(B, T', H', W', D)``."""
        return self.last_layer(self.before_last_layer(pooled)).flatten(1, 3)

    def guide(self, question: str, earlier: Sequence[str]) -> str:
        """Return what pools the grid in a conversation: the question alone, as the authors do."""
        return question

    def arrange(self, tokens: Tensor, size: Size, source: ClipSource | None) -> VisualTokens:
        """Lay pooled tokens out as the kind of input wants it.

        Args:
            tokens: ``(B, N, D_llm)``, time slowest.
            size: ``(T', H', W')`` whose product is N.
            source: what the clip is; None is a film.
        """
        if source is not None and source.kind == "images":
            blocks = (size[1] * size[2],) * size[0]
            return VisualTokens(tokens=tokens, block_sizes=blocks)
        return VisualTokens(tokens=tokens, block_sizes=(tokens.shape[1],))

    @abstractmethod
    def native(self, features: Tensor, source: ClipSource | None) -> VisualTokens:
        """Return the tokens that the base model itself would make of ``(B, T, H, W, D)``.

        Raises:
            UsageError: it has no path for this kind of input.
        """


def pictures_of(tokens: Tensor, source: ClipSource) -> tuple[list[Tensor], Tensor]:
    """Part the tokens of tiles by the pictures that they were cut from.

    Args:
        tokens: ``(T, P, D)``, P of each tile.
        source: what the clip is.

    Returns:
        ``(N, P, D)`` of each picture, and their heights and widths, ``(pictures, 2)``.
    """
    sizes = source.picture_sizes or ((source.height, source.width),)
    counts = source.tile_counts or (len(tokens),)
    return list(torch.split(tokens, list(counts))), torch.tensor(sizes)


def square(states: Tensor) -> Tensor:
    """Return ``(N, side, side, D)`` for ``(N, side², D)``."""
    side = round(states.shape[1] ** 0.5)
    return states.reshape(len(states), side, side, -1)


def pixel_statistics(
    folder: Path, fallback: dict[str, list[float]] | None = None
) -> dict[str, list[float]]:
    """Read a folder's means and deviations, for pictures and, where they differ, films.

    Raises:
        ModelError: there is no preprocessor_config.json and no fallback, or it has none.
    """
    found = _statistics(folder, _PICTURE_FILES, "image") or fallback
    if found is None:
        raise ModelError(f"{folder} has no preprocessor_config.json; the model is incomplete")
    return found | _statistics(folder, _FILM_FILES, "video")


def _statistics(
    folder: Path, places: Sequence[tuple[str, str | None]], kind: str
) -> dict[str, list[float]]:
    """Return what the first of the files says that are there, under a key of its or at its top."""
    for name, key in places:
        values = _json(folder / name)
        values = values if key is None else values.get(key) or {}
        if values:
            return {
                f"{kind}_mean": _three(values, "image_mean", folder / name),
                f"{kind}_deviation": _three(values, "image_std", folder / name, above=0),
            }
    return {}


def _three(values: Any, key: str, path: Path, *, above: float = float("-inf")) -> list[float]:
    """Return a number for each colour."""
    found = values.get(key) if isinstance(values, dict) else None
    if (
        not isinstance(found, list)
        or not all(isinstance(one, int | float) and above < one < float("inf") for one in found)
        or len(found) != 3
    ):
        raise ModelError(f"{path} is damaged: {key} is {found!r}, not a number for each colour")
    return found


def check_feature_layer(folder: Path, config: Any) -> None:
    """Refuse a configuration that takes features from no layer of its tower, or from several.

    Raises:
        ModelError: it does.
    """
    layer, count = config.vision_feature_layer, config.vision_config.num_hidden_layers
    if not isinstance(layer, int) or not -count - 1 <= layer <= count:
        raise ModelError(
            f"{folder}: config.json takes features from layer {layer} of a tower of {count}; "
            "one of them is read"
        )


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return dict(values)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} is damaged: {error}; copy or fetch the model again") from error
