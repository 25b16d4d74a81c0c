"""Evidence: moments tile the clip, add up, and sit where the relevance was put."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pplava_core.errors import ShapeError, UsageError
from pplava_core.evidence import find_moments, frame_edges, span_of
from pplava_core.types import ClipSource, Relevance


def make_relevance(weights, seconds=None) -> Relevance:
    weights = torch.as_tensor(np.asarray(weights, np.float32))
    weights = weights / weights.sum()
    seconds = np.arange(len(weights)) + 0.5 if seconds is None else np.asarray(seconds)
    return Relevance(weights=weights, seconds=seconds, text="where?")


def per_frame(values) -> np.ndarray:
    return np.asarray(values, float)[:, None, None] * np.ones((1, 2, 3))


def test_a_single_peak_is_found_with_its_time_share_and_patch():
    weights = np.full((10, 4, 6), 0.01)
    weights[6, 1, 5] = 3.0
    (moment,) = find_moments(make_relevance(weights), frame_span_seconds=(0.0, 10.0))

    assert (moment.start_seconds, moment.stop_seconds) == (6.0, 7.0)
    assert moment.peak_seconds == 6.5
    assert moment.peak_box == pytest.approx((5 / 6, 1 / 4, 1.0, 2 / 4))
    assert moment.share == pytest.approx((3 + 23 * 0.01) / (3 + 239 * 0.01), rel=1e-5)


def test_moments_come_heaviest_first_and_grow_to_where_the_film_is_average():
    weights = per_frame([1, 1, 3, 4, 3, 1, 1, 9, 1, 1])
    first, second = find_moments(make_relevance(weights), frame_span_seconds=(0.0, 10.0))

    assert (first.start_seconds, first.stop_seconds, first.peak_seconds) == (2.0, 5.0, 3.5)
    assert (second.start_seconds, second.stop_seconds, second.peak_seconds) == (7.0, 8.0, 7.5)
    assert first.share == pytest.approx(10 / 25)
    assert second.share == pytest.approx(9 / 25)


def test_only_as_many_as_asked_for_are_given():
    relevance = make_relevance(per_frame([5, 1, 4, 1, 3, 1, 2, 1]))
    found = find_moments(relevance, frame_span_seconds=(0.0, 8.0), max_moments=2)
    assert [moment.peak_seconds for moment in found] == [0.5, 2.5]


@pytest.mark.parametrize("frames", [1, 7])
def test_an_even_map_is_one_moment_of_everything(frames):
    relevance = make_relevance(np.ones((frames, 3, 3)), seconds=2.5 + np.arange(frames))
    (moment,) = find_moments(relevance, frame_span_seconds=(2.0, 12.0))
    assert (moment.start_seconds, moment.stop_seconds) == (2.0, 12.0)
    assert moment.share == pytest.approx(1.0)


def test_rounding_alone_makes_no_moment():
    noise = 1 + 1e-6 * np.random.default_rng(0).standard_normal((9, 3, 3))
    (moment,) = find_moments(make_relevance(noise), frame_span_seconds=(0.0, 9.0))
    assert moment.share == pytest.approx(1.0)


def test_pictures_are_counted_instead_of_timed():
    relevance = make_relevance(per_frame([1, 1, 6]), seconds=[0.0, 0.0, 0.0])
    (moment,) = find_moments(relevance, frame_span_seconds=None)
    assert (moment.start_seconds, moment.stop_seconds, moment.peak_seconds) == (2.0, 3.0, 2.0)


def test_the_same_frame_taken_twice_shares_its_time():
    edges = frame_edges(np.array([1.0, 1.0, 3.0, 3.0]), (0.0, 4.0))
    assert edges.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_the_same_frame_taken_twice_is_one_piece_of_evidence():
    weights = per_frame([0.5, 2.5, 1, 1])
    (moment,) = find_moments(
        make_relevance(weights, seconds=[1.0, 1.0, 2.0, 3.0]), frame_span_seconds=(0.0, 4.0)
    )
    assert (moment.start_seconds, moment.stop_seconds, moment.peak_seconds) == (0.0, 1.5, 1.0)
    assert moment.share == pytest.approx(3 / 5)


def test_a_frame_past_the_stated_end_widens_the_range():
    assert frame_edges(np.array([1.0, 3.0]), (2.0, 3.0)).tolist() == [1.0, 2.0, 4.0]
    assert frame_edges(np.array([5.0]), (0.0, 0.0)).tolist() == [0.0, 5.0]


def test_the_peak_box_is_of_the_picture_not_of_its_padding():
    weights = np.full((1, 4, 4), 0.1)
    weights[0, 1, 2] = 1.0
    (moment,) = find_moments(
        make_relevance(weights), frame_span_seconds=(0.0, 1.0), picture_box=(0.0, 0.25, 1.0, 0.75)
    )
    assert moment.peak_box == pytest.approx((0.5, 0.0, 0.75, 0.5))


@pytest.mark.parametrize("kind", ["image", "images", "video", "frames"])
def test_only_what_has_a_clock_has_a_span(kind):
    source = ClipSource(
        paths=("x",),
        kind=kind,
        width=1,
        height=1,
        frame_count=4,
        fps=2.0 if kind in ("video", "frames") else 0.0,
        duration_seconds=2.0,
        start_seconds=0.5,
        stop_seconds=1.5,
        reader="pyav",
        indices=(0,),
    )
    assert span_of(source) == (None if kind.startswith("image") else (0.5, 1.5))


def test_nonsense_is_refused():
    with pytest.raises(UsageError, match="at least 1"):
        find_moments(
            make_relevance(np.ones((2, 2, 2))), frame_span_seconds=(0.0, 1.0), max_moments=0
        )
    with pytest.raises(ShapeError, match="3 times"):
        find_moments(
            make_relevance(np.ones((2, 2, 2)), seconds=[1, 2, 3]), frame_span_seconds=(0.0, 1.0)
        )


@st.composite
def relevances(draw) -> tuple[Relevance, tuple[float, float]]:
    shape = draw(st.tuples(*[st.integers(1, high) for high in (12, 4, 5)]))
    weights = draw(arrays.arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))
    weights = weights + np.float32(1e-6)
    start = draw(st.floats(-5, 50))
    gaps = draw(arrays.arrays(np.float64, shape[0], elements=st.sampled_from([0.0, 0.04, 1.0, 7])))
    seconds = start + np.cumsum(gaps)
    return make_relevance(weights, seconds), (start, float(seconds[-1]) + draw(st.floats(0.01, 9)))


@settings(deadline=None)
@given(relevances(), st.integers(1, 4))
def test_moments_are_disjoint_ordered_by_share_and_add_up_to_at_most_one(clip, max_moments):
    relevance, span = clip
    moments = find_moments(relevance, frame_span_seconds=span, max_moments=max_moments)

    assert 1 <= len(moments) <= max_moments
    shares = [moment.share for moment in moments]
    assert shares == sorted(shares, reverse=True)
    assert all(share > 0 for share in shares)
    assert sum(shares) <= 1 + 1e-6
    ranges = sorted((moment.start_seconds, moment.stop_seconds) for moment in moments)
    assert ranges[0][0] >= span[0]
    assert ranges[-1][1] <= span[1]
    assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(ranges))
    for moment in moments:
        assert moment.start_seconds <= moment.peak_seconds <= moment.stop_seconds
        left, top, right, bottom = moment.peak_box
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1


@settings(deadline=None)
@given(relevances())
def test_a_moment_holds_just_the_shares_of_the_frames_in_its_range(clip):
    """Against a slow, obvious count over the frames' own stretches."""
    relevance, span = clip
    edges = frame_edges(relevance.seconds, span)
    weights = relevance.weights.double().sum((1, 2)).numpy()
    for moment in find_moments(relevance, frame_span_seconds=span, max_moments=99):
        inside = sum(
            weights[index]
            for index in range(len(weights))
            if moment.start_seconds <= edges[index] and edges[index + 1] <= moment.stop_seconds
        )
        assert moment.share == pytest.approx(inside / weights.sum(), abs=1e-9)


@settings(deadline=None)
@given(relevances())
def test_frames_tile_the_range_and_hold_their_own_time(clip):
    relevance, span = clip
    edges = frame_edges(relevance.seconds, span)
    assert len(edges) == len(relevance.seconds) + 1
    assert (edges[0], edges[-1]) == pytest.approx(span)
    assert (np.diff(edges) >= 0).all()
    single = np.diff(relevance.seconds, prepend=-np.inf, append=np.inf)
    for index in np.flatnonzero((single[:-1] > 0) & (single[1:] > 0)):
        assert edges[index] <= relevance.seconds[index] < edges[index + 1]
