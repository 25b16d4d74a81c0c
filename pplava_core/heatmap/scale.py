"""From relevance to colour, in a unit that a person understands: times the average.

A patch's relevance says nothing by itself: it shrinks as a clip gets more patches. Divided
by what every patch would have were the map even, it reads "×1, as much as the average
patch" or "×16". Colours follow its logarithm, since a few patches often hold most of the
relevance, and begin at the average: what weighs less than that stays dark. They come from
matplotlib's *inferno*, whose brightness rises evenly, so that it reads the same to the
colour-blind and on grey paper. Knows nothing of pictures.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pplava_core.types import Relevance

_LEAST_HIGHEST = 4.0
"An almost even map keeps pale colours instead of having its noise stretched to full ones."


@dataclass(frozen=True, kw_only=True)
class HeatScale:
    """A logarithmic scale of colours from 1 to ``highest`` times the average."""

    highest: float
    "The multiple that gets the brightest colour."

    @classmethod
    def covering(cls, maps: Sequence[np.ndarray]) -> HeatScale:
        """Give one scale for several maps of multiples, so that their colours compare."""
        top = max(float(values.max()) for values in maps)
        return cls(highest=max(_LEAST_HIGHEST, 2.0 ** math.ceil(math.log2(max(top, 1e-9)))))

    def positions(self, multiples: np.ndarray) -> np.ndarray:
        """Place multiples of the average on the scale: 0 at its dark end, 1 at its bright."""
        stops: np.ndarray = np.log2(np.maximum(multiples, 1.0))
        return (stops / math.log2(self.highest)).clip(max=1.0)

    def colours(self, positions: np.ndarray) -> np.ndarray:
        """Give the colours of positions: ``(...)`` in 0 to 1 becomes ``(..., 3)`` uint8."""
        numbers = np.rint(np.clip(positions, 0, 1) * 255).astype(np.int64)
        colours: np.ndarray = _palette()[numbers]
        return colours

    def ticks(self) -> list[tuple[float, str]]:
        """Give two to six marks for a legend: positions and their labels, both ends included."""
        stops = round(math.log2(self.highest))
        step = math.ceil(stops / 5)
        exponents = [*range(step, stops - step + 1, step), stops]
        marks = [(exponent / stops, f"×{2**exponent}") for exponent in exponents]
        return [(0.0, "≤ ×1"), *marks]


def multiples_of_average(relevance: Relevance) -> np.ndarray:
    """Give every patch's relevance relative to an even map.

    Returns:
        ``(T, H, W)`` float64 whose mean is 1.
    """
    weights: np.ndarray = relevance.weights.double().numpy()
    total = weights.sum()
    return weights * (weights.size / total) if total > 0 else np.ones_like(weights)


@functools.cache
def _palette() -> np.ndarray:
    """Give inferno as ``(256, 3)`` uint8."""
    import matplotlib

    colours = np.array([matplotlib.colormaps["inferno"](number) for number in range(256)])
    palette: np.ndarray = np.rint(colours[:, :3] * 255).astype(np.uint8)
    return palette
