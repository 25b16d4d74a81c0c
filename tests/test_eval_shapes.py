"""The rendered world's own test: how films are asked about, with a stand-in for the session."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_models import plan_small_films, small_model

from pplava_core.evals.benchmarks import shapes as benchmark
from pplava_core.evals.benchmarks.shapes import score_items, set_of
from pplava_core.evals.benchmarks.shapes_tables import summary, table
from pplava_core.evidence import find_moments, span_of
from pplava_core.session import Generation, PoolingChoice, Session, Turn
from pplava_core.shapes import dataset
from pplava_core.shapes.dataset import SETS, TURNS, choose_items, read_dataset, write_dataset
from pplava_core.shapes.questions import TYPES
from pplava_core.shapes.render import render
from pplava_core.types import Relevance, Sampling

MODEL = SimpleNamespace()


class Oracle:
    """Stands in for a session: answers from the questions, points where it is told."""

    def __init__(self, items, *, answer=None, points=True, frames=4):
        self.items, self.answer, self.points, self.frames = items, answer, points, frames
        self.opened, self.calls, self.guides = [], [], []

    def open(self, paths, model, *, sampling=None, cache=None):
        number = int(paths[0].stem)
        self.opened.append((number, sampling))
        self.film = next(item.film for item in self.items if item.film.number == number)
        count = self.film.frame_count
        step = max(count // self.frames, 1)
        if sampling is not None:
            step = self.film.fps / sampling.least_fps
        indices = sorted({int(place) for place in np.arange(0, count, step)})
        indices = indices if sampling else indices[: self.frames]
        self.source = SimpleNamespace(
            indices=tuple(indices),
            kind="video",
            fps=self.film.fps,
            start_seconds=0.0,
            stop_seconds=count / self.film.fps,
        )
        self.grid_size = (len(indices), 12, 12)
        return self

    def item(self, question):
        return next(
            item
            for item in self.items
            if item.film.number == self.film.number and item.question.text == question
        )

    def ask_many(self, questions, *, pooling, generation, batch_size):
        assert generation.temperature == 0.0
        assert batch_size == 8
        self.calls.append((self.film.number, len(questions), pooling))
        return [self._answer(question) for question in questions]

    def ask(self, question, *, pooling, generation, history):
        assert generation.temperature == 0.0
        self.calls.append((self.film.number, question, history))
        return self._answer(question, [turn.question for turn in history])

    def _answer(self, question, earlier=()):
        text = self.item(question).question.answer if self.answer is None else self.answer
        guide = " / ".join([*earlier, question])
        return SimpleNamespace(text=text, token_count=128, guide=guide)

    def relevance(self, guide):
        self.guides.append(guide)
        targets = self.item(guide.split(" / ")[-1]).question.targets
        moments = [(index + 0.5) / self.film.frame_count for index in self.source.indices]
        _, owners = render(self.film.scene, moments, height=96, width=96)
        shown = np.isin(owners, targets) == self.points
        patches = shown.reshape(len(moments), 12, 8, 12, 8).mean((2, 4))
        weights = torch.from_numpy(patches).float() + 1e-6
        seconds = np.array(self.source.indices) / self.film.fps
        return Relevance(weights=weights / weights.sum(), seconds=seconds, text=guide)

    def evidence(self, relevance):
        return find_moments(relevance, frame_span_seconds=span_of(self.source))


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """Score some questions with a stand-in for the session."""

    def judge(items, *, pooling=None, **habits):
        oracle = Oracle(items, **habits)
        monkeypatch.setattr(benchmark, "Session", oracle)
        return score_items(items, tmp_path, MODEL, pooling=pooling), oracle

    return judge


@pytest.fixture(scope="module")
def items():
    return choose_items("test", 1, 63)


def test_a_perfect_model_scores_everything(judged, items):
    pooling = PoolingChoice(max_tokens=5)
    scored, oracle = judged(items, pooling=pooling)
    rows = {row.name: row for row in table(scored)}
    assert rows.pop("there, but denied").accuracy == 0.0
    timed = ("peak in its time", "evidence meets its time", "evidence fits its time")
    for name in (*timed, "the right frames would fit"):
        rows.pop(name)
    assert all(row.accuracy == 1.0 for row in rows.values())
    assert all(row.high == pytest.approx(1.0) for row in rows.values())
    assert set(TYPES) <= set(rows)
    assert rows["peak on the thing"].count > 20
    figures = summary(scored)
    assert figures["questions"] == len(scored) == 63
    assert figures["mean_over_types_without_caption"] == 1.0
    assert figures["things_named_in_captions"] == 1.0
    assert figures["relevance_on_the_thing"] > 0.9
    assert figures["visual_tokens"] == {"min": 128, "mean": 128, "max": 128}
    numbers = [item.film.number for item in items]
    assert oracle.opened == [(number, None) for number in dict.fromkeys(numbers)]
    asked = [(number, numbers.count(number), pooling) for number in dict.fromkeys(numbers)]
    assert oracle.calls == asked


def test_a_model_that_points_elsewhere_is_found_out(judged, items):
    scored, _ = judged(items, points=False)
    rows = {row.name: row for row in table(scored)}
    assert rows["count"].accuracy == 1.0
    assert rows["peak on the thing"].accuracy < 0.3
    pointing = summary(scored)["pointing"]
    assert pointing["relevance"] < pointing["even_relevance"]
    assert pointing["peak"] == rows["peak on the thing"].accuracy
    assert 0.02 < pointing["peak_by_chance"] < 0.4


def test_a_constant_answer_scores_at_most_what_the_table_says(judged, items):
    for answer in ("yes", "1.5 seconds"):
        scored, _ = judged(items, answer=answer)
        for row in table(scored):
            if row.name in TYPES:
                assert row.accuracy <= row.constant
    assert summary(scored)["things_named_in_captions"] == 0.0


def test_only_what_points_at_things_that_are_there_is_looked_at(judged, items):
    scored, oracle = judged(items)
    named = [item for item in items if item.question.named and item.question.targets]
    looked_at = [one.item for one in scored if one.pointed is not None or one.hidden]
    assert looked_at == named
    hidden = [one for one in scored if one.hidden]
    assert len(oracle.guides) == len(named) - len(hidden)
    assert summary(scored)["pointing"]["hidden"] == len(hidden)
    assert summary(scored)["pointing"]["questions"] == len(named) - len(hidden)


def test_what_no_frame_shows_is_counted_and_left_out(judged, items):
    late = next(
        item
        for item in items
        if item.question.type == "when" and item.film.scene.things[item.question.targets[0]].appears
    )
    (one,), oracle = judged([late], frames=1)
    assert one.hidden
    assert (one.right, one.pointed, one.mass, one.timing) == (True, None, None, None)
    assert oracle.guides == []
    assert "peak on the thing" not in {row.name for row in table([one])}


def test_conversations_go_on_from_the_models_own_answers(judged):
    items = choose_items("test", 0, 2 * TURNS, "chat")
    scored, oracle = judged(items, answer="no idea")
    assert [one.item for one in scored] == items
    history = []
    for item, (number, question, told) in zip(items, oracle.calls, strict=True):
        if item.turn == 0:
            history = []
        assert (number, question, told) == (item.film.number, item.question.text, tuple(history))
        history.append(Turn(question=item.question.text, answer="no idea"))
    assert [number for number, _ in oracle.opened] == [items[0].film.number, items[-1].film.number]
    guides = [guide for guide in oracle.guides if " / " in guide]
    texts = [item.question.text for item in items]
    assert guides
    for guide in oracle.guides:
        *earlier, question = guide.split(" / ")
        place = next(
            n
            for n, item in enumerate(items)
            if texts[n - item.turn : n] == earlier and texts[n] == question
        )
        assert items[place].turn == len(earlier)
    turns = [row for row in table(scored) if row.group == "turn"]
    assert [row.name for row in turns] == [f"turn {n}" for n in range(1, TURNS + 1)]
    assert [row.count for row in turns] == [2] * TURNS


def test_one_film_may_hold_two_conversations(judged):
    items = choose_items("test", 0, TURNS, "chat")
    _, oracle = judged([*items, *items])
    lengths = [len(history) for _, _, history in oracle.calls]
    assert lengths == [*range(TURNS), *range(TURNS)]
    assert len(oracle.opened) == 1


def test_long_films_are_sampled_at_their_own_rate(judged, monkeypatch):
    monkeypatch.setattr(dataset, "_VERY_LONG_EVERY", 1000)
    items = choose_items("test", 0, 16, "redundant")
    scored, oracle = judged(items)
    rates = {item.film.number: item.film.sampling_fps for item in items}
    assert set(rates.values()) == {1.0, 2.0}
    assert oracle.opened == [(n, Sampling(least_fps=rate)) for n, rate in rates.items()]
    timed = [one for one in scored if one.timing is not None]
    assert len(timed) >= 5
    for one in timed:
        things = [one.item.film.scene.things[n] for n in one.item.question.targets]
        assert all(thing.vanishes - thing.appears < 0.5 for thing in things)
        assert one.timing.peak_inside
        assert one.timing.meets
        assert one.timing.overlap <= one.timing.best_overlap + 1e-9
        assert one.timing.chance < 0.5
    figures = summary(scored)["timing"]
    assert figures["right_frames_fit"] > 0.9
    assert figures["questions"] == len(timed)
    names = {row.name for row in table(scored)}
    assert {"all, long files", "peak in its time", "the right frames would fit"} <= names


@pytest.mark.parametrize("name", SETS)
def test_what_set_questions_are_of_is_known_where_it_shows(name):
    items = choose_items("test", 0, 12, name)
    assert set_of(items) == (name if name in ("chat", "redundant") else None)


def few_tokens(*, max_new_tokens):
    """An untrained model never stops by itself."""
    return Generation(max_new_tokens=min(max_new_tokens, 4))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films") / "test"
    with pytest.MonkeyPatch.context() as patch:
        plan_small_films(patch)
        write_dataset(folder, split="test", seed=1, question_count=5, test_set="chat", workers=1)
    return folder


def test_a_real_model_is_asked_every_question(folder, monkeypatch):
    monkeypatch.setattr(benchmark, "Generation", few_tokens)
    apart = [dataclasses.replace(item, turn=0) for item in read_dataset(folder)]
    calls = []
    model = small_model(seed=6)
    scored = score_items(
        apart, folder, model, progress=lambda done, total: calls.append((done, total))
    )
    assert [one.item for one in scored] == apart
    assert calls == [(number + 1, 5) for number in range(5)]
    session = Session.open([folder / apart[0].film.file_name], model)
    for one in scored:
        alone = session.ask(one.item.question.text, generation=few_tokens(max_new_tokens=9))
        assert (one.answer, one.token_count) == (alone.text, alone.token_count)
        assert one.pointed is not None or one.hidden or not one.item.question.targets
        assert one.mass is None or 0.0 < one.mass < 1.0
    assert any(one.mass is not None for one in scored)


def test_a_real_model_is_told_what_was_said(folder, monkeypatch):
    monkeypatch.setattr(benchmark, "Generation", few_tokens)
    items, model = read_dataset(folder), small_model(seed=6)
    scored = score_items(items, folder, model)
    session = Session.open([folder / items[0].film.file_name], model)
    history = []
    for one in scored:
        question = one.item.question.text
        answer = session.ask(
            question, history=tuple(history), generation=few_tokens(max_new_tokens=9)
        )
        assert one.answer == answer.text
        history.append(Turn(question=question, answer=answer.text))
