"""The adapter of `nano`: a vision transformer of a few layers over a convolutional stem.

It says which features a frame has, how tokens are made of what is pooled, and how a question is
worded for the language model. The transformer and the language model are transformers'
own classes; only the stem and what `nano_tokens`, `nano_things`, `nano_tally` and `nano_list` tell
it are its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pplava_core.errors import ModelError, UsageError
from pplava_core.models.backbones.nano_tally import Tally
from pplava_core.models.backbones.nano_things import HeldThings
from pplava_core.models.backbones.nano_tokens import (
    Average,
    Clock,
    FeatureScale,
    Magnitude,
    TokenPlaces,
)
from pplava_core.models.config import VideoLMConfig
from pplava_core.models.projector import Projector
from pplava_core.types import ClipSource, Preparation, VisualTokens
from pplava_core.window import Size, Window

USER, ASSISTANT, END = "<user>", "<assistant>", "<end>"
FRAMES_PER_BATCH = 16
FRAMES_READ_TOGETHER = 64
"So that the hidden layer of what is read off an hour's patches needs little room."
_REMEMBERED_QUESTIONS = 4
_CONTENT_SPREAD = 0.5


class Refinement(nn.Module):
    """A convolution that adds to what it is given, without making it smaller."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(N, C, H, W)`` for as many."""
        refined: Tensor = maps + nn.functional.gelu(self.conv(maps))
        return refined


class NanoTower(nn.Module):
    """Pictures to patch features, every frame by itself.

    Args:
        stem_channels: channels after each stride-2 convolution of the stem; all but the first
            are followed by a convolution that refines what they give.
        fold: side of the squares of pixels that become one, with as many times the channels,
            before the stem: more is seen of the detail, and only the first convolution costs more.
        vision: settings of transformers' `CLIPVisionConfig`; the stem's output is its
            picture, one patch a cell.
    """

    def __init__(
        self, *, stem_channels: Sequence[int], vision: dict[str, Any], fold: int = 1
    ) -> None:
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModel

        self.fold = fold
        pictured = 3 * fold**2

        layers: list[nn.Module] = []
        for before, after in pairwise((pictured, *stem_channels)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GELU()]
            if len(layers) > 2:
                layers.append(Refinement(after))
        width = stem_channels[-1]
        self.stem = nn.Sequential(*layers)
        settings = {**vision, "num_channels": width, "patch_size": 1}
        settings["attn_implementation"] = "sdpa"
        self.vision = CLIPVisionModel(CLIPVisionConfig(**settings))
        # The aligner brings the post-layernorm; the tower's own would never be used.
        self.vision.post_layernorm = nn.Identity()  # type: ignore[assignment]
        self.rows = int(settings["image_size"])
        self.side = self.rows * fold * 2 ** len(stem_channels)
        "Height and width of its pictures, in pixels."

    def forward(self, pictures: Tensor) -> Tensor:
        """Return ``(N, H, W, D)`` features of ``(N, 3, side, side)`` uint8 pictures."""
        scaled = pictures.to(next(self.stem.parameters()).dtype) / 127.5 - 1.0
        folded = nn.functional.pixel_unshuffle(scaled, self.fold)
        states: Tensor = self.vision(pixel_values=self.stem(folded)).last_hidden_state[:, 1:]
        return states.reshape(len(states), self.rows, self.rows, -1)


def prompt(question: str, history: Sequence[tuple[str, str]]) -> str:
    """Word a question, and what was said before, for the language model."""
    turns = [f"{USER}{asked}{ASSISTANT}{answered}{END}" for asked, answered in history]
    return "".join([*turns, f"{USER}{question}{ASSISTANT}"])


