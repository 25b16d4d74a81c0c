"""What nano's pooled tokens are told: where and when they are, how relevant, what else is there.

Tables, clocks and averages beside what pooling leaves of the features. How many things there are is
`nano_tally`'s. Knows no films and no words.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pplava_core.window import Size, Window

_POSITION_SPREAD, _CLOCK_SPREAD = 0.4, 0.1
_FADING, _TERM_SPREAD, _SMALLEST_MAGNITUDE = 2.0, 0.5, 1e-3
_WAVES_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 64.0)
_LONG_SECONDS, _LONGEST_SECONDS = 8.0, 40.0


class TokenPlaces(nn.Module):
    """Where in the film a pooled token lies: learned tables along time, height and width.

    A table is read at the window's centre, so that any window and any number of frames
    have a place; between two entries it is interpolated.
    """

    def __init__(self, sizes: Size, width: int) -> None:
        super().__init__()
        self.tables = nn.ParameterList(
            nn.Parameter(torch.randn(size, width) * _POSITION_SPREAD) for size in sizes
        )

    def forward(self, grid_size: Size, window: Window) -> Tensor:
        """Return ``(T', H', W', D)`` for the windows of a grid."""
        axes = zip(
            self.tables,
            grid_size,
            window.output_size(grid_size),
            window.kernel,
            window.step,
            strict=True,
        )
        along_time, along_height, along_width = (
            _read_between(table, _centres(length, count, extent, step))
            for table, length, count, extent, step in axes
        )
        return (
            along_time[:, None, None, :] + along_height[None, :, None, :] + along_width[None, None]
        )


class Clock(nn.Module):
    """When a pooled token was seen, in seconds: waves of several lengths and the film's length.

    Places are fractions of a film; a question like "when?" needs a clock. It reads to
    `_LONGEST_SECONDS`, the longest films of training, and then stands still.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * len(_WAVES_SECONDS) + 4, width)
        nn.init.normal_(self.linear.weight, std=_CLOCK_SPREAD)
        nn.init.zeros_(self.linear.bias)

    def forward(self, steps: int, lengths_seconds: Tensor) -> Tensor:
        """Return ``(B, T', D)`` for as many equal steps of films ``(B,)`` seconds long."""
        shares = (torch.arange(steps, device=lengths_seconds.device) + 0.5) / steps
        seconds = lengths_seconds[:, None] * shares
        turns = seconds[..., None] * (2 * torch.pi / lengths_seconds.new_tensor(_WAVES_SECONDS))
        lengths = lengths_seconds[:, None].expand_as(seconds)
        told = torch.stack([seconds, lengths], dim=-1).clamp(max=_LONGEST_SECONDS)
        waves = [turns.sin(), turns.cos(), told / _LONG_SECONDS, told.log1p() / 4]
        placed: Tensor = self.linear(torch.cat(waves, dim=-1).to(self.linear.weight.dtype))
        return placed


class Magnitude(nn.Module):
    """What a token makes of how relevant its window is: a factor on it, and a sum to it.

    At first a window of average relevance stays as it is, and one that the text does not care
    about fades; both are learned.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.factor = nn.Linear(1, width)
        self.term = nn.Linear(2, width)
        nn.init.constant_(self.factor.weight, _FADING)
        nn.init.zeros_(self.factor.bias)
        nn.init.normal_(self.term.weight, std=_TERM_SPREAD)
        nn.init.zeros_(self.term.bias)

    def forward(self, tokens: Tensor, magnitudes: Tensor) -> Tensor:
        """Return ``(..., D)`` for tokens ``(..., D)`` and magnitudes ``(...)``, 1 on average."""
        told = decades_of(magnitudes).to(tokens.dtype)
        changed: Tensor = tokens * 2 * self.factor(told[..., :1]).sigmoid() + self.term(told)
        return changed


def decades_of(magnitudes: Tensor) -> Tensor:
    """Return ``(..., 2)``: the logarithm of magnitudes ``(...)``, and what of it exceeds 0."""
    decades = (magnitudes.clamp(min=0) + _SMALLEST_MAGNITUDE).log10().unsqueeze(-1)
    return torch.cat([decades, decades.clamp(min=0)], dim=-1)


class FeatureScale(nn.Module):
    """Brings every channel to mean 0 and spread 1 over the training set, and tames its tail.

    `literal` pooling leaves a few windows tens of times above the rest. Beyond 1 the
    inverse hyperbolic sine grows like a logarithm, so that magnitude is still told apart.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def forward(self, features: Tensor) -> Tensor:
        """Standardise ``(..., D)`` features and tame their tail."""
        return torch.asinh(self.standardised(features))

    def standardised(self, features: Tensor) -> Tensor:
        """Standardise ``(..., D)`` features: what is linear in them stays so."""
        return (features - self.mean) / self.spread

    @property
    def measured(self) -> bool:
        """Whether mean and spread are those of a training set."""
        return bool(self.mean.any())


class Average(nn.Module):
    """What a token makes of its window's plain average; at first nothing.

    What is averaged by relevance has forgotten how many things a window holds. In the plain
    average that stays: every patch counts alike there.
    """

    def __init__(self, width: int, llm_width: int) -> None:
        super().__init__()
        self.scale = FeatureScale(width)
        self.linear = zero_linear(width, llm_width, bias=False)

    def forward(self, averages: Tensor) -> Tensor:
        """Return ``(..., D_llm)`` for averages ``(..., D)``."""
        told: Tensor = self.linear(self.scale(averages))
        return told


def zero_linear(width: int, size: int, *, bias: bool = True) -> nn.Linear:
    """Return a linear map that gives zeros before training.

    Sums of what begins at random would drown what a model has learned before.
    """
    linear = nn.Linear(width, size, bias=bias)
    nn.init.zeros_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear


def _centres(length: int, count: int, extent: int, step: int) -> Tensor:
    """Return the windows' centres as fractions of the axis, 0 to 1."""
    return (torch.arange(count) * step + extent / 2) / length


def _read_between(table: Tensor, places: Tensor) -> Tensor:
    """Read a table of cells at fractions of its length, between cell centres linearly."""
    exact = (places.to(table.device) * len(table) - 0.5).clamp(0, len(table) - 1)
    lower = exact.floor().long()
    upper = (lower + 1).clamp(max=len(table) - 1)
    share = (exact - lower).to(table.dtype)[:, None]
    return table[lower] * (1 - share) + table[upper] * share
