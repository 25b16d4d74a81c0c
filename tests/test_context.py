import pytest
import torch
from golden_files import tensors
from hypothesis import given, settings
from hypothesis import strategies as st

from pplava_core.context import extend_positions
from pplava_core.errors import ShapeError, UsageError


def extend_slowly(table, kept, factor):
    """Eq. 4 row by row, as the authors wrote it down."""
    rows = [table[i] for i in range(kept)]
    past_the_end = 2 * table[-1] - table[-2]
    for old in range(kept, len(table)):
        after = table[old + 1] if old + 1 < len(table) else past_the_end
        for part in range(factor):
            rows.append(((factor - part) * table[old] + part * after) / factor)
    return torch.stack(rows)


@pytest.mark.parametrize(("kind", "length"), [("clip", 248), ("siglip", 196)])
def test_equals_the_reference(kind, length):
    golden = tensors("posembed")
    table = extend_positions(golden[f"{kind}.pos_in"])
    assert len(table) == length
    for name in ("pos_out", "pos_res_out"):
        torch.testing.assert_close(table, golden[f"{kind}.{name}"], rtol=0, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 6), st.integers(2, 9), st.integers(1, 5))
def test_equals_a_slow_obvious_loop(kept, more, factor):
    table = torch.randn(kept + more, 3, dtype=torch.float64)
    stretched = extend_positions(table, kept=kept, factor=factor)
    assert stretched.shape == (kept + factor * more, 3)
    assert torch.equal(stretched[:kept], table[:kept])
    torch.testing.assert_close(stretched, extend_slowly(table, kept, factor))


def test_linear_stretches_ends_onto_ends():
    table = torch.arange(77.0)[:, None].expand(77, 4)
    stretched = extend_positions(table, how="linear")
    torch.testing.assert_close(stretched[:, 0], torch.linspace(0, 76, 248))


def test_random_keeps_what_was_and_draws_the_rest():
    table = torch.randn(77, 64) * 0.01
    stretched = extend_positions(table, how="random", generator=torch.Generator().manual_seed(0))
    again = extend_positions(table, how="random", generator=torch.Generator().manual_seed(0))
    assert torch.equal(stretched, again)
    assert torch.equal(stretched[:77], table)
    assert stretched[77:].std().item() == pytest.approx(table.std().item(), rel=0.05)


@pytest.mark.parametrize("how", ["asymmetric", "linear", "random"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_length_and_dtype(how, dtype):
    stretched = extend_positions(torch.randn(64, 8, dtype=dtype), how=how)
    assert (stretched.shape, stretched.dtype) == ((196, 8), dtype)


def test_gradients():
    table = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: extend_positions(t, kept=2, factor=3), table)


@pytest.mark.parametrize(
    ("table", "options", "error"),
    [
        ((20, 4), {}, ShapeError),
        ((1, 4), {"kept": 0}, ShapeError),
        ((77,), {}, ShapeError),
        ((77, 4), {"how": "cubic"}, UsageError),
        ((77, 4), {"factor": 0}, UsageError),
        ((77, 4), {"kept": -1}, UsageError),
    ],
)
def test_nonsense_is_refused(table, options, error):
    with pytest.raises(error):
        extend_positions(torch.rand(table), **options)
