import math
from functools import partial

import pytest
import torch
from golden_files import assert_golden, facts, tensors

from pplava_core.models.projector import Projector
from pplava_core.pooling import WEIGHTINGS, Window, pool, window_weights
from pplava_core.rivals import max_pool

WINDOWS = [Window((2, 3, 2)), Window((2, 2, 3), (1, 2, 2))]


@pytest.mark.parametrize(
    ("name", "run"),
    [(name, run) for name in ("clip_projector", "siglip_projector") for run in facts(name)["runs"]],
)
def test_the_released_order_equals_the_reference(name, run):
    golden, info = tensors(name), facts(name)
    weights = f"{run.split('.')[0]}.sd." if name == "clip_projector" else "sd."
    parts = ("linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias")
    projector = Projector(64, 64, 64)
    projector.load_state_dict({part: golden[weights + part] for part in parts})
    features = golden[f"{run}.image_features"]
    side = math.isqrt(features.shape[1])
    features = features.view(1, len(features), side, side, -1)
    kind = "" if info["runs"][run]["video"] else "image_"
    window = Window(tuple(info[f"{kind}kernel"]), tuple(info[f"{kind}stride"]))
    pooled = partial(pool, relevance=golden[f"{run}.weights"], window=window)
    for tokens in (
        projector.project_then_weigh(features, pooled),
        projector.project_then_pool(features, pooled),
    ):
        assert_golden(tokens.flatten(1, 3), name, f"{run}.out")


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-6)], ids=str
)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("weighting", [*WEIGHTINGS, None])
def test_weighing_before_the_second_layer_changes_nothing(weighting, window, dtype, tolerance):
    torch.manual_seed(0)
    projector = Projector(6, 20, 9).to(dtype)
    features = torch.randn(2, 5, 6, 7, 6, dtype=dtype)
    relevance = torch.randn(2, 5 * 6 * 7, dtype=dtype).softmax(-1).view(2, 5, 6, 7)
    pooled, weight_sums = partial(pool, relevance=None, window=window), None
    if weighting:
        pooled = partial(pool, relevance=relevance, window=window, weighting=weighting)
    if weighting == "literal":
        weight_sums = window_weights(relevance, window=window, weighting=weighting).sum((4, 5, 6))
    cheap = projector.project_then_weigh(features, pooled, weight_sums=weight_sums)
    plain = projector.project_then_pool(features, pooled)
    torch.testing.assert_close(cheap, plain, rtol=tolerance, atol=tolerance)


def test_the_second_bias_weighs_as_much_as_its_window():
    """Without the weight sum a literal window would carry a whole bias."""
    projector = Projector(3, 8, 4).double()
    features = torch.randn(1, 2, 2, 4, 3, dtype=torch.float64)
    relevance = torch.rand(1, 2, 2, 4, dtype=torch.float64)
    pooled = partial(pool, relevance=relevance, window=Window((2, 2, 2)), weighting="literal")
    wrong = projector.project_then_weigh(features, pooled)
    assert not torch.allclose(wrong, projector.project_then_pool(features, pooled))


def test_the_orders_differ_and_max_keeps_its_own():
    projector = Projector(6, 20, 9).double()
    features = torch.randn(1, 4, 6, 6, 6, dtype=torch.float64)
    average = partial(pool, relevance=None, window=WINDOWS[0])
    largest = partial(max_pool, window=WINDOWS[0])
    first = projector.pool_then_project(features, average)
    assert torch.equal(first, projector(average(features)))
    assert not torch.allclose(first, projector.project_then_weigh(features, average))
    kept = projector.project_then_pool(features, largest)
    assert torch.equal(kept, largest(projector(features)))
    assert not torch.allclose(kept, projector.project_then_weigh(features, largest))
