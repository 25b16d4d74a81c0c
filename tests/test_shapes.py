"""The rendered world: its scenes and questions, against slow second opinions."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pplava_core.shapes import questions
from pplava_core.shapes.questions import TYPES, ask, caption
from pplava_core.shapes.render import render
from pplava_core.shapes.scene import (
    COLOURS,
    KINDS,
    LARGEST_RADIUS,
    MAX_THINGS,
    SMALLEST_RADIUS,
    SPLITS,
    Scene,
    draw_scene,
    scene_seed,
)

SCENE_HASH = "1d89c8ef9b988450f4da5370df7eb9ff3550c77f7ba9838fd008b580962a7bbf"
FRAMES_HASH = "5e2d7bfddaf73ee29c770e12a5ff463141d406d89f841d92a7cee05751b05527"
QUESTIONS_HASH = "731b62c1f1e84670a8ee0db044bab53aeaabab837d445ed0506b20c8d972b914"
SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=60, deadline=None)


@lru_cache(maxsize=1)
def many_order_questions() -> list[questions.Question]:
    asked = []
    for number in range(400):
        asked += ask(draw_scene(number), np.random.default_rng(number), ["order"])
    return asked


def scene_fingerprint() -> str:
    values = [draw_scene(scene_seed("test", 4, number)).to_dict() for number in range(20)]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def frames_fingerprint() -> str:
    digest = hashlib.sha256()
    for number in range(4):
        scene = draw_scene(scene_seed("test", 4, number))
        for part in render(scene, [0.05, 0.5, 0.97], height=90, width=128):
            digest.update(part.tobytes())
    return digest.hexdigest()


def questions_fingerprint() -> str:
    values = []
    for number in range(20):
        scene = draw_scene(scene_seed("test", 4, number))
        asked = ask(scene, np.random.default_rng(number), TYPES)
        values += [[q.type, q.text, q.answer, q.targets, q.named] for q in asked]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def test_same_seed_same_scenes_frames_and_questions_on_every_machine():
    assert scene_fingerprint() == SCENE_HASH
    assert frames_fingerprint() == FRAMES_HASH
    assert questions_fingerprint() == QUESTIONS_HASH


def test_another_process_draws_and_paints_the_same():
    code = "import test_shapes as t; print(t.frames_fingerprint(), t.questions_fingerprint())"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [frames_fingerprint(), questions_fingerprint()]


def test_splits_and_seeds_share_no_scene():
    seen = set()
    for split in SPLITS:
        for seed in (0, 1, 2):
            for number in range(20):
                seen.add(draw_scene(scene_seed(split, seed, number)).backdrop_seed)
    assert len(seen) == 3 * 3 * 20


def test_an_unknown_split_is_refused():
    with pytest.raises(KeyError):
        scene_seed("holiday", 0, 0)


@FEW
@given(seed=SEEDS)
def test_a_scene_is_one_that_can_be_filmed(seed):
    scene = draw_scene(seed)
    assert 1 <= len(scene.things) <= MAX_THINGS
    assert 2.0 <= scene.duration_seconds <= 8.0
    for thing in scene.things:
        assert SMALLEST_RADIUS <= thing.radius <= LARGEST_RADIUS
        assert thing.appears < thing.vanishes
        for moment in np.linspace(0, 1, 21):
            for place in thing.centre(moment):
                assert thing.radius - 1e-3 <= place <= 1 - thing.radius + 1e-3
        near = np.array(COLOURS[thing.colour], int) - thing.shade
        assert np.abs(near).max() <= 14


@FEW
@given(seed=SEEDS)
def test_things_keep_apart_where_they_are_drawn_to(seed):
    scene = draw_scene(seed)
    shorter = min(scene.aspect, 1.0)
    size = np.array([scene.aspect, 1.0]) / shorter
    for moment in np.linspace(0, 1, 9):
        for number, one in enumerate(scene.things):
            for other in scene.things[:number]:
                apart = (np.array(one.centre(moment)) - other.centre(moment)) * size
                assert np.hypot(*apart) >= one.radius + other.radius


@FEW
@given(seed=SEEDS)
def test_a_still_scene_never_changes(seed):
    scene = draw_scene(seed, all_still=True)
    for thing in scene.things:
        assert thing.motion == "still"
        assert thing.start == thing.stop
        assert all(thing.visible(moment) for moment in (0.0, 0.5, 1.0))
    _, owners = render(scene, [0.0, 0.4, 1.0], height=60, width=60)
    assert (owners == owners[0]).all()


@FEW
@given(seed=SEEDS)
def test_a_scene_survives_json(seed):
    scene = draw_scene(seed)
    assert Scene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene


def visible_moments(thing):
    return [m for m in np.linspace(0, 1, 401) if thing.visible(m)]


def test_a_thing_is_visible_from_appearing_until_vanishing():
    for number in range(60):
        for thing in draw_scene(number).things:
            seen = visible_moments(thing)
            assert seen[0] == pytest.approx(thing.appears, abs=0.003)
            assert seen[-1] == pytest.approx(thing.vanishes, abs=0.003)
            assert (seen[-1] == 1.0) == (thing.vanishes == 1.0)


def things_meant(scene, text):
    """Return the numbers of the things whose colour and kind the words allow."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    colours, kinds = words & set(COLOURS), words & set(KINDS)
    return [
        number
        for number, thing in enumerate(scene.things)
        if (not colours or thing.colour in colours) and (not kinds or thing.kind in kinds)
    ]


