"""Where a model's weights go, in which numbers, and by which kernel attention is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pplava_core.errors import UsageError

if TYPE_CHECKING:
    import torch

QUANTIZATIONS = ("4bit", "8bit")


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Device and number format of a model."""

    device: str = "cpu"
    "As torch names devices, or `auto` to spread the model over all GPUs."
    dtype: torch.dtype | None = None
    "Of everything that is not quantised; None is float32."
    quantize: str | None = None
    "One of `QUANTIZATIONS`, of the language model alone; None leaves its numbers as they are."
    attention: str = "sdpa"
    "As transformers names kernels; this one is in torch and picks the fastest for the device."

    def __post_init__(self) -> None:
        if self.quantize not in (None, *QUANTIZATIONS):
            known = " or ".join(QUANTIZATIONS)
            raise UsageError(f"quantize is {self.quantize!r}; it can be {known}")

    def __str__(self) -> str:
        where = "all GPUs" if self.device == "auto" else self.device
        numbers = str(self.dtype or "float32").removeprefix("torch.")
        if self.quantize:
            numbers += f", language model in {self.quantize.removesuffix('bit')} bits"
        return f"{where}, {numbers}, attention by {self.attention}"
