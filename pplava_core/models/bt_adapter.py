"""The temporal side branch that most released checkpoints put beside CLIP's vision tower.

BT-Adapter (Liu et al., "BT-Adapter: Video Conversation is Feasible Without Video Instruction
Tuning", CVPR 2024) leaves CLIP's layers as they are and lets a second stream run along the
last few of them: it attends over time, then over the patches of each frame, and in the end
both streams are averaged. This module owns the branch's tensors only and is handed
transformers' own CLIP tower to run beside. It knows pixels that are normalised already; no
files, no prompts. It is for inference: the drop path of its training is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pplava_core.errors import ModelError, ShapeError, UsageError

if TYPE_CHECKING:
    from transformers import CLIPVisionConfig, CLIPVisionModel

PREFIX = "vision_tower.vision_model.btadapter_"
"What the branch's tensors begin with in a released checkpoint."
_NAMES = {
    "S_layers": "spatial",
    "T_layers": "temporal",
    "time_embed": "times",
    "cls_token": "cls_token",
}


class _TemporalLayer(nn.Module):
    """Every patch looks at itself in the other frames."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        from transformers.models.clip.modeling_clip import CLIPAttention

        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = CLIPAttention(config)
        self.temporal_fc = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, patches: Tensor) -> Tensor:
        """Return ``(B, T, P, D)`` for ``(B, T, P, D)``."""
        clips, frames, count, width = patches.shape
        rows = self.layer_norm1(patches).transpose(1, 2).reshape(clips * count, frames, width)
        change = self.temporal_fc(self.self_attn(rows)[0])
        changed: Tensor = patches + change.view(clips, count, frames, width).transpose(1, 2)
        return changed


class _SpatialLayer(nn.Module):
    """A layer of CLIP's over each frame, whose one class token is shared by all frames."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        from transformers.models.clip.modeling_clip import CLIPMLP, CLIPAttention

        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = CLIPAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = CLIPMLP(config)  # type: ignore[no-untyped-call]

    def forward(self, token: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class token ``(B, 1, 1, D)`` and the patches ``(B, T, P, D)`` of the same."""
        frames = torch.cat([token.expand(-1, patches.shape[1], -1, -1), patches], dim=2)
        change = self.self_attn(self.layer_norm1(frames).flatten(0, 1))[0].view(frames.shape)
        token = token + change[:, :, :1].mean(dim=1, keepdim=True)
        patches = patches + change[:, :, 1:]
        token = token + self.mlp(self.layer_norm2(token))
        return token, patches + self.mlp(self.layer_norm2(patches))