def way_it_moves(thing):
    seen = visible_moments(thing)
    across, down = np.subtract(thing.centre(seen[-1]), thing.centre(seen[0]))
    if max(abs(across), abs(down)) < 1e-6:
        return "it stays still"
    if abs(across) > abs(down):
        return "right" if across > 0 else "left"
    return "down" if down > 0 else "up"


def cell_it_is_in(thing):
    x, y = thing.centre(0.5)
    row = "top" if y < 1 / 3 else "bottom" if y > 2 / 3 else ""
    column = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
    return f"{row} {column}".strip() or "centre"


def only_one_meant(scene, text):
    meant = things_meant(scene, text)
    assert len(meant) == 1, f"{text!r} means {len(meant)} things"
    return scene.things[meant[0]]


def true_answer(scene, question):
    """Answer a question by looking at the scene with nothing but its words."""
    text = question.text
    if question.type == "choice":
        text, options = re.match(r"(.*?[?.]) (\(?A[).].*)", text).groups()
        listed = dict(re.findall(r"\(?([A-D])[).] (\w+)", options))
        assert len(set(listed.values())) == 4
        kind = "count" if set(listed.values()) <= set("12345678") else None
        kind = kind or ("colour" if set(listed.values()) <= set(COLOURS) else "kind")
        right = true_answer(scene, question_like(question, type=kind, text=text))
        return next(letter for letter, option in listed.items() if option == right)
    if question.type == "count":
        return str(len(scene.things))
    if question.type in ("count_colour", "count_kind"):
        singular = re.sub(r"(circle|square|triangle|star|ring)s\b|(cross)es\b", r"\1\2", text)
        assert things_meant(scene, singular) or question.targets == ()
        return str(len(things_meant(scene, singular)))
    if question.type == "presence":
        return "yes" if things_meant(scene, text) else "no"
    if question.type == "order":
        names = [name for name in re.findall(r"the [a-z ]+", text) if things_meant(scene, name)]
        options = re.search(r"(the [a-z ]+?) or (the [a-z ]+)\?", text).groups()
        assert names
        first = min(options, key=lambda name: visible_moments(only_one_meant(scene, name))[0])
        return first
    thing = only_one_meant(scene, text)
    return {
        "colour": lambda: thing.colour,
        "kind": lambda: thing.kind,
        "position": lambda: cell_it_is_in(thing),
        "motion": lambda: way_it_moves(thing),
        "event": lambda: "no" if thing.visible(1.0) else "yes",
    }[question.type]()


def question_like(question, **changes):
    values = {field: getattr(question, field) for field in question.__dataclass_fields__}
    return questions.Question(**values | changes)


