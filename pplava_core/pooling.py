"""Prompt-guided pooling: windows of patches are averaged, relevance as weights (Eq. 2-3).

Pure tensors: a grid of features and a map of relevance in, fewer tokens out. Knows
nothing of the text that made the relevance, of models, or of what the tokens are for.
The sizes of windows are in `window`, the rivals of this pooling in `rivals`.

Shapes: ``B T H W D`` for features, ``B T H W`` for relevance and masks (True is a patch
of the clip, False padding), ``B T' H' W'`` for windows, ``t h w`` inside one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pplava_core.errors import ShapeError, UsageError
from pplava_core.window import Window, window_for_budget, window_for_output_size

__all__ = [
    "WEIGHTINGS",
    "Window",
    "own_windows",
    "pool",
    "window_for_budget",
    "window_for_output_size",
    "window_magnitudes",
    "window_view",
    "window_weights",
]

WEIGHTINGS = ("literal", "window", "authors")
"How relevance becomes weights; see `window_weights`."

# Added to every relevance before dividing by a window's sum: far below any share that means
# something, far above what underflows, also in the gradient.
_SMALLEST_SHARE = 1e-20


def pool(
    features: Tensor,
    relevance: Tensor | None,
    *,
    window: Window,
    weighting: str = "authors",
    temperature: float = 0.01,
    mask: Tensor | None = None,
) -> Tensor:
    """Shrink a grid by averaging its windows, favouring the patches that the text points at.

    Eq. 2 and 3 of the paper. Linear in the features.

    Args:
        features: ``(B, T, H, W, D)``, any floating dtype.
        relevance: ``(B, T, H, W)``, sums to 1 over each clip (`alignment.relevance`); None
            for the plain average.
        window: kernel and stride; a rest that fills no window is dropped.
        weighting: one of `WEIGHTINGS`.
        temperature: of ``authors``; greater than 0, no unit.
        mask: ``(B, T, H, W)`` bool, False on padding, which then weighs nothing. A window
            of padding only gives zeros.

    Returns:
        ``(B, T', H', W', D)``, dtype (under autocast: autocast's) and device of ``features``.

    Raises:
        ShapeError: the window is larger than the grid, or the shapes do not go together.
        UsageError: an unknown weighting or a temperature that is not positive.
    """
    if features.ndim != 5:
        raise ShapeError(f"features are (B, T, H, W, D), not {tuple(features.shape)}")
    windows = window_view(features, window)
    if relevance is None and mask is None:
        return windows.mean(dim=(4, 5, 6))
    if relevance is None:
        assert mask is not None
        weights = average_weights(mask, window=window)
    else:
        _check_same_grid(features, relevance)
        weights = window_weights(
            relevance, window=window, weighting=weighting, temperature=temperature, mask=mask
        )
    return torch.einsum("bxyzthw,bxyzthwd->bxyzd", weights.to(features.dtype), windows)


def window_weights(
    relevance: Tensor,
    *,
    window: Window,
    weighting: str = "authors",
    temperature: float = 0.01,
    mask: Tensor | None = None,
) -> Tensor:
    """Turn relevance into the weight of every patch in every window (``s`` in Eq. 3).

    * ``literal``: Eq. 3 as printed, the relevance itself, times the one constant that
      makes a uniform map the plain average (patches of the clip over patches of a window).
      A window that the text does not care about stays faint.
    * ``window``: relevance divided by its sum inside the window; where that sum is nothing,
      the plain average.
    * ``authors``: ``softmax(relevance / temperature)`` inside the window, as the released
      checkpoints were trained.

    Args:
        relevance: ``(B, T, H, W)``.
        window: kernel and stride.
        weighting: one of `WEIGHTINGS`.
        temperature: of ``authors``; greater than 0, no unit.
        mask: ``(B, T, H, W)`` bool, False on padding.

    Returns:
        ``(B, T', H', W', t, h, w)`` in the relevance's dtype, at least float32. The weights of
        a window sum to 1 except under ``literal``; a window of padding only has zeros.

    Raises:
        ShapeError: the window is larger than the grid, or the mask has another shape.
        UsageError: an unknown weighting or a temperature that is not positive.
    """
    _check_weighting(weighting, temperature)
    if relevance.ndim != 4:
        raise ShapeError(f"relevance is (B, T, H, W), not {tuple(relevance.shape)}")
    relevance = relevance.to(torch.promote_types(relevance.dtype, torch.float32))
    kept = None
    if mask is not None:
        _check_same_grid(relevance, mask)
        relevance = relevance * mask
        kept = window_view(mask, window)
    shares = window_view(relevance, window)
    if weighting == "literal":
        return shares * (_patch_counts(relevance, mask) / window.volume)
    if weighting == "window":
        return _normalised(shares + _SMALLEST_SHARE, kept)
    highest = shares.amax(dim=(4, 5, 6), keepdim=True).detach()
    return _normalised(torch.exp((shares - highest) / temperature), kept)


def window_magnitudes(relevance: Tensor, *, window: Window, mask: Tensor | None = None) -> Tensor:
    """Return how many times as relevant as the average patch those of every window are.

    The sum of ``literal`` weights: what a normalised weighting forgets of Eq. 3. Kept beside
    it, direction and magnitude of a pooled token are told apart.

    Args:
        relevance: ``(B, T, H, W)``, sums to 1 over each clip.
        window: kernel and stride.
        mask: ``(B, T, H, W)`` bool, False on padding.

    Returns:
        ``(B, T', H', W')``; 1 everywhere for a uniform map.

    Raises:
        ShapeError: the window is larger than the grid, or the mask has another shape.
    """
    weights = window_weights(relevance, window=window, weighting="literal", mask=mask)
    return weights.sum(dim=(4, 5, 6))


def average_weights(mask: Tensor, *, window: Window) -> Tensor:
    """Return the weights of the plain average over the patches that are no padding.

    Args:
        mask: ``(B, T, H, W)`` bool, False on padding.
        window: kernel and stride.

    Returns:
        ``(B, T', H', W', t, h, w)`` float32; a window of padding only has zeros.
    """
    kept = window_view(mask, window).float()
    return kept / kept.sum(dim=(4, 5, 6), keepdim=True).clamp_min(1)


def own_windows(mask: Tensor, *, window: Window) -> Tensor:
    """Tell which windows lie wholly on a clip's own patches, so which tokens are the clip's.

    Exactly these a clip would have had outside the padded batch.

    Args:
        mask: ``(B, T, H, W)`` bool, False on padding.
        window: kernel and stride.

    Returns:
        ``(B, T', H', W')`` bool.

    Raises:
        ShapeError: the window is larger than the grid.
    """
    return window_view(mask, window).flatten(start_dim=4).all(dim=-1)


def window_view(grid: Tensor, window: Window) -> Tensor:
    """Look at a grid window by window, without copying it.

    Args:
        grid: ``(B, T, H, W)`` or ``(B, T, H, W, D)``.
        window: kernel and stride.

    Returns:
        ``(B, T', H', W', t, h, w)`` or ``(B, T', H', W', t, h, w, D)``, sharing the grid's
        memory.

    Raises:
        ShapeError: the window is larger than the grid.
    """
    frames, rows, columns = grid.shape[1:4]
    counts = window.output_size((frames, rows, columns))
    if window.step == window.kernel:
        for axis, (count, extent) in enumerate(zip(counts, window.kernel, strict=True)):
            at = 1 + 2 * axis
            grid = torch.unflatten(grid.narrow(at, 0, count * extent), at, (count, extent))
        return grid.movedim((3, 5), (2, 3))
    for axis, (extent, step) in enumerate(zip(window.kernel, window.step, strict=True)):
        grid = grid.unfold(1 + axis, extent, step)
    return grid.movedim(4, -1) if grid.ndim == 8 else grid


def _normalised(weights: Tensor, kept: Tensor | None) -> Tensor:
    """Make positive weights sum to 1 in every window, none of it on padding."""
    if kept is None:
        return weights / weights.sum(dim=(4, 5, 6), keepdim=True)
    weights = weights * kept
    total = weights.sum(dim=(4, 5, 6), keepdim=True)
    return weights / torch.where(total > 0, total, torch.ones_like(total))


def _patch_counts(relevance: Tensor, mask: Tensor | None) -> Tensor | int:
    """Return how many patches each clip really has, to multiply ``(B, T', H', W', t, h, w)``."""
    if mask is None:
        return relevance.shape[1:].numel()
    return mask.flatten(start_dim=1).sum(dim=1).view(-1, 1, 1, 1, 1, 1, 1)


def _check_weighting(weighting: str, temperature: float) -> None:
    """Raise `UsageError` unless the weighting is known and its temperature is positive."""
    if weighting not in WEIGHTINGS:
        raise UsageError(f"no weighting is called {weighting!r}; choose {', '.join(WEIGHTINGS)}")
    if not temperature > 0:
        raise UsageError(f"a pooling temperature of {temperature} is not positive; try 0.01")


def _check_same_grid(grid: Tensor, other: Tensor) -> None:
    """Raise `ShapeError` unless both have the same ``B T H W``."""
    if grid.shape[:4] != other.shape:
        raise ShapeError(
            f"a grid of {tuple(grid.shape[:4])} (B, T, H, W) does not go with relevance or mask "
            f"of {tuple(other.shape)}; both must describe the same patches"
        )