class BtAdapter(nn.Module):
    """The side branch, up to the layer that features are taken from.

    Args:
        config: settings of the CLIP tower that it runs beside.
        depth: how many of CLIP's last layers have a layer of the branch beside them.
        max_frames: rows of the table of times; a longer clip cannot be read.
        feature_layer: which hidden state is read, counted from the end. The branch's layers
            that only later states depend on are neither built nor loaded: for the released
            -2 that is the last pair.

    Raises:
        ModelError: ``depth`` is not a number of CLIP's layers, or ``feature_layer`` not one
            of its states.
    """

    def __init__(
        self, config: CLIPVisionConfig, *, depth: int, max_frames: int, feature_layer: int = -2
    ) -> None:
        super().__init__()
        layers = config.num_hidden_layers
        if not 1 <= depth <= layers:
            raise ModelError(f"a BT-Adapter {depth} deep does not fit a tower of {layers} layers")
        if not -layers - 1 <= feature_layer <= -1:
            raise ModelError(f"a tower of {layers} layers has no state {feature_layer}; give -2")
        self.depth = depth
        self.plain_layers = layers - depth
        self.layers_read = layers + 1 + feature_layer
        self.max_frames = max_frames
        count = max(0, self.layers_read - self.plain_layers)
        self.spatial = nn.ModuleList(_SpatialLayer(config) for _ in range(count))
        self.temporal = nn.ModuleList(_TemporalLayer(config) for _ in range(count))
        self.times = nn.Embedding(max_frames, config.hidden_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))

    def forward(
        self,
        vision: CLIPVisionModel,
        pixel_values: Tensor,
        *,
        separate: bool = False,
        reference_axis_quirk: bool = False,
    ) -> Tensor:
        """Return the hidden state that the authors' tower hands to the projector.

        Args:
            vision: the CLIP tower, of the settings that the branch was built for.
            pixel_values: ``(T, 3, height, width)``, normalised: the frames of one clip, or the
                pictures of one set.
            separate: every picture stands for itself, as the tiles of one picture do.
            reference_axis_quirk: read 3 frames as the authors' code does, which takes any axis
                of length 3 in that place for colours: frames and colours change places.

        Returns:
            ``(T, 1 + P, D)``: the class token first, then the patches, row after row.

        Raises:
            UsageError: the clip has more frames than the table of times has rows.
            ShapeError: ``pixel_values`` is no stack of pictures.
        """
        if pixel_values.ndim != 4 or pixel_values.shape[1] != 3:
            shape = tuple(pixel_values.shape)
            raise ShapeError(f"pictures of {shape} are not (T, 3, height, width)")
        frames = len(pixel_values)
        if frames > self.max_frames and not separate:
            raise UsageError(
                f"this model's tower reads at most {self.max_frames} frames together, not "
                f"{frames}; ask for {self.max_frames} or fewer (--frames {self.max_frames})"
            )
        if reference_axis_quirk and frames == 3 and not separate:
            pixel_values = pixel_values.transpose(0, 1)
        states: Tensor = vision.pre_layrnorm(vision.embeddings(pixel_values))
        for layer in vision.encoder.layers[: min(self.plain_layers, self.layers_read)]:
            states = layer(states, None)
        if not len(self.spatial):
            return states
        states = states.unsqueeze(1 if separate else 0)
        return self._beside(vision, states).flatten(0, 1)

    def _beside(self, vision: CLIPVisionModel, states: Tensor) -> Tensor:
        """Run both streams side by side over ``(B, T, 1 + P, D)`` and average them."""
        token, patches = self._start(vision, states)
        following = vision.encoder.layers[self.plain_layers : self.layers_read]
        pairs = zip(following, self.temporal, self.spatial, strict=True)
        for number, (layer, temporal, spatial) in enumerate(pairs):
            states = layer(states.flatten(0, 1), None).view(states.shape)
            share = 0.5 if number == 0 else 1.0
            token = token + share * states[:, :, :1].mean(dim=1, keepdim=True)
            patches = patches + states[:, :, 1:]
            token, patches = spatial(token, temporal(patches))
        return torch.cat([states[:, :, :1], (states[:, :, 1:] + patches) / 2], dim=2)

    def _start(self, vision: CLIPVisionModel, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the branch adds to the first states it meets: its token, its positions.

        CLIP's own table of positions is added a second time here, as in the branch's training;
        its class token weighs half, like the frames' mean that `_beside` adds to it.
        """
        positions = vision.embeddings.position_embedding.weight
        token = (self.cls_token + positions[:1]) / 2
        times = self.times.weight[: states.shape[1], None]
        token = token.expand(len(states), 1, -1).unsqueeze(1)
        return token, (positions[1:] + times).expand(len(states), -1, -1, -1)


def bt_adapter_state(tensors: Mapping[str, Tensor], adapter: BtAdapter) -> dict[str, Tensor]:
    """Return a state dict for `BtAdapter` from the tensors of a released checkpoint.

    Layers of the branch that nothing read depends on are left out.

    Args:
        tensors: by their full names, ``vision_tower.vision_model.btadapter_...``; others may
            be among them and are left alone.
        adapter: what will take them.

    Raises:
        ModelError: a tensor is missing, unknown or of another shape; it is named.
    """
    wanted, found = adapter.state_dict(), {}
    for name, tensor in tensors.items():
        if name.startswith(PREFIX) and not _is_unread(name, adapter):
            kind, dot, rest = name.removeprefix(PREFIX).partition(".")
            found[f"{_NAMES[kind]}{dot}{rest}" if kind in _NAMES else name] = tensor
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise ModelError(
            f"the checkpoint has no tensor {_released_name(missing[0])!r} ({len(missing)} of "
            "its BT-Adapter are missing); its files are incomplete"
        )
    for ours, tensor in found.items():
        name = _released_name(ours)
        if ours not in wanted:
            raise ModelError(
                f"the checkpoint has an unknown tensor {name!r}; config.json "
                "tells of a BT-Adapter without it"
            )
        if tensor.shape != wanted[ours].shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(wanted[ours].shape)}"
            raise ModelError(f"{name} is {shapes} as config.json asks")
    return found


def _is_unread(name: str, adapter: BtAdapter) -> bool:
    """Whether a tensor belongs to a layer of the branch behind the state that is read."""
    kind, number, *_ = (*name.removeprefix(PREFIX).split("."), "")
    unread = range(len(adapter.spatial), adapter.depth)
    return kind in ("S_layers", "T_layers") and number.isdecimal() and int(number) in unread


def _released_name(ours: str) -> str:
    """Return how a checkpoint names one of the branch's tensors; a foreign name stays."""
    kind, _, rest = ours.partition(".")
    for theirs, renamed in _NAMES.items():
        if kind == renamed:
            return f"{PREFIX}{theirs}.{rest}".rstrip(".")
    return ours
