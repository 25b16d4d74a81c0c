"""The rendered world: its scenes, pictures, questions and films, against slow second opinions."""

from __future__ import annotations

import hashlib
import io
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

from pplava_core import media
from pplava_core.errors import InputError, UsageError
from pplava_core.shapes import dataset, questions
from pplava_core.shapes.film import encode_mp4, film_for_training, through_codec
from pplava_core.shapes.questions import TYPES, ask, caption
from pplava_core.shapes.render import patch_coverage, render
from pplava_core.shapes.scene import (
    COLOURS,
    DIRECTIONS,
    KINDS,
    LARGEST_RADIUS,
    MAX_THINGS,
    SMALLEST_RADIUS,
    SPLITS,
    Scene,
    draw_scene,
    scene_seed,
)
from pplava_core.types import Sampling

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


@pytest.fixture(scope="module")
def chosen():
    return dataset.choose_items("validation", 5, 480)


def test_every_type_is_asked_equally_often(chosen):
    counts = Counter(item.question.type for item in chosen)
    assert counts == dict.fromkeys(TYPES, 40)


def test_no_constant_answer_does_well(chosen):
    most = {}
    for name in TYPES:
        answers = Counter(i.question.answer for i in chosen if i.question.type == name)
        most[name] = max(answers.values()) / sum(answers.values())
    bounds = {
        "count": 0.2, "count_colour": 0.45, "count_kind": 0.4, "colour": 0.2, "kind": 0.25,
        "position": 0.2, "presence": 0.55, "motion": 0.3, "order": 0.2, "event": 0.55,
        "choice": 0.4, "caption": 0.1,
    }  # fmt: skip
    assert {name: most[name] for name in TYPES if most[name] > bounds[name]} == {}


def test_neither_place_in_an_order_question_is_right_more_often():
    asked = many_order_questions()
    firsts = [q.text.index(q.answer) < q.text.index(" or ") for q in asked]
    assert len(firsts) > 80
    assert 0.35 < np.mean(firsts) < 0.65


def test_the_thing_that_comes_first_is_not_always_the_first_one_drawn():
    firsts = [q.targets[0] < q.targets[1] for q in many_order_questions()]
    assert 0.3 < np.mean(firsts) < 0.7


def test_same_seed_same_questions(chosen):
    assert dataset.choose_items("validation", 5, 480) == chosen
    assert dataset.choose_items("validation", 6, 48) != dataset.choose_items("validation", 5, 48)


def slow_coverage(owners, thing_count, grid):
    frames, height, width = owners.shape
    shares = np.zeros((thing_count, frames, *grid), np.float32)
    for thing in range(thing_count):
        for frame in range(frames):
            for row in range(grid[0]):
                for column in range(grid[1]):
                    patch = owners[
                        frame,
                        row * height // grid[0] : (row + 1) * height // grid[0],
                        column * width // grid[1] : (column + 1) * width // grid[1],
                    ]
                    shares[thing, frame, row, column] = (patch == thing).mean()
    return shares


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(8, 65),
    width=st.integers(8, 65),
    rows=st.integers(1, 8),
    columns=st.integers(1, 8),
    seed=SEEDS,
)
def test_coverage_equals_a_slow_count(height, width, rows, columns, seed):
    owners = np.random.default_rng(seed).integers(-1, 3, (2, height, width)).astype(np.int8)
    fast = patch_coverage(owners, 3, (rows, columns))
    np.testing.assert_allclose(fast, slow_coverage(owners, 3, (rows, columns)), atol=1e-6)


@pytest.mark.parametrize(("size", "count"), [(30, 22), (60, 26), (98, 22), (392, 24)])
def test_coverage_where_fractions_of_the_size_are_not_exact(size, count):
    owners = np.random.default_rng(0).integers(-1, 1, (1, size, 8)).astype(np.int8)
    fast = patch_coverage(owners, 1, (count, 2))
    np.testing.assert_allclose(fast, slow_coverage(owners, 1, (count, 2)), atol=1e-6)


def test_pixels_have_the_colour_of_the_thing_that_owns_them():
    for number in range(30):
        scene = draw_scene(number)
        frames, owners = render(scene, [0.1, 0.8], height=120, width=160)
        for thing_number, thing in enumerate(scene.things):
            # The grain adds at most 9 either way; half-covered edges are left out.
            inside = owners == thing_number
            if inside.sum() < 60:
                continue
            off = np.abs(np.median(frames[inside], axis=0) - np.array(thing.shade))
            assert off.max() <= 12


