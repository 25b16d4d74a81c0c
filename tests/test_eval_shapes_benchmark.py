"""The rendered world as a benchmark among others: items, sampling, points, report."""

from __future__ import annotations

import json

import pytest

from pplava_core.errors import UsageError
from pplava_core.evals.base import Prediction, Settings
from pplava_core.evals.benchmarks.shapes_benchmark import Shapes
from pplava_core.shapes.dataset import choose_items
from pplava_core.types import Sampling

SETTINGS = Settings()


@pytest.fixture
def written(tmp_path):
    """Write the questions of a set; films are not there."""

    def write(name, count=42):
        chosen = choose_items("test", 2, count, name)
        lines = [json.dumps(item.to_dict()) for item in chosen]
        (tmp_path / "questions.jsonl").write_text("\n".join(lines))
        return chosen, Shapes().items(tmp_path, SETTINGS)

    return write


def test_items_are_grouped_by_type_files_and_wording(written):
    chosen, items = written("plain")
    for one, item in zip(chosen, items, strict=True):
        assert item.groups == {
            "question type": one.question.type,
            "files": one.film.setting,
            "wording": one.wording,
        }
        assert item.details == {}
        assert Shapes().sampling(item, SETTINGS) == Sampling()
    assert {item.groups["wording"] for item in items} == {"known", "new"}


def test_films_are_sampled_at_the_rate_of_their_set(written):
    chosen, items = written("redundant", 16)
    for one, item in zip(chosen, items, strict=True):
        assert item.details == {"sampling_fps": one.film.sampling_fps}
        assert Shapes().sampling(item, SETTINGS) == Sampling(least_fps=one.film.sampling_fps)
        few = Shapes().sampling(item, Settings(num_frames=8))
        assert few == Sampling(num_frames=8)
    assert {item.details["sampling_fps"] for item in items} == {1.0, 2.0}


def points(item, text, **facts):
    return Shapes().points(item, Prediction(id=item.id, text=text, **facts), SETTINGS)


def test_times_are_right_within_half_a_second(written):
    _, items = written("plain")
    for item in items:
        kind = item.groups["question type"]
        assert points(item, item.answer.upper() + ".") == 1.0
        assert points(item, "") == 0.0
        assert points(item, item.answer, error="no film") == 0.0
        if kind in ("when", "duration"):
            seconds = float(item.answer.split()[0])
            assert points(item, f"about {seconds + 0.5} seconds") == 1.0
            assert points(item, f"about {seconds + 0.6} seconds") == 0.0
        elif kind == "count":
            assert points(item, f"about {item.answer}") == 0.0
    kinds = {item.groups["question type"] for item in items}
    assert {"when", "duration", "count"} <= kinds


def test_the_report_counts_by_every_axis_with_the_same_rule(written):
    _, items = written("plain")
    said = {}
    for item in items:
        is_time = item.groups["question type"] in ("when", "duration")
        text = f"{float(item.answer.split()[0]) + 0.5}" if is_time else item.answer
        said[item.id] = Prediction(id=item.id, text=text)
    report = Shapes().report(items, said, SETTINGS)
    assert report.value == 1.0
    assert [table.name for table in report.tables] == ["question type", "files", "wording"]
    assert all(row.value == 1.0 for table in report.tables for row in table.rows)
    assert Shapes().report(items, {}, SETTINGS).value == 0.0


def test_conversations_are_sent_where_they_can_be_asked(written, tmp_path):
    with pytest.raises(UsageError) as caught:
        written("chat", 10)
    message = str(caught.value)
    assert f"pplava eval shapes --set chat --data {tmp_path}" in message
    assert len(message.splitlines()) == 1
