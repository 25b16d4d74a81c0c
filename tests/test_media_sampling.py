"""Which frames are taken: the authors' rule, rates, ranges and times as people write them."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pplava_core.errors import UsageError
from pplava_core.media import (
    bounded_indices,
    check_sampling,
    choose_positions,
    parse_seconds,
    sample_indices,
)
from pplava_core.types import Sampling

CASES = json.loads((Path(__file__).parent / "data" / "frame_indices.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_indices_are_those_of_the_authors_evaluation(case):
    start, stop = case["range_seconds"] or (-100_000, 100_000)
    indices = bounded_indices(
        start,
        stop,
        fps=case["fps"],
        last_index=case["last_index"],
        first_index=case["first_index"],
        num_frames=len(case["indices"]),
    )
    assert indices == case["indices"]


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case["range_seconds"] is None and case["first_index"] == 0],
    ids=str,
)
def test_whole_films_follow_the_same_rule(case):
    indices = sample_indices(case["last_index"] + 1, len(case["indices"]))
    assert indices == case["indices"]


def test_a_folder_counted_from_one_gives_the_same_frames_as_one_counted_from_zero():
    from_one = bounded_indices(-9e4, 9e4, fps=3, first_index=1, last_index=57, num_frames=16)
    assert [index - 1 for index in from_one] == sample_indices(57, 16)


@given(st.integers(1, 5000), st.integers(1, 300))
def test_indices_lie_in_the_film_and_are_evenly_spread(frame_count, num_frames):
    indices = sample_indices(frame_count, num_frames)
    assert len(indices) == num_frames
    assert min(indices) >= 0
    assert max(indices) < frame_count
    gaps = {later - earlier for earlier, later in pairwise(indices)}
    assert not gaps or (min(gaps) >= 0 and max(gaps) - min(gaps) <= 1)


@pytest.mark.parametrize(("frame_count", "num_frames"), [(0, 8), (8, 0), (-1, 3), (3, -1)])
def test_nothing_can_be_taken_from_nothing(frame_count, num_frames):
    with pytest.raises(UsageError):
        sample_indices(frame_count, num_frames)


frame_gaps = st.lists(st.floats(0.001, 3.0), min_size=1, max_size=60)


@given(
    gaps=frame_gaps,
    begin_seconds=st.floats(0, 5),
    start=st.none() | st.floats(0, 100),
    length=st.none() | st.floats(0.01, 50),
    rate=st.none() | st.floats(0.05, 100),
    number=st.integers(1, 64),
)
def test_frames_of_a_range_lie_in_the_range(gaps, begin_seconds, start, length, rate, number):
    seconds = [begin_seconds + sum(gaps[:place]) for place in range(len(gaps))]
    film_stop = begin_seconds + sum(gaps)
    stop = None if length is None else (start or 0) + length
    sampling = Sampling(
        num_frames=None if rate else number, fps=rate, start_seconds=start, stop_seconds=stop
    )
    if start is not None and start > 0 and start >= film_stop:
        with pytest.raises(UsageError, match="film ends"):
            choose(seconds, film_stop, sampling)
        return
    positions = choose(seconds, film_stop, sampling)
    assert positions == sorted(positions)
    inside = [
        place
        for place, time in enumerate(seconds)
        if time >= (start or 0) - 1e-6 and (stop is None or time < stop - 1e-6)
    ]
    if inside:
        assert set(positions) <= set(inside)
    else:
        assert len(set(positions)) == 1
        assert positions[0] == max(
            (place for place, time in enumerate(seconds) if time <= (start or 0)), default=0
        )
    assert rate is not None or len(positions) == number
    assert rate is None or len(positions) == len(set(positions))


@given(gaps=frame_gaps, rate=st.floats(0.05, 100))
def test_a_rate_takes_the_frame_on_screen_at_every_tick(gaps, rate):
    seconds = [sum(gaps[:place]) for place in range(len(gaps))]
    film_stop = sum(gaps)
    on_screen = []
    tick = 0
    while tick / rate < film_stop - 1e-6:
        on_screen.append(sum(time <= tick / rate + 1e-6 for time in seconds) - 1)
        tick += 1
    expected = sorted(set(on_screen))
    assert choose(seconds, film_stop, Sampling(fps=rate)) == expected


def test_an_absurd_rate_on_a_long_film_ends_at_once():
    seconds = [60.0 * place for place in range(60)]
    assert choose(seconds, 3600.0, Sampling(fps=1000.0)) == list(range(60))


def test_half_a_frame_per_second_of_a_film_at_30():
    seconds = [place / 30 for place in range(300)]
    assert choose(seconds, 10.0, Sampling(fps=0.5)) == [0, 60, 120, 180, 240]


def test_the_end_of_a_range_is_not_in_it():
    seconds = [place / 10 for place in range(100)]
    sampling = Sampling(fps=10.0, start_seconds=0.3, stop_seconds=0.6)
    assert choose(seconds, 10.0, sampling) == [3, 4, 5]


def test_a_range_inside_one_long_frame_gives_the_frame_on_screen():
    sampling = Sampling(num_frames=4, start_seconds=2.5, stop_seconds=2.6)
    assert choose([0.0, 1.0, 2.0, 9.0], 10.0, sampling) == [2, 2, 2, 2]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(num_frames=4, fps=1.0),
        Sampling(num_frames=0),
        Sampling(num_frames=-3),
        Sampling(num_frames=10**9),
        Sampling(fps=0.0),
        Sampling(fps=math.nan),
        Sampling(fps=math.inf),
        Sampling(start_seconds=-1.0),
        Sampling(start_seconds=math.nan),
        Sampling(stop_seconds=0.0),
        Sampling(stop_seconds=math.inf),
        Sampling(start_seconds=5.0, stop_seconds=5.0),
        Sampling(start_seconds=6.0, stop_seconds=5.0),
    ],
    ids=str,
)
def test_senseless_samplings_are_refused_in_one_line(sampling):
    with pytest.raises(UsageError) as caught:
        check_sampling(sampling)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12.0),
        ("12.5", 12.5),
        (".5", 0.5),
        (" 7. ", 7.0),
        ("1:05", 65.0),
        ("90:00", 5400.0),
        ("1:02:03.5", 3723.5),
        ("0:00:00", 0.0),
        ("100:00:01", 360001.0),
        ("3600", 3600.0),
    ],
)
def test_times_as_people_write_them(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "a", "-1", "1:60", "1:61:00", "1:2:3:4", "1:", ":5", "nan", "inf", "1e3", "1,5", "٣"],
)
def test_other_texts_are_no_times(text):
    with pytest.raises(UsageError, match="not a time"):
        parse_seconds(text)


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_time_beyond_all_numbers_is_refused_as_a_range(digits):
    far = parse_seconds("9" * digits + ":00:00")
    with pytest.raises(UsageError, match="0 or more"):
        check_sampling(Sampling(start_seconds=far))


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 9))
def test_a_time_is_read_back(hours, minutes, seconds, tenths):
    text = f"{hours}:{minutes:02}:{seconds:02}.{tenths}"
    assert parse_seconds(text) == pytest.approx(hours * 3600 + minutes * 60 + seconds + tenths / 10)


def choose(seconds: list[float], film_stop_seconds: float, sampling: Sampling) -> list[int]:
    return choose_positions(
        seconds, film_stop_seconds=film_stop_seconds, sampling=sampling, default_num_frames=16
    )


@pytest.mark.parametrize(
    ("length", "sampling", "count"),
    [
        (8, Sampling(least_fps=1.0), 16),
        (16, Sampling(least_fps=1.0), 16),
        (17, Sampling(least_fps=1.0), 32),
        (60, Sampling(least_fps=1.0), 64),
        (60, Sampling(least_fps=0.5), 32),
        (60, Sampling(least_fps=1.0, start_seconds=20.0, stop_seconds=50.0), 32),
        (60, Sampling(least_fps=1.0, num_frames=4), 4),
        (3600, Sampling(least_fps=1.0), 2048),
        (60, Sampling(least_fps=100.0), 288),
    ],
)
def test_a_long_film_gives_more_frames_where_a_model_wants_that(length, sampling, count):
    seconds = [index / 5 for index in range(length * 5)]
    chosen = choose_positions(
        seconds, film_stop_seconds=float(length), sampling=sampling, default_num_frames=16
    )
    assert len(chosen) == count
    assert chosen == sorted(chosen)
    if sampling.start_seconds:
        assert all(20 <= seconds[position] < 50 for position in chosen)
