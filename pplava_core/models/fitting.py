"""Whether a model fits the machine, before it is loaded, and what would make it fit.

Counts parameters on the meta device, where they take no memory, and adds what answering
needs. An estimate and no promise: libraries keep buffers of their own. Knows models in
transformers' layout; nano fits everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pplava_core.errors import UsageError
from pplava_core.models.layouts.transformers_folder import is_extra, load_settings
from pplava_core.models.placement import Placement
from pplava_core.models.quantization import agreed_quantization, stored_quantization
from pplava_core.window import Size, Window

if TYPE_CHECKING:
    import torch

_PARAMETER_BYTES = {"4bit": 0.5 + 1 / 64 + 4 / (64 * 256), "8bit": 1.0}
"A quantised parameter with its share of scales: NF4 with double quantisation; int8."
_PROMPT_TOKENS = 512
"Room for the words of a question and earlier turns."
_FEWER_FRAMES, _LARGER_WINDOW = (64, 32, 16, 8), Window((4, 4, 4))
_USUAL_WINDOW = Window((2, 3, 3))
"What is tried, in this order, where a model does not fit as asked."


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What one question asks of a model."""

    num_frames: int
    window: Window | None
    "None passes every patch."
    max_new_tokens: int = 128


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes that a model needs on its device."""

    weights_bytes: int
    cache_bytes: int
    "Keys and values of the language model."
    activation_bytes: int
    "The larger of encoding frames and reading the prompt, and the clip's features."

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weights_bytes + self.cache_bytes + self.activation_bytes

    def __str__(self) -> str:
        parts = (self.total_bytes, self.weights_bytes, self.cache_bytes, self.activation_bytes)
        scale, unit = (1e9, "GB") if self.total_bytes >= 1e9 else (1e6, "MB")
        total, weights, cache, activations = (f"{part / scale:.1f}" for part in parts)
        return f"about {total} {unit} (weights {weights}, cache {cache}, activations {activations})"


class Sizes:
    """How large the parts of a folder's model are, without its weights.

    Args:
        folder: in transformers' layout.

    Raises:
        ModelError: it is no model folder.
    """

    def __init__(self, folder: Path) -> None:
        import torch
        import transformers

        self.settings = load_settings(folder)
        self.stored = stored_quantization(self.settings)
        kind: Any = transformers.AutoModelForImageTextToText
        with torch.device("meta"):
            model = kind.from_config(self.settings)
        self.quantisable, self.plain = 0, _extra_parameters(folder)
        for name, parameter in model.named_parameters():
            if "language_model.layers." in name and parameter.ndim == 2:
                self.quantisable += parameter.numel()
            else:
                self.plain += parameter.numel()

    def grid(self, num_frames: int) -> Size:
        """Return the patches ``(T, H, W)`` of a film."""
        vision = self.settings.vision_config
        side = _side(vision.image_size) // _side(vision.patch_size)
        side = int(side * getattr(self.settings, "downsample_ratio", 1.0))
        return num_frames, side, side

    def estimate(self, work: Workload, *, dtype: torch.dtype, quantize: str | None) -> Estimate:
        """Return what a model needs for some work.

        Args:
            work: frames, pooling and length of the answer.
            dtype: number format of what is not quantised.
            quantize: ``4bit``, ``8bit`` or None.
        """
        size = dtype.itemsize
        quantize = quantize or self.stored
        dense = _PARAMETER_BYTES[quantize] if quantize else size
        text = self.settings.text_config
        grid = self.grid(work.num_frames)
        patches = math.prod(grid)
        visual = patches if work.window is None else work.window.fitted(grid).token_count(grid)
        answer = min(work.max_new_tokens, text.max_position_embeddings)
        length = visual + _PROMPT_TOKENS + answer
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        cache = int(2 * text.num_hidden_layers * heads * head_width * length * size)
        features = patches * self._feature_width() * size
        reading = length * (4 * text.hidden_size + 2 * text.intermediate_size) * size
        projecting = 2 * patches * text.hidden_size * size
        activations = features + max(self._encoding(size), reading, projecting)
        return Estimate(
            weights_bytes=round(self.quantisable * dense + self.plain * size),
            cache_bytes=cache,
            activation_bytes=activations,
        )

    def _feature_width(self) -> int:
        vision = self.settings.vision_config
        shuffle = round(1 / getattr(self.settings, "downsample_ratio", 1.0))
        return int(vision.hidden_size) * shuffle**2

    def _encoding(self, size: int) -> int:
        """Return the bytes of one batch of frames inside a layer of the tower."""
        from pplava_core.models.backbones.transformers_parts import FRAMES_PER_BATCH

        vision = self.settings.vision_config
        side, patch = (_side(getattr(vision, name)) for name in ("image_size", "patch_size"))
        tokens = (side // patch) ** 2 + 1
        width = 4 * vision.hidden_size + 2 * vision.intermediate_size
        return int(FRAMES_PER_BATCH * tokens * width * size)


def choose_placement(
    sizes: Sizes,
    work: Workload,
    *,
    device: str,
    dtype: torch.dtype | None,
    quantize: str | None,
    is_auto: bool,
) -> Placement:
    """Choose number format and GPUs where the user left them open.

    Args:
        sizes: of the model.
        work: what will be asked of it.
        device: as torch names devices.
        dtype: None is bfloat16 on a GPU (float16 on one that is too old for it); on a CPU
            float32 where that fits, else bfloat16.
        quantize: ``4bit``, ``8bit`` or None.
        is_auto: whether the device was chosen here, so that more than one GPU may be used.

    Raises:
        UsageError: the model is stored quantised, and otherwise than is wanted.
    """
    import torch

    quantize = agreed_quantization(sizes.settings, quantize)

    def needed(numbers: torch.dtype) -> int:
        return sizes.estimate(work, dtype=numbers, quantize=quantize).total_bytes

    if dtype is None and device.startswith("cuda"):
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    elif dtype is None:
        fits = needed(torch.float32) <= free_bytes(device)
        dtype = torch.float32 if fits else torch.bfloat16
    several = device.startswith("cuda") and torch.cuda.device_count() > 1
    if is_auto and several and needed(dtype) > free_bytes(device):
        device = "auto"  # accelerate's device map
    return Placement(device=device, dtype=dtype, quantize=quantize)


def free_bytes(device: str) -> int:
    """Return the memory that is free on a device; ``auto`` is all GPUs together."""
    import psutil
    import torch

    if device == "auto":
        return sum(torch.cuda.mem_get_info(n)[0] for n in range(torch.cuda.device_count()))
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    return int(psutil.virtual_memory().available)


def check_fits(
    sizes: Sizes, name: str, work: Workload, placement: Placement
) -> tuple[Estimate, int]:
    """Compare what a model needs with what is free.

    Returns:
        The estimate, and the free bytes.

    Raises:
        UsageError: it cannot fit; the message names what would.
    """
    assert placement.dtype is not None
    free = free_bytes(placement.device)
    estimate = sizes.estimate(work, dtype=placement.dtype, quantize=placement.quantize)
    if estimate.total_bytes <= free:
        return estimate, free
    where = "the GPUs" if placement.device == "auto" else placement.device
    advice = " or ".join(_what_would_fit(sizes, work, placement, free))
    raise UsageError(
        f"{name} needs {estimate}, and {where} has {free / 1e9:.1f} GB free; "
        + (f"it would fit with {advice}" if advice else "no setting makes it fit: a smaller model")
    )


def _what_would_fit(sizes: Sizes, work: Workload, placement: Placement, free: int) -> list[str]:
    """Return the single changes that would be enough."""
    assert placement.dtype is not None
    tries: list[tuple[str, Workload, str | None]] = []
    if placement.quantize != "4bit" and sizes.stored is None:
        tries.append(("--quantize 4bit", work, "4bit"))
    for count in _FEWER_FRAMES:
        if count < work.num_frames:
            fewer = replace(work, num_frames=count)
            tries.append((f"--frames {count}", fewer, placement.quantize))
    if work.window is None:  # every patch is passed, whatever the kernel
        pooled = replace(work, window=_USUAL_WINDOW)
        tries.append(("--pooling average", pooled, placement.quantize))
    else:
        kernel = ",".join(map(str, _LARGER_WINDOW.kernel))
        larger = replace(work, window=_LARGER_WINDOW)
        tries.append((f"--kernel {kernel}", larger, placement.quantize))
    found: dict[str, str] = {}
    for words, changed, quantize in tries:
        need = sizes.estimate(changed, dtype=placement.dtype, quantize=quantize)
        if need.total_bytes <= free:
            found.setdefault(words.split()[0], words)
    return list(found.values())


def _extra_parameters(folder: Path) -> int:
    """Count what a checkpoint holds beyond transformers' class, and the aligner beside it."""
    from pplava_core.models.layouts import aligner_folder
    from pplava_core.models.layouts.tensor_files import tensor_sizes

    count = sum(size for name, size in tensor_sizes(folder).items() if is_extra(name))
    for place in (aligner_folder.FOLDER, aligner_folder.SOURCE_FOLDER):
        beside = folder / place
        if beside.is_dir() and any(beside.glob("*.safetensors")):
            names = tensor_sizes(beside).items()
            return count + sum(size for name, size in names if aligner_folder.is_used(name))
    return count


def _side(value: Any) -> int:
    return int(value[0] if isinstance(value, list | tuple) else value)