def test_things_are_painted_where_and_when_the_scene_says():
    seen = 0
    for number in range(40):
        scene = draw_scene(number)
        moments = [0.0, 0.25, 0.5, 0.75, 1.0]
        height, width = 100, 2 * round(50 * scene.aspect)
        _, owners = render(scene, moments, height=height, width=width)
        for thing_number, thing in enumerate(scene.things):
            for frame, moment in enumerate(moments):
                rows, columns = np.nonzero(owners[frame] == thing_number)
                assert (len(rows) > 0) == thing.visible(moment)
                if len(rows):
                    x, y = thing.centre(moment)
                    middle_x = (columns.min() + columns.max() + 1) / 2 / width
                    middle_y = (rows.min() + rows.max() + 1) / 2 / height
                    assert abs(middle_x - x) < 0.03
                    assert abs(middle_y - y) < 0.03
                    seen += 1
    assert seen > 300


def test_a_moving_thing_moves_as_it_is_called():
    moved = set()
    for number in range(60):
        for thing in draw_scene(number).things:
            across, down = np.subtract(thing.stop, thing.start)
            way = np.sign([across, down]).astype(int).tolist()
            assert way == list(DIRECTIONS[thing.motion])
            moved.add(thing.motion)
    assert moved == set(DIRECTIONS)


def test_frames_come_back_from_an_encoder_nearly_as_they_were(tmp_path):
    scene = draw_scene(3)
    frames, _ = render(scene, np.linspace(0, 0.99, 10).tolist(), height=96, width=128)
    encode_mp4(frames, tmp_path / "film.mp4", fps=12.0, crf=18)
    clip = media.load_clip(tmp_path / "film.mp4", sampling=Sampling(num_frames=10), pixels=None)
    assert clip.frames.shape == frames.shape
    assert np.abs(clip.frames.astype(int) - frames).mean() < 6
    assert clip.source.fps == pytest.approx(12.0)
    worse = through_codec(frames, crf=40).astype(int)
    better = through_codec(frames, crf=16).astype(int)
    assert worse.shape == frames.shape
    assert np.abs(better - frames).mean() < np.abs(worse - frames).mean()


@pytest.mark.parametrize("fps", [5.0, 12.0, 29.97, 50.0])
def test_a_film_has_the_frame_rate_that_was_asked_for(tmp_path, fps):
    encode_mp4(np.full((6, 32, 48, 3), 90, np.uint8), tmp_path / "film.mp4", fps=fps)
    clip = media.load_clip(tmp_path / "film.mp4", sampling=Sampling(num_frames=6), pixels=None)
    assert clip.source.fps == pytest.approx(fps, rel=1e-3)
    assert clip.seconds == pytest.approx(np.array(clip.source.indices) / fps, abs=2e-3)


@pytest.mark.parametrize("preset", ["fast", "ultrafast"])
def test_an_encoder_gives_the_same_bytes_every_time(preset):
    frames, _ = render(draw_scene(3), np.linspace(0, 0.99, 10).tolist(), height=130, width=130)
    written = set()
    for number in range(10):
        buffer, dirt = io.BytesIO(), np.full((200, 200, 3 + number), number, np.uint8)
        encode_mp4(frames, buffer, fps=4.0, crf=20, preset=preset)
        written.add(buffer.getvalue())
        del dirt  # what lies in freed memory must not matter
    assert len(written) == 1


@pytest.mark.parametrize("codec_share", [0.0, 1.0])
def test_films_for_training_have_the_shapes_of_the_model(codec_share):
    for number in range(6):
        scene = draw_scene(number)
        rng = np.random.default_rng(number)
        frames, coverage = film_for_training(
            scene, [0.1, 0.5, 0.9], rng, size=48, grid=(6, 6), codec_share=codec_share
        )
        assert frames.shape == (3, 48, 48, 3)
        assert frames.dtype == np.uint8
        assert coverage.shape == (len(scene.things), 3, 6, 6)
        assert coverage.min() >= 0.0
        assert coverage.sum(0).max() <= 1.0 + 1e-6


def test_films_for_training_are_the_same_for_the_same_seed():
    made = [
        film_for_training(
            draw_scene(8),
            [0.2, 0.7],
            np.random.default_rng(1),
            size=48,
            grid=(6, 6),
            codec_share=1.0,
        )
        for _ in range(2)
    ]
    assert (made[0][0] == made[1][0]).all()
    assert (made[0][1] == made[1][1]).all()


def test_films_are_planned_at_sizes_an_encoder_takes():
    settings_seen = Counter()
    for number in range(120):
        planned = dataset.plan_film("test", 0, number)
        settings_seen[planned.setting] += 1
        assert planned.height % 2 == planned.width % 2 == 0
        assert planned.width / planned.height == pytest.approx(planned.scene.aspect, rel=0.03)
        assert planned.frame_count >= 1
        usual = dataset._USUAL
        is_usual = (
            planned.fps in usual["fps"] and min(planned.height, planned.width) in usual["shorter"]
        )
        assert is_usual == (planned.setting == "usual")
    assert 20 < settings_seen["unusual"] < 60


