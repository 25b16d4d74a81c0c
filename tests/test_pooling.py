import itertools
import math

import pytest
import torch
from golden_files import assert_golden, facts, tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pplava_core import pooling
from pplava_core.errors import ShapeError, UsageError
from pplava_core.pooling import WEIGHTINGS, Window, own_windows, pool, window_weights
from pplava_core.window import window_for_output_size

TEMPERATURE = 0.01


def pool_slowly(
    features: Tensor,
    relevance: Tensor | None,
    window: Window,
    weighting: str,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """Eq. 2 and 3, one window, one patch at a time."""
    batch, frames, rows, columns, width = features.shape
    counts = [
        1 + (length - extent) // step
        for length, extent, step in zip(
            (frames, rows, columns), window.kernel, window.step, strict=True
        )
    ]
    output = torch.zeros(batch, *counts, width, dtype=features.dtype)
    for b in range(batch):
        for cell in itertools.product(*map(range, counts)):
            starts = [index * step for index, step in zip(cell, window.step, strict=True)]
            places = list(
                itertools.product(
                    *(
                        range(start, start + extent)
                        for start, extent in zip(starts, window.kernel, strict=True)
                    )
                )
            )
            shares = [1.0 if relevance is None else relevance[b][p].item() for p in places]
            if relevance is None:
                weights = [1 / len(places)] * len(places)
            elif weighting == "literal":
                weights = [s * frames * rows * columns / len(places) for s in shares]
            elif weighting == "window":
                weights = [s / sum(shares) for s in shares]
            else:
                powers = [math.exp((s - max(shares)) / temperature) for s in shares]
                weights = [power / sum(powers) for power in powers]
            for place, weight in zip(places, weights, strict=True):
                output[b][cell] += weight * features[b][place]
    return output


def random_relevance(*shape: int, spread: float = 3.0, dtype=torch.float64, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=dtype) * spread
    return logits.flatten(1).softmax(-1).view(shape)


@st.composite
def grids_and_windows(draw):
    grid = tuple(draw(st.integers(1, 6)) for _ in range(3))
    kernel = tuple(draw(st.integers(1, length)) for length in grid)
    stride = tuple(draw(st.integers(1, extent + 1)) for extent in kernel)
    return grid, Window(kernel, draw(st.sampled_from([None, stride])))


@pytest.mark.parametrize("case", facts("pooling")["cases"], ids=lambda case: case["name"])
def test_pool_equals_the_reference(case):
    golden = tensors("pooling")
    features = golden[case["x"]].permute(0, 2, 3, 4, 1)
    if case["kernel"]:
        window = Window(tuple(case["kernel"]), tuple(case["stride"]))
    else:
        window = window_for_output_size(tuple(features.shape[1:4]), tuple(case["output_size"]))
    relevance = golden[case["w"]] if case["w"] else None
    pooled = pool(features, relevance, window=window, temperature=case["temperature"])
    assert_golden(pooled.permute(0, 4, 1, 2, 3), "pooling", f"{case['name']}.out", run=case["name"])


@settings(max_examples=60, deadline=None)
@given(grids_and_windows(), st.sampled_from((*WEIGHTINGS, None)), st.integers(0, 1000))
def test_pool_equals_a_slow_obvious_loop(shape, weighting, seed):
    (frames, rows, columns), window = shape
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, frames, rows, columns, 3, generator=generator, dtype=torch.float64)
    relevance = random_relevance(2, frames, rows, columns, seed=seed) if weighting else None
    pooled = pool(features, relevance, window=window, weighting=weighting or "authors")
    expected = pool_slowly(features, relevance, window, weighting or "authors")
    assert pooled.shape[1:4] == window.output_size((frames, rows, columns))
    torch.testing.assert_close(pooled, expected, rtol=1e-9, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(grids_and_windows(), st.sampled_from(WEIGHTINGS))
def test_a_uniform_map_gives_the_plain_average(shape, weighting):
    grid, window = shape
    features = torch.randn(2, *grid, 3, dtype=torch.float64)
    uniform = torch.full((2, *grid), 1 / math.prod(grid), dtype=torch.float64)
    pooled = pool(features, uniform, window=window, weighting=weighting)
    torch.testing.assert_close(pooled, pool(features, None, window=window))


@pytest.mark.parametrize("weighting", [*WEIGHTINGS, None])
@pytest.mark.parametrize("window", [Window((2, 3, 2)), Window((2, 2, 3), (1, 2, 2))], ids=str)
def test_a_clip_in_a_padded_batch_gives_what_it_gives_alone(weighting, window):
    sizes, full = ((5, 4, 6), (3, 7, 5)), (5, 7, 6)
    features = torch.randn(2, *full, 4, dtype=torch.float64)
    relevance = torch.rand(2, *full, dtype=torch.float64)  # noise on padding must not matter
    mask = torch.zeros(2, *full, dtype=torch.bool)
    alone = []
    for number, (frames, rows, columns) in enumerate(sizes):
        mask[number, :frames, :rows, :columns] = True
        own = random_relevance(1, frames, rows, columns, seed=number)
        relevance[number, :frames, :rows, :columns] = own[0]
        alone.append(
            pool(
                features[number : number + 1, :frames, :rows, :columns],
                own if weighting else None,
                window=window,
                weighting=weighting or "authors",
            )
        )
    together = pool(
        features,
        relevance if weighting else None,
        window=window,
        weighting=weighting or "authors",
        mask=mask,
    )
    whole = own_windows(mask, window=window)
    assert together.isfinite().all()
    for number, expected in enumerate(alone):
        kept = together[number][whole[number]]
        torch.testing.assert_close(kept, expected[0].flatten(0, 2), check_dtype=False)


def test_a_window_of_padding_only_weighs_nothing():
    mask = torch.zeros(1, 4, 2, 2, dtype=torch.bool)
    mask[:, :2] = True
    relevance = random_relevance(1, 4, 2, 2)
    features = torch.randn(1, 4, 2, 2, 3, dtype=torch.float64)
    for weighting in WEIGHTINGS:
        weights = window_weights(
            relevance, window=Window((2, 2, 2)), weighting=weighting, mask=mask
        )
        assert weights[:, 1].abs().max() == 0
        pooled = pool(features, relevance, window=Window((2, 2, 2)), weighting=weighting, mask=mask)
        assert pooled[:, 1].abs().max() == 0


@pytest.mark.parametrize("faint", [0.0, 1e-45, 1e-38, 1e-30])
@pytest.mark.parametrize("weighting", ["window", "authors"])
def test_a_window_without_relevance_is_averaged(weighting, faint):
    relevance = torch.full((1, 4, 2, 2), faint)
    relevance[:, 0] = 0.25
    relevance[0, 2, 0, 0] = 0.0
    relevance.requires_grad_()
    features = torch.randn(1, 4, 2, 2, 5)
    pooled = pool(features, relevance, window=Window((2, 2, 2)), weighting=weighting)
    torch.testing.assert_close(pooled[0, 1, 0, 0], features[0, 2:].mean((0, 1, 2)))
    pooled.square().sum().backward()
    assert relevance.grad.isfinite().all()


def test_softmax_that_underflows_still_teaches():
    """Relevance straight out of a peaked float32 softmax, as in training."""
    logits = torch.zeros(1, 4, 2, 2)
    logits[0, 0, 0, 0] = 300
    logits[0, 3, 0, 0] = 150
    logits.requires_grad_()
    relevance = logits.flatten(1).softmax(-1).view_as(logits)
    features = torch.randn(1, 4, 2, 2, 5)
    for weighting in WEIGHTINGS:
        pooled = pool(features, relevance, window=Window((2, 2, 2)), weighting=weighting)
        (gradient,) = torch.autograd.grad(pooled.square().sum(), logits, retain_graph=True)
        assert pooled.isfinite().all()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("window", [Window((2, 1, 2)), Window((2, 2, 1), (1, 1, 2))], ids=str)
def test_gradients(weighting, window):
    features = torch.randn(2, 3, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    relevance = random_relevance(2, 3, 2, 3, spread=1.0).requires_grad_()

    def pooled(features, relevance):
        return pool(features, relevance, window=window, weighting=weighting, temperature=0.1)

    assert torch.autograd.gradcheck(pooled, (features, relevance))


@pytest.mark.parametrize("weighting", [*WEIGHTINGS, None])
def test_bfloat16_features_stay_bfloat16_and_close(weighting):
    features = torch.randn(1, 4, 6, 6, 8)
    relevance = random_relevance(1, 4, 6, 6, dtype=torch.float32, spread=1.0) if weighting else None
    options = {"window": Window((2, 3, 3)), "weighting": weighting or "authors"}
    exact = pool(features.bfloat16().float(), relevance, **options)
    pooled = pool(features.bfloat16(), relevance, **options)
    assert pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled.float(), exact, rtol=0.02, atol=0.02 * exact.abs().max())


@pytest.mark.parametrize("window", [Window((2, 3, 3)), Window((2, 3, 3), (1, 2, 2))], ids=str)
def test_windows_are_looked_at_and_not_copied(window):
    grid = torch.randn(2, 5, 7, 8, 4)
    assert pooling.window_view(grid, window).data_ptr() == grid.data_ptr()


def test_pooling_copies_the_grid_at_most_once():
    features = torch.randn(1, 16, 12, 12, 64)
    relevance = random_relevance(1, 16, 12, 12, dtype=torch.float32)
    with torch.profiler.profile(profile_memory=True) as profile:
        pool(features, relevance, window=Window((2, 3, 3)))
    grid_bytes = features.numel() * 4
    allocated_bytes = sum(max(event.self_cpu_memory_usage, 0) for event in profile.events())
    assert 0 < allocated_bytes < 1.5 * grid_bytes


def test_weights_of_convex_weightings_sum_to_one():
    relevance = random_relevance(2, 5, 4, 6, spread=5.0)
    for weighting in ("window", "authors"):
        weights = window_weights(relevance, window=Window((2, 2, 3)), weighting=weighting)
        assert weights.shape == (2, 2, 2, 2, 2, 2, 3)
        torch.testing.assert_close(weights.sum((4, 5, 6)), torch.ones(2, 2, 2, 2).double())


def test_literal_weights_keep_the_magnitude():
    relevance = random_relevance(1, 2, 2, 4)
    weights = window_weights(relevance, window=Window((2, 2, 2)), weighting="literal")
    torch.testing.assert_close(
        weights[0, 0, 0].sum((1, 2, 3)), relevance[0].unfold(2, 2, 2).sum((0, 1, 3)) * 2
    )


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"weighting": "loudest"}, UsageError),
        ({"temperature": 0.0}, UsageError),
        ({"window": Window((5, 1, 1))}, ShapeError),
        ({"relevance": torch.rand(1, 4, 3, 4)}, ShapeError),
        ({"mask": torch.ones(1, 4, 4, 5, dtype=torch.bool)}, ShapeError),
        ({"features": torch.rand(4, 4, 4, 2)}, ShapeError),
    ],
    ids=str,
)
def test_nonsense_is_refused_in_one_line(change, error):
    arguments = {
        "features": torch.rand(1, 4, 4, 4, 2),
        "relevance": torch.rand(1, 4, 4, 4),
        "window": Window((2, 2, 2)),
    }
    with pytest.raises(error) as caught:
        pool(**{**arguments, **change})
    assert "\n" not in str(caught.value)
