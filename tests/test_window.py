import itertools
import math

import pytest
from golden_files import facts
from hypothesis import given, settings
from hypothesis import strategies as st

from pplava_core.errors import ShapeError, UsageError
from pplava_core.window import Window, window_for_budget, window_for_output_size

SIZES = st.tuples(st.integers(1, 20), st.integers(1, 14), st.integers(1, 14))


@pytest.mark.parametrize("case", facts("pooling")["get_size"], ids=str)
def test_sizes_equal_the_reference(case):
    size = tuple(case["input"])
    if "output" in case:
        window = window_for_output_size(size, tuple(case["output"]))
    else:
        window = Window(tuple(case["kernel"]), tuple(case["stride"]))
    assert [window.output_size(size), window.kernel, window.step] == [
        tuple(part) for part in case["result"]
    ]


def test_the_paper_keeps_one_token_in_eighteen():
    window = Window.parse("2,3,3")
    assert window.output_size((32, 24, 24)) == (16, 8, 8)
    assert window.token_count((32, 24, 24)) == 1024
    assert window.volume == 18


@settings(deadline=None)
@given(SIZES, st.data())
def test_an_output_size_is_met_and_covers_the_grid(size, data):
    wanted = tuple(data.draw(st.integers(1, length)) for length in size)
    window = window_for_output_size(size, wanted)
    assert window.output_size(size) == wanted
    ends = [
        (count - 1) * step + extent
        for count, step, extent in zip(wanted, window.step, window.kernel, strict=True)
    ]
    assert tuple(ends) == size


def test_an_output_size_beside_a_kernel_or_a_stride():
    size, wanted = (13, 24, 27), (4, 6, 8)
    window = window_for_output_size(size, wanted, stride=(3, 4, 3))
    assert (window.kernel, window.output_size(size)) == ((4, 4, 6), wanted)
    wanted = (4, 6, 9)
    window = window_for_output_size(size, wanted, kernel=(2, 3, 3))
    assert (window.kernel, window.step, window.output_size(size)) == ((2, 3, 3), (3, 4, 3), wanted)
    assert window_for_output_size(size, (1, 1, 1), kernel=(2, 3, 3)).output_size(size)


@pytest.mark.parametrize(
    ("wanted", "beside", "error"),
    [
        ((14, 1, 1), {}, ShapeError),
        ((4, 6, 8), {"stride": (5, 4, 3)}, ShapeError),
        ((4, 6, 8), {"kernel": (13, 3, 3)}, ShapeError),
        ((4, 6, 8), {"kernel": (2, 3, 3)}, ShapeError),
        ((4, 6, 8), {"kernel": (2, 3, 3), "stride": (3, 4, 3)}, UsageError),
        ((0, 6, 8), {}, ShapeError),
    ],
)
def test_an_impossible_output_size_is_refused(wanted, beside, error):
    with pytest.raises(error):
        window_for_output_size((13, 24, 27), wanted, **beside)


def nearest_slowly(size, budget, preferred):
    """The smallest change among all windows that either are the preferred one or cover an axis."""
    start = preferred.fitted(size)
    best = math.inf
    for wanted in itertools.product(*(range(1, n + 1) for n in start.output_size(size))):
        if math.prod(wanted) > budget:
            continue
        change = 0.0
        for axis in range(3):
            if wanted[axis] == start.output_size(size)[axis]:
                continue
            step = size[axis] // wanted[axis]
            extent = size[axis] - (wanted[axis] - 1) * step
            change += math.log(step / start.step[axis]) ** 2
            change += math.log(extent / start.kernel[axis]) ** 2
        best = min(best, change)
    return best


@settings(max_examples=60, deadline=None)
@given(SIZES, st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)), st.data())
def test_a_budget_is_kept_with_the_least_change(size, kernel, data):
    preferred = Window(kernel)
    full = preferred.fitted(size).token_count(size)
    budget = data.draw(st.integers(1, full + 5))
    window = window_for_budget(size, budget, preferred=preferred)
    assert window.token_count(size) <= budget
    start = preferred.fitted(size)
    if budget >= full:
        assert window == start
    change = sum(
        math.log(ours / theirs) ** 2
        for ours, theirs in zip(
            (*window.kernel, *window.step), (*start.kernel, *start.step), strict=True
        )
    )
    assert change == pytest.approx(nearest_slowly(size, budget, preferred), abs=1e-6)


@pytest.mark.parametrize(
    ("budget", "kernel", "count"),
    [(1024, (2, 3, 3), 1024), (600, (2, 4, 4), 576), (512, (4, 3, 3), 512), (1, (32, 24, 24), 1)],
)
def test_budgets_on_the_papers_grid(budget, kernel, count):
    window = window_for_budget((32, 24, 24), budget, preferred=Window((2, 3, 3)))
    assert (window.kernel, window.token_count((32, 24, 24))) == (kernel, count)


def test_no_budget_below_one_token():
    with pytest.raises(UsageError):
        window_for_budget((4, 4, 4), 0, preferred=Window((1, 1, 1)))


def test_a_window_is_cut_to_a_picture():
    window = Window((2, 3, 3)).fitted((1, 8, 8))
    assert (window.kernel, window.output_size((1, 8, 8))) == ((1, 3, 3), (1, 2, 2))


def test_parsing():
    assert Window.parse("2, 3,3") == Window((2, 3, 3))
    assert Window.parse("2,3,3", "1,2,2") == Window((2, 3, 3), (1, 2, 2))
    assert Window.parse("2,3,3", "1,2,2").overlaps
    assert not Window.parse("2,3,3").overlaps


@pytest.mark.parametrize("text", ["", "2,3", "2,3,3,3", "2,x,3", "0,1,1", "-1,2,2", "2.5,1,1"])
def test_a_window_that_is_none(text):
    with pytest.raises(UsageError) as caught:
        Window.parse(text)
    assert "\n" not in str(caught.value)


def test_a_window_larger_than_the_grid_names_the_axis():
    with pytest.raises(ShapeError, match="axis T has only 1"):
        Window((2, 3, 3)).output_size((1, 9, 9))
