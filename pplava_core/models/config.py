"""What a model folder's `config.json` says. Knows no tensors, so reading it costs nothing.

Settings of the parts (tower, text tower, language model) are kept as plain values, as
transformers and open_clip take them; what belongs to the method has a field of its own.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from pplava_core.errors import ModelError, ShapeError
from pplava_core.types import PixelRule, Sampling
from pplava_core.window import Window

FORMAT = 1
PROJECTOR_ORDERS = ("pool_first", "project_first")


@dataclass(frozen=True, kw_only=True)
class VideoLMConfig:
    """Everything but the weights and the tokenizer of a model."""

    name: str
    backbone: str
    "Which adapter of `models.backbones` builds and feeds it."
    description: str
    licence: str
    is_base: bool = False
    "Whether it came as others trained it: for no pooling, and so for none more than another."
    notice: str | None = None
    "What a user must know before trusting its answers; said once a run."
    pixels: PixelRule
    num_frames: int
    "Frames taken from a film unless the user says otherwise."
    least_fps: float | None = None
    "Frames a second that a long film gives at least, so that nothing short is passed over."
    window: Window
    "Pooling window for films."
    image_window: Window
    "Pooling window for pictures and sets of pictures."
    weighting: str
    "How relevance becomes weights; a projector is only good for the one it was trained with."
    pooling_temperature: float = 0.01
    tells_magnitude: bool = False
    "Whether a token is also told how relevant its window is, beside what pooling leaves of it."
    tells_average: bool = False
    "Whether a token is also given its window's plain average, of which things can be counted."
    tells_count: bool = False
    "Whether a token is also told how many of the asked-for things there are, in all the film."
    tells_list: bool = False
    """Whether tokens that list these things, one each, follow those of the windows, which are told
    which things they hold."""
    most_time_steps: int | None = None
    "Windows grow in time so that no film leaves more steps than this; None lets them be."
    projector_order: str = "pool_first"
    template: str = ""
    "Name of the prompt's form in `models.prompts`; empty where the adapter has its own."
    tower: dict[str, Any] = field(default_factory=dict)
    aligner: dict[str, Any] = field(default_factory=dict)
    "Settings of the dual encoder; empty where a model has none and can only pool evenly."
    llm: dict[str, Any] = field(default_factory=dict)
    projector_hidden_size: int = 0
    training: dict[str, Any] = field(default_factory=dict)
    "Commit, seed and command that made the weights, and what the aligner was shown."

    def __post_init__(self) -> None:
        if self.projector_order not in PROJECTOR_ORDERS:
            raise ModelError(
                f"projector_order {self.projector_order!r} is none of {', '.join(PROJECTOR_ORDERS)}"
            )
        for name in ("num_frames", "pixels.height", "pixels.width"):
            value = attrgetter(name)(self)
            if type(value) is not int or value < 1:
                raise ModelError(f"config.json: {name} is {value!r}; it must be a number above 0")
        if self.most_time_steps is not None and self.most_time_steps < 1:
            raise ModelError(
                f"config.json: most_time_steps is {self.most_time_steps}; it must be above 0"
            )
        if self.least_fps is not None and not 0 < self.least_fps < float("inf"):
            raise ModelError(f"config.json: least_fps is {self.least_fps}; it must be above 0")
        temperature = self.pooling_temperature
        if not isinstance(temperature, int | float) or not 0 < temperature < float("inf"):
            raise ModelError(
                f"config.json: the pooling's temperature is {temperature!r}; it must be above 0"
            )

    def sampling(self, asked: Sampling | None) -> Sampling:
        """Return which frames to take of a film, where the asker leaves it to the model."""
        asked = asked or Sampling()
        if asked.num_frames is None and asked.fps is None and asked.least_fps is None:
            return dataclasses.replace(asked, least_fps=self.least_fps)
        return asked

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of `config.json`."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> VideoLMConfig:
        """Make the config that `to_dict` wrote down.

        Raises:
            ModelError: a field is missing, unknown or of another format version.
        """
        values = dict(values)
        found = values.pop("format", None)
        if found != FORMAT:
            raise ModelError(f"config.json has format {found!r}; this version reads {FORMAT}")
        try:
            return cls(
                **{
                    **values,
                    "pixels": PixelRule(**values["pixels"]),
                    "window": _window(values["window"]),
                    "image_window": _window(values["image_window"]),
                }
            )
        except (AttributeError, KeyError, TypeError, ShapeError) as error:
            raise ModelError(f"config.json does not describe a model: {error}") from error


def read_config(folder: Path) -> VideoLMConfig:
    """Read `config.json` of a model folder.

    Raises:
        ModelError: there is none, or it is not a model's.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"{folder} is not a model folder: config.json: {error.strerror}"
        ) from error
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} does not describe a model")
    return VideoLMConfig.from_dict(values)


def is_own_format(folder: Path) -> bool:
    """Tell this project's model folders from those of transformers' layout.

    A folder without a readable `config.json` counts as ours, for `read_config` to explain.
    """
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return not isinstance(values, dict) or "model_type" not in values


def _window(values: dict[str, Any]) -> Window:
    stride = values.get("stride")
    return Window(tuple(values["kernel"]), None if stride is None else tuple(stride))
