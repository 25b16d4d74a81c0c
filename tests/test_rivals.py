import pytest
import torch

from pplava_core import rivals
from pplava_core.errors import ShapeError, UsageError
from pplava_core.pooling import pool
from pplava_core.window import Window

FEATURES = torch.randn(
    2, 5, 7, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
)
RELEVANCE = torch.rand(2, 5, 7, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("window", [Window((2, 3, 3)), Window((2, 3, 2), (1, 2, 1))], ids=str)
def test_max_pool_takes_the_largest_of_every_window(window):
    pooled = rivals.max_pool(FEATURES, window=window)
    for b, t, h, w in torch.cartesian_prod(*map(torch.arange, pooled.shape[:4])).tolist():
        (i, j, k), (x, y, z) = window.kernel, window.step
        box = FEATURES[b, t * x : t * x + i, h * y : h * y + j, w * z : w * z + k]
        assert torch.equal(pooled[b, t, h, w], box.amax((0, 1, 2)))


def test_space_and_time_are_pooled_apart():
    tokens = rivals.space_time_pool(FEATURES, None)
    assert tokens.shape == (2, 5 + 7 * 4, 6)
    torch.testing.assert_close(tokens[:, :5], FEATURES.mean((2, 3)))
    torch.testing.assert_close(tokens[:, 5:].view(2, 7, 4, 6), FEATURES.mean(1))


def test_space_and_time_follow_relevance():
    shares = RELEVANCE / RELEVANCE.sum((1, 2, 3), keepdim=True)
    tokens = rivals.space_time_pool(FEATURES, shares, weighting="window")
    expected = (FEATURES * shares[..., None]).sum((2, 3)) / shares.sum((2, 3))[..., None]
    torch.testing.assert_close(tokens[:, :5], expected)


def test_several_kernels_stand_side_by_side():
    windows = (Window((5, 7, 4)), Window((2, 3, 3), (1, 2, 1)))
    tokens = rivals.multi_kernel_pool(FEATURES, RELEVANCE, windows=windows)
    coarse, fine = (pool(FEATURES, RELEVANCE, window=w).flatten(1, 3) for w in windows)
    assert torch.equal(tokens, torch.cat([coarse, fine], dim=1))
    with pytest.raises(UsageError):
        rivals.multi_kernel_pool(FEATURES, None, windows=())


def merge_slowly(tokens, target):
    """Token merging of one group, with lists: (sum, size) pairs in their old order."""
    items = [(token, 1) for token in tokens]
    while len(items) > target:
        even, odd = items[::2], items[1::2]
        pairs = []
        for i, (total, size) in enumerate(even):
            likeness = [
                torch.cosine_similarity(total / size, other / n, dim=0).item() for other, n in odd
            ]
            best = max(range(len(odd)), key=likeness.__getitem__)
            pairs.append((likeness[best], i, best))
        pairs.sort(reverse=True)
        gone = set()
        for _, i, best in pairs[: min(len(odd), len(items) - target)]:
            odd[best] = (odd[best][0] + even[i][0], odd[best][1] + even[i][1])
            gone.add(2 * i)
        merged = [even[n // 2] if n % 2 == 0 else odd[n // 2] for n in range(len(items))]
        items = [item for n, item in enumerate(merged) if n not in gone]
    return torch.stack([total / size for total, size in items])


@pytest.mark.parametrize("window", [Window((2, 3, 2)), Window((3, 7, 2), (2, 7, 2))], ids=str)
def test_merging_equals_slow_merging(window):
    merged = rivals.merge_tokens(FEATURES, window=window)
    groups, rows, columns = window.output_size((5, 7, 4))
    assert merged.shape == (2, groups, rows, columns, 6)
    for b in range(2):
        for group in range(groups):
            start = group * window.step[0]
            tokens = FEATURES[b, start : start + window.kernel[0]].flatten(0, 2)
            expected = merge_slowly(tokens, rows * columns)
            torch.testing.assert_close(merged[b, group].flatten(0, 1), expected)


def test_merging_finds_the_copies():
    kinds = torch.eye(4, dtype=torch.float64)
    grid = kinds[torch.arange(32) // 8].view(1, 2, 4, 4, 4)
    merged = rivals.merge_tokens(grid, window=Window((2, 2, 2))).view(4, 4)
    assert torch.equal(merged, kinds)


def test_merging_is_differentiable_and_keeps_to_the_grid():
    features = FEATURES.clone().requires_grad_()
    rivals.merge_tokens(features, window=Window((2, 3, 2))).sum().backward()
    assert features.grad.isfinite().all()
    assert features.grad[:, :4].abs().min() > 0
    with pytest.raises(ShapeError):
        rivals.merge_tokens(FEATURES, window=Window((6, 1, 1)))