@pytest.fixture
def small_films(monkeypatch):
    """Plan films so small that a test can render them."""
    monkeypatch.setattr(dataset, "_USUAL", {"shorter": (48,), "fps": (4.0,)})
    unusual = {"shorter": (32,), "fps": (5.0,), "aspect": (0.5, 2.0)}
    monkeypatch.setattr(dataset, "_UNUSUAL", unusual)


def decoded(path):
    return media.load_clip(path, sampling=Sampling(num_frames=8), pixels=None).frames


def test_a_dataset_is_written_and_read_and_the_same_again(tmp_path, small_films):
    calls = []
    folders = [tmp_path / "deep" / "one", tmp_path / "two"]
    folders[1].mkdir()
    for folder in folders:
        count = dataset.write_dataset(
            folder,
            split="test",
            seed=9,
            question_count=12,
            workers=1,
            progress=lambda done, total: calls.append((done, total)),
        )
    items = dataset.read_dataset(folders[0])
    assert len(items) == count == 12
    assert items == dataset.read_dataset(folders[1])
    assert items == dataset.choose_items("test", 9, 12)
    names = sorted(path.name for path in (folders[0] / "films").iterdir())
    assert names == sorted({Path(item.film.file_name).name for item in items})
    assert calls == [(n + 1, len(names)) for n in range(len(names))] * 2
    for name in names[:4]:
        frames = [decoded(folder / "films" / name) for folder in folders]
        assert (frames[0] == frames[1]).all()
    first = decoded(folders[0] / items[0].film.file_name)
    assert first.shape[1:3] == (items[0].film.height, items[0].film.width)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "two"]


def test_a_written_film_shows_its_scene(tmp_path, small_films):
    planned = dataset.plan_film("test", 0, 2)
    dataset.write_film(planned, tmp_path / "film.mp4")
    clip = media.load_clip(tmp_path / "film.mp4", sampling=Sampling(num_frames=6), pixels=None)
    assert clip.source.frame_count == planned.frame_count
    moments = [(index + 0.5) / planned.frame_count for index in clip.source.indices]
    wanted, _ = render(planned.scene, moments, height=planned.height, width=planned.width)
    assert np.abs(clip.frames.astype(int) - wanted).mean() < 12


def failing_write(film, path):
    path.with_name("half.mp4").write_bytes(b"half")
    raise OSError("the disk is full")


def test_nothing_is_left_of_a_dataset_that_failed(tmp_path, small_films, monkeypatch):
    monkeypatch.setattr(dataset, "write_film", failing_write)
    with pytest.raises(OSError, match="disk is full"):
        dataset.write_dataset(
            tmp_path / "films", split="test", seed=9, question_count=12, workers=1
        )
    assert list(tmp_path.iterdir()) == []


def slow_write(film, path):
    import time

    time.sleep(0.05)
    with (path.parents[2] / "written.txt").open("a") as log:
        log.write(f"{film.number}\n")


def test_stopping_does_not_render_the_rest_first(tmp_path, small_films, monkeypatch):
    monkeypatch.setattr(dataset, "write_film", slow_write)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dataset.write_dataset(
            tmp_path / "films",
            split="test",
            seed=9,
            question_count=48,
            workers=1,
            progress=stop,
        )
    written = (tmp_path / "written.txt").read_text().splitlines()
    assert len(written) < 10
    assert [path.name for path in tmp_path.iterdir()] == ["written.txt"]


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="exists already"):
        dataset.write_dataset(tmp_path / "films", split="test", seed=0, question_count=12)
    with pytest.raises(UsageError, match="exists already"):
        dataset.write_dataset(
            tmp_path / "films" / "mine.txt", split="test", seed=0, question_count=12
        )
    assert (tmp_path / "films" / "mine.txt").read_text() == "keep"


def test_a_folder_without_questions_is_refused(tmp_path):
    with pytest.raises(InputError, match="shapes render"):
        dataset.read_dataset(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]\n", "3\n", "{}\n", "not json\n", '{"film": {"scene": {"things": [1]}}}\n']
)
def test_a_damaged_questions_file_is_one_clear_line(tmp_path, text):
    (tmp_path / dataset.QUESTIONS_NAME).write_text(text)
    with pytest.raises(InputError) as caught:
        dataset.read_dataset(tmp_path)
    assert dataset.QUESTIONS_NAME in str(caught.value)
    assert "\n" not in str(caught.value)


def test_films_take_no_fewer_frames_than_one():
    short = dataset.plan_film("test", 0, 0)
    values = {name: getattr(short, name) for name in short.__dataclass_fields__}
    assert dataset.Film(**values | {"fps": 0.01}).frame_count == 1
