"""Reading the golden numbers, and how close one has to come to them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parent / "golden"


@functools.cache
def tensors(name: str) -> dict[str, Tensor]:
    return load_file(FOLDER / f"{name}.safetensors")


@functools.cache
def facts(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def assert_golden(actual: Tensor, name: str, key: str, *, run: str | None = None) -> None:
    """Hold a tensor against golden one `key`, within ten times the reference's own error.

    Or two units in the last place of a float32: processors round large values each its own way.
    """
    error = facts(name)["ref_f32_vs_f64_maxabs"].get(run or key, 0.0)
    expected = tensors(name)[key]
    torch.testing.assert_close(actual, expected, rtol=2**-22, atol=10 * error + 1e-6)