@settings(max_examples=250, deadline=None)
@given(seed=SEEDS, still=st.booleans())
def test_answers_are_true(seed, still):
    scene = draw_scene(seed, all_still=still)
    for question in ask(scene, np.random.default_rng(seed), [t for t in TYPES if t != "caption"]):
        assert true_answer(scene, question) == question.answer, question


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS)
def test_targets_are_the_things_that_a_question_names(seed):
    scene = draw_scene(seed)
    for question in ask(scene, np.random.default_rng(seed), TYPES):
        if question.type == "choice":
            continue
        if question.type in ("count_colour", "count_kind"):
            things = [scene.things[number] for number in question.targets]
            shared = {getattr(thing, question.type.removeprefix("count_")) for thing in things}
            assert len(things) == int(question.answer)
            assert all(value in question.text for value in shared)
            assert len(shared) <= 1
        elif not question.named:
            assert question.targets == tuple(range(len(scene.things)))
        elif question.type == "order":
            first, second = (scene.things[number] for number in question.targets)
            assert first.appears < second.appears
        else:
            assert question.targets == tuple(things_meant(scene, question.text))


@FEW
@given(seed=SEEDS)
def test_no_question_about_one_thing_gives_its_answer_away(seed):
    scene = draw_scene(seed)
    for question in ask(scene, np.random.default_rng(seed), ["colour", "kind", "position"]):
        assert question.answer not in question.text.split()


@FEW
@given(seed=SEEDS, detail=st.sampled_from(questions.DETAILS))
def test_a_description_names_every_thing_from_left_to_right(seed, detail):
    scene = draw_scene(seed)
    text = caption(scene, detail)
    named = re.findall("|".join(f"{c} {k}" for c in COLOURS for k in KINDS), text)
    assert Counter(named) == Counter(thing.phrase for thing in scene.things)
    places = {thing.centre(thing.appears)[0]: thing.phrase for thing in scene.things}
    if len(places) == len(scene.things):
        assert named == [places[x] for x in sorted(places)]
    assert re.findall(r"\d+", text) == [str(len(scene.things))]
    assert text.endswith(".")
    assert not re.search(r"\ba [aeiou]|\ban [^aeiou]| {2}|from at", text)


def test_a_long_description_tells_what_happens():
    told = 0
    for number in range(80):
        scene = draw_scene(number)
        sentences = caption(scene, "long").split(". ")[1:]
        order = sorted(scene.things, key=lambda thing: thing.centre(thing.appears))
        for thing, sentence in zip(order, sentences, strict=True):
            assert ("vanishes" in sentence) == (thing.vanishes < 1)
            assert ("appearing late" in sentence) == (thing.appears > 0)
            assert (f"moves {thing.motion} from" in sentence) == (thing.motion != "still")
            told += 1
    assert told > 100


@given(x=st.floats(0, 1), y=st.floats(0, 1))
def test_a_place_near_a_border_of_two_cells_has_no_name(x, y):
    name = questions.cell_name(x, y)
    nearest = min(abs(value - border) for value in (x, y) for border in (1 / 3, 2 / 3))
    assert (name is None) == (nearest < 0.035)


def test_a_lead_in_goes_before_the_question():
    text = questions.with_lead_in("how many?", np.random.default_rng(0))
    assert text.endswith(" how many?")
    assert len(text) > len("how many?") + 5


def test_the_grammar_of_an_orange_thing():
    texts = [
        q.text for n in range(120) for q in ask(draw_scene(n), np.random.default_rng(n), TYPES)
    ]
    assert any(" an orange " in text for text in texts)
    assert not [text for text in texts if " a orange " in text or "crosss" in text]


def test_neither_place_in_an_order_question_is_right_more_often():
    asked = many_order_questions()
    firsts = [q.text.index(q.answer) < q.text.index(" or ") for q in asked]
    assert len(firsts) > 80
    assert 0.35 < np.mean(firsts) < 0.65


def test_the_thing_that_comes_first_is_not_always_the_first_one_drawn():
    firsts = [q.targets[0] < q.targets[1] for q in many_order_questions()]
    assert 0.3 < np.mean(firsts) < 0.7
