"""Where and when relevance lies in the rendered world, on a film made by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pplava_core.evals.benchmarks import shapes_pointing
from pplava_core.evals.benchmarks.shapes_pointing import (
    all_brief,
    overlap,
    pointing_of,
    sampled_moments,
    shown_by_thing,
    timing_of,
)
from pplava_core.evidence import find_moments
from pplava_core.shapes.dataset import Film
from pplava_core.shapes.scene import Scene, Thing
from pplava_core.types import Relevance

FRAMES = tuple(range(0, 32, 4))
"Eight of 32 frames, at 0 s, 1 s, …, 7 s."


def thing(colour, place, appears=0.0, vanishes=1.0):
    return Thing(
        kind="square",
        colour=colour,
        radius=0.1,
        shade=(200, 40, 40),
        motion="still",
        start=place,
        stop=place,
        appears=appears,
        vanishes=vanishes,
    )


FILM = Film(
    number=0,
    scene=Scene(
        things=(
            thing("red", (0.25, 0.25), 0.5, 0.75),
            thing("blue", (0.75, 0.75)),
            thing("green", (0.75, 0.25), 0.0, 0.125),
            thing("white", (0.25, 0.75), 0.51, 0.515),
        ),
        aspect=1.0,
        duration_seconds=8.05,
        backdrop_seed=3,
        clutter=0.2,
    ),
    height=32,
    width=32,
    fps=4.0,
    crf=20,
    setting="usual",
)
SOURCE = SimpleNamespace(indices=FRAMES, kind="video", fps=4.0, start_seconds=0.0, stop_seconds=8.0)


def relevance(shares, patch=(0, 0), rest=0.0):
    """Return a map over eight frames of 4 by 4 patches: a share of each at one patch."""
    weights = torch.full((8, 4, 4), rest)
    weights[:, patch[0], patch[1]] += torch.tensor(shares, dtype=torch.float32)
    weights /= weights.sum()
    return Relevance(weights=weights, seconds=np.arange(8.0), text="what?")


def timing(targets, shares):
    found = relevance(shares)
    moments = find_moments(found, frame_span_seconds=(0.0, 8.0))
    return timing_of(FILM, targets, found, SOURCE, moments)


def test_patches_that_show_any_of_a_thing():
    shown = shown_by_thing(FILM, FRAMES, (4, 4))
    assert shown.shape == (4, 8, 4, 4)
    # Radius 0.1 about the corner of four patches.
    red = np.zeros((4, 4), bool)
    red[:2, :2] = True
    assert [frame.any() for frame in shown[0]] == [False] * 4 + [True] * 2 + [False] * 2
    assert (shown[0, 4] == red).all()
    assert (shown[1] == red[::-1, ::-1]).all()
    assert not shown[3].any()


def test_many_frames_are_drawn_in_parts(monkeypatch):
    whole = shown_by_thing(FILM, FRAMES, (3, 5))
    monkeypatch.setattr(shapes_pointing, "_FRAMES_AT_ONCE", 3)
    assert (shown_by_thing(FILM, FRAMES, (3, 5)) == whole).all()


def test_moments_are_those_that_films_are_drawn_at():
    assert sampled_moments(FILM, (0, 31)) == [0.5 / 32, 31.5 / 32]


@pytest.mark.parametrize(
    ("frame", "patch", "hit"),
    [(4, (0, 0), True), (5, (1, 1), True), (4, (2, 2), False), (3, (0, 0), False)],
)
def test_the_peak_must_lie_on_the_thing_when_it_is_there(frame, patch, hit):
    shown = shown_by_thing(FILM, FRAMES, (4, 4))[0]
    shares = [0.0] * 8
    shares[frame] = 1.0
    found = pointing_of(relevance(shares, patch, rest=1 / 128), shown)
    assert found.hit is hit
    # Eight of 128 patches; of 2 in all, 1 is evenly spread.
    assert found.chance == pytest.approx(8 / 128)
    assert found.mass == pytest.approx((0.5 if hit else 0.0) + 0.5 * 8 / 128, rel=1e-5)


def test_an_even_map_has_the_mass_of_chance():
    shown = shown_by_thing(FILM, FRAMES, (4, 4))[1]
    found = pointing_of(relevance([0.0] * 8, rest=1.0), shown)
    assert found.mass == pytest.approx(found.chance) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("targets", "brief"),
    [((0,), True), ((0, 2), True), ((1,), False), ((0, 1), False), ((), False)],
)
def test_brief_are_questions_about_brief_things_alone(targets, brief):
    assert all_brief(FILM, targets) is brief


def test_evidence_in_the_things_time():
    # Red is there in [4 s, 6 s) of the file, whose 32 frames last 8 s and not 8.05 s.
    found = timing((0,), [0, 0, 0, 0, 1, 1, 0, 0])
    assert (found.peak_inside, found.meets) == (True, True)
    assert found.chance == 2 / 8
    # Frames 4 and 5 stand for [3.5 s, 5.5 s).
    assert found.overlap == pytest.approx(1.5 / 2.5)
    assert found.best_overlap == pytest.approx(1.5 / 2.5)


def test_evidence_that_is_too_short_too_long_or_elsewhere():
    short = timing((0,), [0, 0, 0, 0, 1, 0, 0, 0])
    assert short.meets
    assert short.overlap == pytest.approx(0.5 / 2.5)
    late = timing((0,), [0, 0, 0, 0, 0, 0, 1, 0])
    assert (late.peak_inside, late.meets) == (False, True)
    # [5.5 s, 6.5 s) shares half a second with [4 s, 6 s).
    assert late.overlap == pytest.approx(0.5 / 2.5)
    nowhere = timing((0,), [1, 0, 0, 0, 0, 0, 0, 0])
    assert (nowhere.peak_inside, nowhere.meets, nowhere.overlap) == (False, False, 0.0)
    assert nowhere.best_overlap == pytest.approx(0.6)
    even = timing((0,), [1] * 8)
    assert even.meets
    assert even.overlap == pytest.approx(2 / 8)


def test_only_the_heaviest_moment_counts():
    found = timing((0,), [3, 0, 0, 0, 2, 0, 0, 0])
    assert not found.meets
    assert not found.peak_inside


def test_of_several_things_the_best_counts():
    found = timing((0, 2), [1, 0, 0, 0, 0, 0, 0, 0])
    assert (found.peak_inside, found.meets, found.chance) == (True, True, 3 / 8)
    # Green is there in [0 s, 1 s); frame 0 stands for [0 s, 0.5 s).
    assert found.overlap == pytest.approx(0.5)
    assert found.best_overlap == pytest.approx(0.6)


def test_a_thing_that_no_frame_shows_cannot_be_found():
    found = timing((3,), [0, 0, 0, 0, 1, 0, 0, 0])
    assert (found.peak_inside, found.chance, found.best_overlap) == (False, 0.0, 0.0)
    assert found.meets


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ((0.0, 2.0), (1.0, 3.0), 1 / 3),
        ((0.0, 2.0), (0.0, 2.0), 1.0),
        ((0.0, 4.0), (1.0, 2.0), 0.25),
        ((0.0, 1.0), (1.0, 2.0), 0.0),
        ((0.0, 1.0), (5.0, 6.0), 0.0),
        ((1.0, 1.0), (1.0, 1.0), 0.0),
    ],
)
def test_overlap_of_stretches_of_time(one, other, share):
    assert overlap(one, other) == overlap(other, one) == pytest.approx(share)
