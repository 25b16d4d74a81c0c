"""What the golden scripts share: a check, and how near one has to come to the authors' numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

COMFORTABLE = 2e-4
"Where the reference does not say how far it is from itself in float64."
COMFORTABLE_PLUS = 2e-3
"The same for the option `valuew_plus`, which multiplies weights by up to 1000."


@dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison and its outcome."""

    name: str
    error: float
    "Largest absolute difference; for ids, how many differ."
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance


class Golden:
    """The tensors and facts of one golden file, and what was found of them.

    Args:
        path: the file without its ending.
        title: begins the names of its checks.
    """

    def __init__(self, path: Path, title: str) -> None:
        self.tensors: dict[str, Tensor] = load_file(path.with_suffix(".safetensors"))
        self.facts: dict[str, Any] = json.loads(path.with_suffix(".json").read_text("utf-8"))
        self.title = title
        self.checks: list[Check] = []

    def near(self, actual: Tensor, name: str, *, run: str = "", expected: Any = None) -> None:
        """Hold a tensor against the one of a name, within ten times the reference's own error."""
        expected = self.tensors[name] if expected is None else expected
        stated = self.facts.get("ref_f32_vs_f64_maxabs", {}).get(run or name)
        comfortable = COMFORTABLE_PLUS if name.startswith("plus.") else COMFORTABLE
        # Two units in the last place: processors round large values each its own way.
        rounding = expected.abs().max().item() * 2**-22
        self._add(
            name,
            (actual - expected).abs().max().item() if actual.shape == expected.shape else torch.inf,
            comfortable if stated is None else 10 * stated + 1e-6 + rounding,
        )

    def same(self, actual: Any, name: str, *, expected: Any = None) -> None:
        """Hold ids or texts against those of a name: none may differ."""
        expected = self.tensors[name] if expected is None else expected
        if isinstance(expected, Tensor):
            actual, expected = torch.as_tensor(actual).tolist(), expected.tolist()
        self._add(name, float(actual != expected), 0.0)

    def _add(self, name: str, error: float, tolerance: float) -> None:
        self.checks.append(Check(name=f"{self.title} {name}", error=error, tolerance=tolerance))

    def weights(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under a prefix, without it."""
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }


def as_grid(features: Tensor) -> Tensor:
    """Return ``(1, T, side, side, D)`` for ``(T, side², D)``."""
    side = round(features.shape[1] ** 0.5)
    return features.reshape(1, len(features), side, side, -1)
