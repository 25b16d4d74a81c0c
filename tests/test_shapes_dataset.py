"""Folders of rendered films: which questions are chosen, and what is written."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from second_opinion import (
    CHOICE_PREFIX,
    KNOWN,
    NAME,
    NEW,
    apparent_speed,
    options_of,
    question_itself,
    true_answer,
    wordings_of,
)
from small_models import plan_small_films

from pplava_core import media
from pplava_core.errors import InputError, UsageError
from pplava_core.media.sample import choose_positions
from pplava_core.shapes import dataset
from pplava_core.shapes.drawing import all_apart, draw_scene, key_things
from pplava_core.shapes.questions import TYPES
from pplava_core.shapes.render import render
from pplava_core.shapes.scene import is_held_out, scene_seed
from pplava_core.types import Sampling


@pytest.fixture
def small_films(monkeypatch):
    plan_small_films(monkeypatch)


@lru_cache(maxsize=8)
def chosen(test_set="plain", count=480, seed=5):
    return dataset.choose_items("validation", seed, count, test_set)


SORTED_SETS = tuple(dataset.TYPES_OF_SET)
ALL_SETS = pytest.mark.parametrize("test_set", dataset.SETS)
SET_WITH_TYPES = pytest.mark.parametrize("test_set", SORTED_SETS)


def test_sets_are_those_that_the_project_promises():
    assert dataset.SETS == ("plain", "redundant", "long-prompt", "unseen", "chat")
    assert set(SORTED_SETS) == set(dataset.SETS) - {"chat"}
    assert dataset.TYPES_OF_SET["plain"] == TYPES
    with pytest.raises(KeyError):
        dataset.choose_items("test", 0, 1, "holiday")


@SET_WITH_TYPES
def test_every_type_is_asked_equally_often(test_set):
    types = dataset.TYPES_OF_SET[test_set]
    counts = Counter(item.question.type for item in chosen(test_set))
    assert counts == dict.fromkeys(types, -(-480 // len(types)))


BOUNDS = {
    "count": 0.2, "count_colour": 0.45, "count_kind": 0.4, "colour": 0.2, "kind": 0.25,
    "position": 0.2, "presence": 0.55, "motion": 0.3, "order": 0.2, "event": 0.55, "choice": 0.4,
    "caption": 0.1, "face": 0.55, "read": 0.2, "relation": 0.25, "larger": 0.25, "before": 0.55,
    "faster": 0.25, "blink": 0.5, "when": 0.2, "duration": 0.2,
}  # fmt: skip


@SET_WITH_TYPES
def test_no_constant_answer_does_well(test_set):
    most = {}
    for name in dataset.TYPES_OF_SET[test_set]:
        answers = Counter(i.question.answer for i in chosen(test_set) if i.question.type == name)
        most[name] = round(max(answers.values()) / answers.total(), 2)
    assert {name: share for name, share in most.items() if share > BOUNDS[name]} == {}


@SET_WITH_TYPES
def test_every_answer_of_a_set_is_true(test_set):
    """Each question of each set, by its words and its film alone."""
    for item in chosen(test_set):
        if item.question.type != "caption":
            scene = item.film.scene
            for aspect in (1.0, scene.aspect):
                assert true_answer(scene, item.question, aspect=aspect) == item.question.answer


def test_what_is_faster_is_so_on_the_screen_as_well():
    seen = 0
    for item in chosen(count=800):
        if item.question.type == "faster":
            scene = item.film.scene
            one, other = (scene.things[number] for number in item.question.targets)
            for aspect in (1.0, scene.aspect):
                assert apparent_speed(one, aspect) >= 1.55 * apparent_speed(other, aspect)
            seen += 1
    assert seen == 39


@ALL_SETS
def test_half_of_a_set_is_worded_as_training_never_does(test_set):
    items = chosen(test_set)
    new = [item.wording == "new" for item in items]
    assert {item.wording for item in items} == {"known", "new"}
    assert 0.35 < np.mean(new) < 0.65
    for item in items:
        text = item.question.text.removeprefix(CHOICE_PREFIX)
        if item.question.type == "choice":
            text = options_of(text)[0]
        if test_set in ("long-prompt", "chat"):
            text = question_itself(text).removeprefix("and ")
        mine, other = (NEW, KNOWN) if item.wording == "new" else (KNOWN, NEW)
        assert wordings_of(text, mine), item
        assert not wordings_of(text, other), item


def test_sets_have_scenes_of_their_own():
    seen = [{item.film.scene.backdrop_seed for item in chosen(name)} for name in dataset.SETS]
    assert len(set.union(*seen)) == sum(map(len, seen))


# Each set keeps its promise.


def test_unseen_questions_are_about_a_combination_that_training_never_shows():
    for item in chosen("unseen"):
        first, *others = item.film.scene.things
        assert 0 in item.question.targets
        assert is_held_out(first.colour, first.kind, first.motion)
        assert not any(is_held_out(t.colour, t.kind, t.motion) for t in others)


@pytest.mark.parametrize("test_set", sorted(set(dataset.SETS) - {"unseen"}))
def test_no_other_set_shows_such_a_combination(test_set):
    for item in chosen(test_set):
        for thing in item.film.scene.things:
            assert not is_held_out(thing.colour, thing.kind, thing.motion)


def test_long_prompts_end_with_their_question_after_77_words():
    for item in chosen("long-prompt"):
        asked = question_itself(item.question.text)
        before = item.question.text.removesuffix(asked)
        assert 77 < len(before.split()) < 140


def frames_taken(film):
    """Return the moments of the frames that a reader at the film's own rate takes."""
    seconds = [index / film.fps for index in range(film.frame_count)]
    positions = choose_positions(
        seconds,
        film_stop_seconds=film.frame_count / film.fps,
        sampling=Sampling(least_fps=film.sampling_fps),
        default_num_frames=16,
    )
    return [(position + 0.5) / film.frame_count for position in positions]


