"""What prompt-guided pooling is compared with: the other rows of the paper's Tables 3 and 5.

Pure tensors, shapes as in `pooling`: max pooling, time and space pooled separately, several
kernels side by side, and token merging (Bolya et al., "Token Merging: Your ViT But Faster",
2023). For clips of one size: none of these takes a mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pplava_core.errors import UsageError
from pplava_core.pooling import pool, window_view
from pplava_core.window import Window


def max_pool(features: Tensor, *, window: Window) -> Tensor:
    """Keep the largest value of every channel in every window. Not linear; ignores the text.

    Args:
        features: ``(B, T, H, W, D)``.
        window: kernel and stride; a rest that fills no window is dropped.

    Returns:
        ``(B, T', H', W', D)``.

    Raises:
        ShapeError: the window is larger than the grid.
    """
    return window_view(features, window).amax(dim=(4, 5, 6))


def space_time_pool(
    features: Tensor,
    relevance: Tensor | None,
    *,
    weighting: str = "authors",
    temperature: float = 0.01,
) -> Tensor:
    """Pool each frame to one token and each place to one token, in Video-ChatGPT's manner.

    Args:
        features: ``(B, T, H, W, D)``.
        relevance: ``(B, T, H, W)``, or None for the plain average.
        weighting: one of `pooling.WEIGHTINGS`.
        temperature: of ``authors``.

    Returns:
        ``(B, T + H * W, D)``: the frames in order, then the places row by row.

    Raises:
        ShapeError: the shapes do not go together.
        UsageError: an unknown weighting or a temperature that is not positive.
    """
    frames, rows, columns = features.shape[1:4]
    windows = (Window((1, rows, columns)), Window((frames, 1, 1)))
    return multi_kernel_pool(
        features, relevance, windows=windows, weighting=weighting, temperature=temperature
    )


def multi_kernel_pool(
    features: Tensor,
    relevance: Tensor | None,
    *,
    windows: Sequence[Window],
    weighting: str = "authors",
    temperature: float = 0.01,
) -> Tensor:
    """Pool the grid once with every window and put the tokens one after the other.

    Args:
        features: ``(B, T, H, W, D)``.
        relevance: ``(B, T, H, W)``, or None for the plain average.
        windows: at least one.
        weighting: one of `pooling.WEIGHTINGS`.
        temperature: of ``authors``.

    Returns:
        ``(B, N, D)``, N being the sum of all windows' tokens, in the windows' order.

    Raises:
        ShapeError: a window is larger than the grid, or the shapes do not go together.
        UsageError: no window, an unknown weighting or a temperature that is not positive.
    """
    if not windows:
        raise UsageError("several kernels need at least one window; give one")
    pooled = [
        pool(features, relevance, window=window, weighting=weighting, temperature=temperature)
        for window in windows
    ]
    return torch.cat([tokens.flatten(1, 3) for tokens in pooled], dim=1)


def merge_tokens(features: Tensor, *, window: Window) -> Tensor:
    """Merge the most alike patches until as many are left as the window would leave (ToMe).

    Frames are taken together as the window's time axis says; within such a group tokens
    merge wherever they lie, in rounds of bipartite matching on cosine similarity that at
    most halve their number, as averages weighted by the patches already in them. Not linear;
    ignores the text.

    Args:
        features: ``(B, T, H, W, D)``.
        window: kernel and stride along time; along height and width only the number of
            tokens counts.

    Returns:
        ``(B, T', H', W', D)``. Inside a group the tokens keep the order of the patches that
        others were merged into; their rows and columns mean nothing more.

    Raises:
        ShapeError: the window is larger than the grid.
    """
    frames, rows, columns = features.shape[1:4]
    groups, kept_rows, kept_columns = window.output_size((frames, rows, columns))
    along_time = Window((window.kernel[0], 1, 1), (window.step[0], 1, 1))
    tokens = window_view(features, along_time).movedim(4, 2).flatten(2, 6).flatten(0, 1)
    sizes = tokens.new_ones(tokens.shape[:2])
    while tokens.shape[1] > kept_rows * kept_columns:
        tokens, sizes = _merge_round(tokens, sizes, kept_rows * kept_columns)
    return tokens.view(features.shape[0], groups, kept_rows, kept_columns, features.shape[-1])


def _merge_round(tokens: Tensor, sizes: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Merge the most alike pairs between even and odd tokens, not below ``target`` tokens.

    Args:
        tokens: ``(G, N, D)``.
        sizes: ``(G, N)``: how many patches are in each token.
        target: at least 1.

    Returns:
        Tokens ``(G, M, D)`` in their old order and their sizes ``(G, M)``.
    """
    count = tokens.shape[1]
    directions = F.normalize(tokens.detach().float(), dim=-1)
    likeness = directions[:, ::2] @ directions[:, 1::2].transpose(1, 2)
    best, partner = likeness.max(dim=-1)
    merges = min(best.shape[1], count // 2, count - target)
    leaving = best.topk(merges, dim=-1).indices
    destinations = partner.gather(1, leaving) * 2 + 1
    leaving = leaving * 2

    weighted = tokens * sizes.unsqueeze(-1)
    spread = (*leaving.shape, tokens.shape[-1])
    moved = weighted.gather(1, leaving.unsqueeze(-1).expand(spread))
    sums = weighted.scatter_add(1, destinations.unsqueeze(-1).expand(spread), moved)
    sizes = sizes.scatter_add(1, destinations, sizes.gather(1, leaving))

    staying = torch.ones(sizes.shape, dtype=torch.bool, device=sizes.device)
    staying.scatter_(1, leaving, False)
    sizes = sizes[staying].view(len(tokens), count - merges)
    sums = sums[staying].view(len(tokens), count - merges, -1)
    return sums / sizes.unsqueeze(-1), sizes
