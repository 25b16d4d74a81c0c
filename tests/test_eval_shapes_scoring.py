"""What counts as right in the rendered world."""

from __future__ import annotations

import dataclasses

import pytest

from pplava_core.evals.benchmarks.shapes_scoring import (
    best_constant,
    is_right,
    named_share,
    names_all,
    says_nothing_is_there,
    score,
)
from pplava_core.shapes.dataset import choose_items
from pplava_core.shapes.scene import Scene, Thing


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("top left", True),
        ("Top Left.", True),
        ("  top  left ", True),
        ("top", False),
        ("top left or right", False),
        ("", False),
        ("left top", False),
    ],
)
def test_answers_must_be_right_to_the_letter(answer, right):
    assert is_right("position", "top left", answer) is right


@pytest.mark.parametrize("question_type", ["when", "duration"])
@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("3.5 seconds", True),
        ("3.0 seconds", True),
        ("it appears at 4 s.", True),
        ("3.0000001 to 9 seconds", True),
        ("2.9 seconds", False),
        ("4.1 seconds", False),
        ("9 or 3.5 seconds", False),
        ("-3.5 seconds", False),
        ("seconds", False),
        ("", False),
    ],
)
def test_times_may_be_off_by_half_a_second(question_type, answer, right):
    assert is_right(question_type, "3.5 seconds", answer) is right


def test_other_numbers_may_not():
    assert not is_right("count", "3", "3.4")
    assert not is_right("blink", "1", "1 time")


def test_a_time_that_is_no_number_must_be_right_to_the_letter():
    assert is_right("when", "there is no such thing", "There is no such thing.")
    assert not is_right("when", "there is no such thing", "3.5 seconds")


@pytest.mark.parametrize(
    ("question_type", "answers", "hits"),
    [
        ("colour", ["red", "blue", "red"], 2),
        ("count", ["1", "2"], 1),
        ("when", ["1.0 seconds", "1.5 seconds", "5.0 seconds"], 2),
        # 1.5 seconds would be right about both, though neither is so itself.
        ("when", ["1.0 seconds", "2.0 seconds", "5.0 seconds"], 2),
        ("duration", ["1.0 seconds", "2.5 seconds"], 1),
    ],
)
def test_the_best_constant_answer(question_type, answers, hits):
    assert best_constant(question_type, answers) == hits


@pytest.mark.parametrize(
    ("answer", "denies"),
    [
        ("there is no such thing", True),
        ("There is no such thing.", True),
        ("no", False),
        ("there is no such thing here", False),
    ],
)
def test_denying(answer, denies):
    assert says_nothing_is_there(answer) is denies


def test_named_share_counts_every_thing_as_often_as_it_is_there():
    things = ["red circle", "red circle", "blue star", "orange ring"]
    assert named_share("a Red circle, a red circle, a blue star and an orange ring.", things) == 1
    assert named_share("a red circle and a blue star.", things) == 0.5
    assert named_share("red circle red circle red circle red circle", things) == 0.5
    assert named_share("nothing", things) == 0.0
    assert named_share("anything", []) == 0.0


def scene(*things, seconds=4.0):
    made = [
        Thing(
            kind=kind,
            colour=colour,
            radius=0.1,
            shade=(1, 2, 3),
            motion="still",
            start=(0.5, 0.5),
            stop=(0.5, 0.5),
            vanishes=vanishes,
            blinks=blinks,
        )
        for colour, kind, vanishes, blinks in things
    ]
    return Scene(
        things=tuple(made), aspect=1.0, duration_seconds=seconds, backdrop_seed=0, clutter=0.0
    )


CIRCLE = ("red", "circle", 1.0, ())


@pytest.mark.parametrize(
    ("things", "answer", "complete"),
    [
        ((CIRCLE,), "1 object: a red circle.", True),
        ((CIRCLE,), "1 object: a red star.", False),
        ((CIRCLE, CIRCLE), "a red circle", False),
        ((CIRCLE, CIRCLE), "a red circle and a red circle", True),
        # Seen for a second and no longer.
        ((CIRCLE, ("blue", "star", 0.25, ())), "a red circle", True),
        ((CIRCLE, ("blue", "star", 0.26, ())), "a red circle", False),
        ((CIRCLE, ("blue", "star", 0.5, ((0.1, 0.4),))), "a red circle", True),
        ((("blue", "star", 0.25, ()),), "anything", None),
    ],
)
def test_a_description_must_name_what_is_seen_for_over_a_second(things, answer, complete):
    assert names_all(answer, scene(*things)) is complete


def test_a_scored_caption_tells_what_it_names():
    item = next(one for one in choose_items("test", 0, 42) if one.question.type == "caption")
    film = dataclasses.replace(item.film, scene=scene(CIRCLE, ("blue", "star", 0.1, ())))
    one = score(dataclasses.replace(item, film=film), "a red circle.")
    assert (one.right, one.named_share, one.names_all) == (False, 0.5, True)
    other = score(next(i for i in choose_items("test", 0, 42) if i.question.type == "count"), "a")
    assert (other.named_share, other.names_all) == (None, None)
