"""Asking a benchmark's questions: once a video, every one of them, each only once."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from eval_fakes import Deadly, Noise, without_times, write_noise
from small_models import small_model

from pplava_core.errors import UsageError
from pplava_core.evals.base import Settings
from pplava_core.evals.runs.predictions import FILE_NAME, read_predictions
from pplava_core.evals.runs.running import Work, answer_items, group_items
from pplava_core.session import PoolingChoice
from pplava_core.window import Window


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return small_model()


@pytest.fixture
def data(tmp_path):
    return write_noise(tmp_path / "data")


def work_for(model, **changes):
    return Work(
        **{"benchmark": Noise(), "settings": Settings(), "model": model, "workers": 0, **changes}
    )


def run(data, folder, work, **more):
    folder.mkdir(exist_ok=True)
    items = work.benchmark.items(data, work.settings)
    return answer_items(items, work, folder, **more)


def test_every_question_is_answered_and_kept_in_order(data, tmp_path, model):
    work = work_for(model)
    found = run(data, tmp_path / "run", work)
    items = work.benchmark.items(data, work.settings)
    kept = read_predictions(tmp_path / "run" / FILE_NAME)
    assert kept == found
    assert list(kept) == [item.id for item in items]
    for one in kept.values():
        assert one.error is None
        assert one.details["frames"] == 4
        assert one.details["visual_tokens"] == 2 * 3 * 3
        assert one.details["prompt_source"] == "our choice"
        assert one.details["answer_tokens"] <= 3
    assert [len(seconds) for seconds in work.benchmark.seen_seconds] == [4] * 12


def test_a_video_is_opened_once_for_all_its_questions(data, tmp_path, model, monkeypatch):
    opened = Counter()
    encode = type(model).encode

    def counting(self, clip, progress=None):
        opened[clip.source.paths[0]] += 1
        return encode(self, clip, progress)

    monkeypatch.setattr(type(model), "encode", counting)
    run(data, tmp_path / "run", work_for(model))
    assert sorted(opened.values()) == [1, 1, 1, 1]


def test_other_frames_of_a_video_are_another_group(data, model):
    class Longer(Noise):
        def num_frames(self, item, settings):
            return 4 if item.groups["kind"] == "loud" else 2

    work = work_for(model, benchmark=Longer())
    groups = group_items(work.benchmark.items(data, work.settings), work)
    assert [len(group.items) for group in groups] == [1] * 4 + [2] * 4
    assert [group.clip.sampling.num_frames for group in groups] == [4] * 4 + [2] * 4


def test_reading_ahead_changes_no_answer(data, tmp_path, model):
    here = run(data, tmp_path / "here", work_for(model))
    ahead = run(data, tmp_path / "ahead", work_for(model, workers=2))
    assert without_times(ahead) == without_times(here)


def test_what_is_answered_is_not_asked_again(data, tmp_path, model):
    work = work_for(model)
    items = work.benchmark.items(data, work.settings)
    folder = tmp_path / "run"
    folder.mkdir()
    answer_items(items[:5], work, folder)
    first = (folder / FILE_NAME).read_bytes().splitlines()
    asked = len(work.benchmark.seen_seconds)
    whole = answer_items(items, work, folder)
    assert len(work.benchmark.seen_seconds) - asked == len(items) - 5
    assert (folder / FILE_NAME).read_bytes().splitlines()[:5] == first
    assert without_times(whole) == without_times(run(data, tmp_path / "at once", work_for(model)))
    answer_items(items, work, folder)
    assert len(work.benchmark.seen_seconds) == 12


def test_missing_and_unreadable_videos_are_recorded_and_tried_again(data, tmp_path, model):
    film = (data / "1.mp4").read_bytes()
    (data / "1.mp4").unlink()
    (data / "2.mp4").write_bytes(film[: len(film) // 3])
    work = work_for(model, workers=1)
    found = run(data, tmp_path / "run", work)
    errors = {name: one.error for name, one in found.items() if one.error is not None}
    assert sorted(errors) == ["1-0", "1-1", "1-2", "2-0", "2-1", "2-2"]
    assert "no such video" in errors["1-0"]
    assert "2.mp4" in errors["2-0"]
    assert all(one.text == "" for one in found.values() if one.error)
    (data / "1.mp4").write_bytes(film)
    again = run(data, tmp_path / "run", work)
    assert sorted(name for name, one in again.items() if one.error) == ["2-0", "2-1", "2-2"]
    assert len(again) == 12


def test_a_film_that_kills_its_reader_is_recorded_and_the_rest_goes_on(data, tmp_path, model):
    found = run(data, tmp_path / "run", work_for(model, benchmark=Deadly(), workers=2))
    errors = {name: one.error for name, one in found.items() if one.error is not None}
    assert sorted(errors) == ["2-0", "2-1", "2-2"]
    assert "killed the reader" in errors["2-0"]
    assert len(found) == 12


def test_progress_tells_questions_videos_and_points(data, tmp_path, model):
    seen = []
    (data / "3.mp4").unlink()
    found = run(data, tmp_path / "run", work_for(model), progress=seen.append)
    assert [one.questions for one in seen] == list(range(1, 13))
    assert [one.videos for one in seen] == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    last = seen[-1]
    assert (last.question_total, last.video_total, last.errors, last.judged) == (12, 4, 3, 12)
    work = work_for(model)
    items = work.benchmark.items(data, Settings())
    right = sum(work.benchmark.points(item, found[item.id], Settings()) for item in items)
    assert last.right == right


def test_settings_that_fit_nothing_stop_the_run_at_once(data, tmp_path, model):
    work = work_for(model, pooling=PoolingChoice(window=Window((9, 9, 9))))
    with pytest.raises(UsageError):
        run(data, tmp_path / "run", work)
    assert (tmp_path / "run" / FILE_NAME).read_bytes() == b""


def test_one_question_that_does_not_fit_is_an_error_of_its_own(data, tmp_path, model):
    class Wordy(Noise):
        def prompt(self, item, settings, seconds=()):
            prompt = super().prompt(item, settings, seconds)
            query = "very " * 3000 + prompt.query if item.id == "2-1" else prompt.query
            return type(prompt)(query=query, guide=query)

    found = run(data, tmp_path / "run", work_for(model, benchmark=Wordy()))
    assert [name for name, one in found.items() if one.error] == ["2-1"]
    assert "positions" in found["2-1"].error
