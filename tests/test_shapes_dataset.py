"""Folders of rendered films: which questions are chosen, and what is written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from small_models import plan_small_films

from pplava_core import media
from pplava_core.errors import InputError, UsageError
from pplava_core.shapes import dataset
from pplava_core.shapes.questions import TYPES
from pplava_core.shapes.render import render
from pplava_core.shapes.scene import all_apart
from pplava_core.types import Sampling


@pytest.fixture
def small_films(monkeypatch):
    plan_small_films(monkeypatch)


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


def test_same_seed_same_questions(chosen):
    assert dataset.choose_items("validation", 5, 480) == chosen
    assert dataset.choose_items("validation", 6, 12) != dataset.choose_items("validation", 5, 12)


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
        assert all_apart(planned.scene.things, planned.scene.aspect)
    assert 20 < settings_seen["unusual"] < 60


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