class NanoParts(nn.Module):
    """What stands between a film and the language model, aligner aside.

    Args:
        config: a `VideoLMConfig` whose tower, aligner and language model are nano's.
    """

    def __init__(self, config: VideoLMConfig) -> None:
        super().__init__()
        self.pixels = config.pixels
        width, llm_width = config.tower["vision"]["hidden_size"], config.llm["hidden_size"]
        seen = ("stem_channels", "vision", "fold")
        self.tower = NanoTower(**{k: config.tower[k] for k in seen if k in config.tower})
        self.scale = FeatureScale(width)
        self.projector = Projector(width, config.projector_hidden_size, llm_width)
        self.shortcut = nn.Linear(config.aligner["patches"]["embed_dim"], llm_width, bias=False)
        nn.init.eye_(self.shortcut.weight)
        self.norm = nn.RMSNorm(llm_width)
        nn.init.constant_(self.norm.weight, _CONTENT_SPREAD)
        self.places = TokenPlaces(tuple(config.tower["places"]), llm_width)
        self.clock = Clock(llm_width)
        self.magnitude = Magnitude(llm_width) if config.tells_magnitude else None
        self.average = Average(width, llm_width) if config.tells_average else None
        self.things = HeldThings(width) if config.tells_list else None
        self.tally: Tally | None = None
        if config.tells_count:
            self.tally = Tally(width, llm_width, config.window, lists=config.tells_list)

    takes_aligned = True
    takes_magnitudes = True
    takes_averages = True
    takes_counts = True
    takes_lists = True
    whole_picture_tile = 0

    def read_things(self, features: Tensor) -> Tensor:
        """Return ``(B, T, H, W, HELD)``: which things each patch holds, see `HeldThings`.

        Args:
            features: ``(B, T, H, W, D)``.
        """
        assert self.things is not None
        frames = torch.split(features.to(self.things.dtype), FRAMES_READ_TOGETHER, dim=1)
        return torch.cat([self.things(some) for some in frames], dim=1)

    def preparation(self, kind: str, *, native: bool = False) -> Preparation:
        """Say how an input's pictures are made ready: resized, whatever it is."""
        return Preparation(pixels=self.pixels)

    def frames_together(self, kind: str, count: int) -> int:
        """Return how many of a clip's frames are encoded at once."""
        return FRAMES_PER_BATCH

    def encode_pictures(self, pictures: Tensor, kind: str) -> Tensor:
        """Return ``(N, H, W, D)`` features of ``(N, 3, height, width)`` uint8 pictures."""
        features: Tensor = self.tower(pictures)
        return features

    def project(
        self,
        pooled: Tensor,
        aligned: Tensor,
        grid_size: Size,
        window: Window,
        magnitudes: Tensor | None = None,
        averages: Tensor | None = None,
        held: Tensor | None = None,
    ) -> Tensor:
        """Make tokens of pooled features.

        The text-aligned direction of a token is handed to the language model as well:
        words and pictures then start from one space. What a token shows is brought to one
        length before its place is added: next to a window that answers the question, tens
        of times larger than the others, the place would be lost.

        Args:
            pooled: ``(B, T', H', W', D)``.
            aligned: ``(B, T', H', W', E)``, the dual encoder's view of the same, length 1.
            grid_size: ``(T, H, W)`` before pooling.
            window: what pooled it.
            magnitudes: ``(B, T', H', W')``, how relevant each window is.
            averages: ``(B, T', H', W', D)``, what the windows hold whatever is asked.
            held: ``(B, T', H', W', HELD)``, the average of what was read off their patches
                (`read_things`).

        Returns:
            ``(B, T' H' W', D_llm)``, time slowest; where things are listed, the list follows.
        """
        tokens = self.projector(self.scale(pooled))
        tokens = tokens + self.shortcut(aligned) * aligned.shape[-1] ** 0.5
        if self.average is not None and averages is not None:
            tokens = tokens + self.average(averages)
        if self.magnitude is not None and magnitudes is not None:
            tokens = self.magnitude(tokens, magnitudes)
        placed: Tensor = self.norm(tokens) + self.places(grid_size, window)
        if self.tally is not None and self.average is not None and averages is not None:
            linear = self.average.scale.standardised(averages)
            told: Tensor = self.tally(placed, linear, window, held)
            return told
        return placed.flatten(1, 3)

    def arrange(self, tokens: Tensor, size: Size, source: ClipSource | None) -> VisualTokens:
        """Pass all tokens in one run, those of a film with the time on a clock that starts with it.

        Pictures, also those of a folder of frames, have no clock.
        """
        length = 0.0 if source is None else source.stop_seconds - source.start_seconds
        if source is not None and source.kind == "video" and length > 0:
            tokens = self.at_times(tokens, size, torch.tensor([length], device=tokens.device))
        count = tokens.shape[1]
        return VisualTokens(tokens=tokens, block_sizes=(count,), listed=count - math.prod(size))

    def at_times(self, tokens: Tensor, size: Size, lengths_seconds: Tensor) -> Tensor:
        """Add the time to tokens ``(B, N, D)`` of films that last ``(B,)`` seconds.

        What is listed after the windows of that size has no time.
        """
        times: Tensor = self.clock(size[0], lengths_seconds.float())
        windows, listed = tokens.tensor_split([size[0] * size[1] * size[2]], dim=1)
        timed = windows + times.repeat_interleave(size[1] * size[2], dim=1)
        return torch.cat([timed, listed], dim=1)

    @staticmethod
    def guide(question: str, earlier: Sequence[str]) -> str:
        """Return what pools the grid in a conversation: "it" is known from what was asked before.

        Args:
            question: the one to be answered.
            earlier: the questions before it, the oldest first.
        """
        return " ".join([*earlier[-_REMEMBERED_QUESTIONS:], question])

    def native(self, features: Tensor, source: ClipSource | None) -> VisualTokens:
        """Refuse: nano was never anything but prompt-guided.

        Raises:
            UsageError: always.
        """
        raise UsageError("nano has no base model's own path; use --pooling none for every patch")


def build(config: VideoLMConfig) -> NanoParts:
    """Build nano's untrained parts.

    Raises:
        ModelError: the config asks for another order than pooling before projecting, for
            pictures of another size than the tower's, for a fold of less than a pixel, or for
            counts without averages or a list without counts.
    """
    if config.projector_order != "pool_first":
        raise ModelError(f"nano pools first; projector_order {config.projector_order!r} is not its")
    if config.tells_count and not config.tells_average:
        raise ModelError("nano counts by its windows' averages: tells_count needs tells_average")
    if config.tells_list and not config.tells_count:
        raise ModelError("nano's tally lists what it counts: tells_list needs tells_count")
    fold = config.tower.get("fold", 1)
    if type(fold) is not int or fold < 1:
        raise ModelError(f"tower.fold is {fold!r}; it must be a whole number from 1 on")
    parts = NanoParts(config)
    side = parts.tower.side
    if (config.pixels.height, config.pixels.width) != (side, side):
        raise ModelError(
            f"nano's tower sees {side}×{side} pixels, not pixels of height {config.pixels.height} "
            f"and width {config.pixels.width}"
        )
    return parts