def test_what_redundant_films_are_about_is_seen_long_enough():
    films = {item.film.number: item.film for item in chosen("redundant")}.values()
    assert {film.setting for film in films} == {"long", "very long"}
    for film in films:
        scene, moments = film.scene, frames_taken(film)
        assert 18 <= len(moments) <= 601
        phrases = Counter(thing.phrase for thing in scene.things)
        for key in key_things(scene):
            thing = scene.things[key]
            assert phrases[thing.phrase] == 1
            assert (thing.vanishes - thing.appears) * scene.duration_seconds >= 3.0
            shown = [moment for moment in moments if thing.visible(moment)]
            assert len(shown) >= 3
            # It is not only there: what lies over it leaves it to be seen.
            _, owners = render(scene, shown[:8], height=64, width=64)
            assert (owners == key).any((1, 2)).sum() >= 3


def test_redundant_films_are_long_and_asked_about_what_matters():
    for item in chosen("redundant"):
        scene = item.film.scene
        low, high = (540, 600) if item.film.setting == "very long" else (20, 120)
        assert low <= scene.duration_seconds <= high
        assert item.film.sampling_fps == (2.0 if scene.duration_seconds <= 60 else 1.0)
        assert not item.question.targets or set(item.question.targets) & set(key_things(scene))


def test_one_redundant_film_in_25_lasts_ten_minutes():
    settings_seen = [dataset.plan_film("test", 0, n, "redundant").setting for n in range(50)]
    assert settings_seen.count("very long") == 2


def test_conversations_are_whole_and_in_order():
    items = chosen("chat", 120)
    assert len(items) == 120
    assert [item.turn for item in items] == list(range(dataset.TURNS)) * 24
    for start in range(0, 120, dataset.TURNS):
        assert len({item.film.number for item in items[start : start + dataset.TURNS]}) == 1
        assert len({item.wording for item in items[start : start + dataset.TURNS]}) == 1
    assert len({item.film.number for item in items}) == 24
    assert sum(bool(re.search(r"\bit\b", item.question.text)) for item in items) > 40
    assert len(dataset.choose_items("validation", 5, 7, "chat")) == 10


def test_it_in_a_conversation_is_the_thing_named_last():
    last = None
    for item in chosen("chat"):
        text = item.question.text
        names = re.findall(NAME, text)
        last = names[0] if names else last if item.turn else None
        told = dataclasses.replace(item.question, text=re.sub(r"\bit\b", last or "?", text))
        told = dataclasses.replace(told, text=told.text.removeprefix("and "))
        assert true_answer(item.film.scene, told) == item.question.answer


@ALL_SETS
def test_same_seed_same_questions(test_set):
    again = dataset.choose_items("validation", 5, 60, test_set)
    assert again == dataset.choose_items("validation", 5, 60, test_set)
    assert again != dataset.choose_items("validation", 6, 60, test_set)
    assert again != dataset.choose_items("test", 5, 60, test_set)


@ALL_SETS
def test_an_item_survives_json(test_set):
    for item in chosen(test_set):
        assert dataset.Item.from_dict(json.loads(json.dumps(item.to_dict()))) == item


def test_films_are_planned_at_sizes_an_encoder_takes():
    settings_seen, squeezed = Counter(), 0
    for number in range(200):
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
        drawn = draw_scene(scene_seed("test", 0, number))
        assert planned.scene == dataclasses.replace(drawn, aspect=planned.scene.aspect)
        if planned.scene.aspect != drawn.aspect:
            assert planned.setting == "unusual"
            assert all_apart(planned.scene.things, planned.scene.aspect)
            squeezed += 1
    assert 25 < settings_seen["unusual"] < 60
    assert squeezed > 10


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
    assert len(items) == count == len(TYPES)
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


@ALL_SETS
def test_a_small_dataset_of_every_set_is_written(tmp_path, small_films, monkeypatch, test_set):
    written = []
    monkeypatch.setattr(dataset, "_write_films", lambda films, *_: written.extend(films))
    folder = tmp_path / "films"
    count = dataset.write_dataset(
        folder, split="test", seed=9, question_count=5, test_set=test_set, workers=1
    )
    items = dataset.read_dataset(folder)
    assert len(items) == count >= 5
    assert items == dataset.choose_items("test", 9, 5, test_set)
    assert {item.film.number: item.film for item in items} == {f.number: f for f in written}


@pytest.mark.parametrize("test_set", ["plain", "redundant"])
def test_a_written_film_shows_its_scene(tmp_path, small_films, test_set):
    planned = dataset.plan_film("test", 0, 2, test_set)
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
