"""The small types that travel between the stages, in the order of the data.

``path -> Clip -> PatchGrid -> Relevance -> VisualTokens -> Answer``. Axes are always
``B T H W D``; times are seconds on the film's own clock; ranges are half-open.
Only `PatchGrid` is independent of the question, so only it is cached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

InputKind = Literal["video", "image", "images", "frames"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which frames to take. At most one of ``num_frames`` and ``fps`` is set."""

    num_frames: int | None = None
    "How many frames, spread by the authors' rule; None leaves it to the model."
    fps: float | None = None
    "Frames per second instead of a fixed number."
    least_fps: float | None = None
    """Where neither is set, a long film gives more frames than a model's number: so many a second
    or a little more, a multiple of that number."""
    start_seconds: float | None = None
    "Start of the range on the film's own clock, included."
    stop_seconds: float | None = None
    "End of the range on the film's own clock, excluded."


@dataclass(frozen=True, kw_only=True)
class PixelRule:
    """How a picture becomes the size a vision tower reads."""

    height: int
    width: int
    resize: Literal["squash", "pad", "pad_short"] = "squash"
    "`squash` ignores the aspect ratio; `pad` keeps it and fills with black; see `resize_picture`."


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What becomes of an input's pictures before a vision tower reads them."""

    pixels: PixelRule
    "The size of what the tower reads, and how a whole picture is brought to it."
    cut: Callable[[np.ndarray], np.ndarray] | None = None
    "Makes ``(N, height, width, 3)`` of a picture ``(H, W, 3)``, uint8; None resizes it."
    name: str = ""
    "Tells a cut from others of the same model; empty where there is none."


@dataclass(frozen=True, kw_only=True)
class ClipSource:
    """Where a clip came from and what of it was read: the facts of the sampling line."""

    paths: tuple[str, ...]
    kind: InputKind
    width: int
    "Pixels across after rotation, before any resize (of the first picture)."
    height: int
    frame_count: int
    "Frames in the whole film (pictures in the whole set)."
    fps: float
    "Average frames per second; 0 when there is no clock (pictures)."
    duration_seconds: float
    "0 when there is no clock."
    start_seconds: float
    "Start of the range that was read."
    stop_seconds: float
    "End of the range that was read, excluded."
    reader: str
    "`pyav`, `decord`, or `pillow` for pictures."
    indices: tuple[int, ...]
    "Index of every sampled frame in presentation order."
    warnings: tuple[str, ...] = ()
    picture_sizes: tuple[tuple[int, int], ...] = ()
    "Height and width of each picture, where a set or a single one was cut into tiles."
    tile_counts: tuple[int, ...] = ()
    "How many tiles each of them gave: T is their sum. Empty where nothing was cut."


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Sampled frames and their times."""

    frames: np.ndarray
    "``(T, H, W, 3)`` uint8 RGB."
    seconds: np.ndarray
    "``(T,)`` float64, on the film's own clock."
    source: ClipSource


@dataclass(frozen=True, kw_only=True)
class PatchGrid:
    """Features of every patch of one clip. Knows nothing of any question."""

    features: Tensor
    "``(T, H, W, D)``."
    seconds: np.ndarray
    "``(T,)``."
    source: ClipSource


@dataclass(frozen=True, kw_only=True)
class Relevance:
    """How well each patch fits a text (Eq. 1)."""

    weights: Tensor
    "``(T, H, W)`` float32 on the CPU, sums to 1 over the clip."
    seconds: np.ndarray
    "``(T,)``."
    text: str


@dataclass(frozen=True, kw_only=True)
class VisualTokens:
    """What the language model gets to see of the clip."""

    tokens: Tensor
    "``(B, N, D)``: N depends on the window, not on the film's length."
    block_sizes: tuple[int, ...]
    "How N is split into runs that stand at places of their own in the prompt; one for a film."
    listed: int = 0
    "How many of N, the last, no window was pooled into: they list what the others show."


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A stretch of the film and its share of the relevance."""

    start_seconds: float
    stop_seconds: float
    share: float
    "Part of the clip's relevance inside the range, 0 to 1."
    peak_seconds: float
    "Time of the frame that weighed most."
    peak_box: tuple[float, float, float, float]
    "``(left, top, right, bottom)`` of the heaviest patch in that frame, 0 to 1 of the picture."


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Seconds spent in each stage; 0 where a stage was served from a cache."""

    decode_seconds: float = 0.0
    encode_seconds: float = 0.0
    generate_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The model's words, and what they rest on."""

    text: str
    question: str
    evidence: tuple[Moment, ...]
    patch_count: int
    "Patches before pooling."
    token_count: int
    "Visual tokens after pooling; those of nano's list, which pool nothing, come on top."
    text_token_count: int
    "Tokens generated."
    window: tuple[tuple[int, int, int], tuple[int, int, int]] | None
    "Kernel and stride along ``T H W``; None when every patch was passed."
    weighting: str
    timings: Timings
    stopped: Literal["end", "length", "interrupted"] = "end"
    "Its end mark or a stop string; the most tokens that were allowed; someone's wish."
    warnings: tuple[str, ...] = ()
    "What of the prompt had to be left out, in words."
    guide: str = ""
    "The text that pooled the grid: the question, or with those before it; empty where none did."
