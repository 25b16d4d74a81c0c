"""Scoring of the rendered world's own test: what counts as right, and how sure that is."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_models import plan_small_films, small_model

from pplava_core.evals.benchmarks import shapes as benchmark
from pplava_core.evals.benchmarks.shapes import Scored, named_share, wilson_interval
from pplava_core.shapes.dataset import choose_items, read_dataset, write_dataset
from pplava_core.shapes.questions import TYPES
from pplava_core.shapes.render import render
from pplava_core.types import Relevance


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    plan_small_films(patch)
    folder = tmp_path_factory.mktemp("films") / "test"
    write_dataset(folder, split="test", seed=1, question_count=24, workers=1)
    patch.undo()
    return folder


class Oracle:
    """Stands in for a session: answers from the file of questions, points where it is told."""

    def __init__(self, items, *, answer=None, points=True):
        self.items = items
        self.answer, self.points = answer, points
        self.opened = []

    def open(self, paths, model, *, cache=None):
        self.opened.append(paths[0].name)
        number = int(paths[0].stem)
        self.film = next(item.film for item in self.items if item.film.number == number)
        count = self.film.frame_count
        self.indices = tuple(range(0, count, max(count // 4, 1)))[:4]
        self.source = SimpleNamespace(indices=self.indices)
        return self

    def item(self, question):
        return next(
            item
            for item in self.items
            if item.film.number == self.film.number and item.question.text == question
        )

    def ask(self, question, *, pooling, generation):
        assert generation.temperature == 0.0
        text = self.item(question).question.answer if self.answer is None else self.answer
        return SimpleNamespace(text=text)

    def relevance(self, question):
        targets = self.item(question).question.targets
        moments = [(index + 0.5) / self.film.frame_count for index in self.indices]
        _, owners = render(self.film.scene, moments, height=96, width=96)
        shown = np.isin(owners, targets) == self.points
        patches = shown.reshape(len(moments), 12, 8, 12, 8).mean((2, 4))
        weights = torch.from_numpy(patches).float() + 1e-6
        return Relevance(weights=weights / weights.sum(), seconds=np.arange(4.0), text=question)


@pytest.fixture
def judged(folder, monkeypatch):
    """Score the folder with a stand-in for the session."""

    def judge(**habits):
        items = read_dataset(folder)
        oracle = Oracle(items, **habits)
        monkeypatch.setattr(benchmark, "Session", oracle)
        return benchmark.score_items(items, folder, SimpleNamespace()), oracle

    return judge


def test_a_perfect_model_scores_everything(judged, folder):
    scored, oracle = judged()
    rows = {row.name: row for row in benchmark.table(scored)}
    assert all(row.accuracy == 1.0 for row in rows.values())
    assert all(row.high == pytest.approx(1.0) for row in rows.values())
    assert set(TYPES) <= set(rows)
    assert rows["peak on the thing"].count > 5
    summary = benchmark.summary(scored)
    assert summary["questions"] == len(scored) == 24
    assert summary["mean_over_types_without_caption"] == 1.0
    assert summary["things_named_in_captions"] == 1.0
    assert summary["relevance_on_the_thing"] > 0.9
    films = {item.film.file_name for item in read_dataset(folder)}
    assert len(oracle.opened) == len(films)


def test_a_model_that_points_elsewhere_is_found_out(judged):
    scored, _ = judged(points=False)
    rows = {row.name: row for row in benchmark.table(scored)}
    assert rows["count"].accuracy == 1.0
    assert rows["peak on the thing"].accuracy < 0.3
    assert benchmark.summary(scored)["relevance_on_the_thing"] < 0.3


def test_a_constant_answer_scores_at_most_what_the_table_says(judged):
    scored, _ = judged(answer="yes")
    for row in benchmark.table(scored):
        if row.name in TYPES:
            assert row.accuracy <= row.constant
    assert benchmark.summary(scored)["things_named_in_captions"] == 0.0


def test_a_real_model_is_asked_every_question(folder):
    items = read_dataset(folder)[:3]
    calls = []
    scored = benchmark.score_items(
        items,
        folder,
        small_model(),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert [one.item for one in scored] == items
    assert calls == [(number + 1, 3) for number in range(3)]
    for one in scored:
        assert (one.pointed is not None) == bool(
            one.item.question.named and one.item.question.targets
        )
        assert one.mass is None or 0.0 <= one.mass <= 1.0


@lru_cache(maxsize=1)
def some_items():
    return choose_items("test", 0, 24)


def item_like(kind, answer, setting="usual"):
    item = next(item for item in some_items() if item.question.type == kind)
    return dataclasses.replace(
        item,
        film=dataclasses.replace(item.film, setting=setting),
        question=dataclasses.replace(item.question, answer=answer),
    )


def score_of(answer):
    weights = torch.full((1, 3, 3), 1 / 9)
    relevance = Relevance(weights=weights, seconds=np.zeros(1), text="x")
    return benchmark._score(item_like("position", "top left"), answer, relevance, [0])


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
    assert score_of(answer).right is right


def test_named_share_counts_every_thing_as_often_as_it_is_there():
    things = ["red circle", "red circle", "blue star", "orange ring"]
    assert named_share("a red circle, a red circle, a blue star and an orange ring.", things) == 1
    assert named_share("a red circle and a blue star.", things) == 0.5
    assert named_share("red circle red circle red circle red circle", things) == 0.5
    assert named_share("nothing", things) == 0.0
    assert named_share("anything", []) == 0.0


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [
        # Newcombe 1998, table I: method 3, the score method without continuity correction.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (10, 10, 0.7225, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilsons_interval_against_published_values(hits, count, low, high):
    assert wilson_interval(hits, count) == pytest.approx((low, high), abs=6e-5)


def test_an_interval_holds_its_share_and_narrows():
    widths = []
    for count in (10, 100, 1000):
        low, high = wilson_interval(count * 7 // 10, count)
        assert low < 0.7 < high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)


def scored_like(kind, answers, given, setting="usual"):
    return [
        Scored(
            item=item_like(kind, answer, setting),
            answer=said,
            right=answer == said,
            named_share=None,
            pointed=None,
            mass=None,
        )
        for answer, said in zip(answers, given, strict=True)
    ]


def test_the_table_counts_by_type_and_setting_and_knows_the_best_constant():
    scored = scored_like("presence", ["yes", "yes", "yes", "no"], ["yes"] * 4)
    scored += scored_like("colour", ["red", "blue", "blue"], ["blue", "red", "blue"], "unusual")
    rows = {row.name: row for row in benchmark.table(scored)}
    assert list(rows) == ["colour", "presence", "all, usual files", "all, unusual files"]
    presence, colour = rows["presence"], rows["colour"]
    assert (presence.count, presence.accuracy, presence.constant) == (4, 0.75, 0.75)
    assert (colour.count, colour.accuracy) == (3, pytest.approx(1 / 3))
    assert colour.constant == pytest.approx(2 / 3)
    assert rows["all, usual files"].count == 4
    assert (presence.low, presence.high) == wilson_interval(3, 4)


def test_the_best_constant_over_several_types_is_one_for_each_type():
    scored = scored_like("presence", ["yes", "no"], ["yes", "no"])
    scored += scored_like("colour", ["red", "blue", "blue", "blue"], ["red"] * 4)
    row = next(row for row in benchmark.table(scored) if row.name == "all, usual files")
    assert row.constant == pytest.approx((1 + 3) / 6)


def test_a_summary_is_json_even_where_something_was_not_measured():
    scored = scored_like("presence", ["yes", "no"], ["yes", "yes"])
    summary = benchmark.summary(scored)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["things_named_in_captions"] is None
    assert summary["relevance_on_the_thing"] is None
    assert summary["mean_over_types_without_caption"] == 0.5
    nothing = benchmark.summary([])
    assert nothing["questions"] == 0
    assert nothing["mean_over_types_without_caption"] is None


def test_the_peaks_row_has_no_constant(judged):
    scored, _ = judged()
    row = benchmark.table(scored)[-1]
    assert row.name == "peak on the thing"
    assert math.isnan(row.constant)
    assert benchmark.summary(scored)["rows"][-1]["constant"] is None
