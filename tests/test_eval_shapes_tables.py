"""The figures of the rendered world's own test: what is counted together, and how sure it is."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import lru_cache

import pytest

from pplava_core.evals.benchmarks.shapes_pointing import Timing
from pplava_core.evals.benchmarks.shapes_scoring import Scored, score
from pplava_core.evals.benchmarks.shapes_tables import summary, table
from pplava_core.evals.results.tables import wilson_interval
from pplava_core.shapes.asking import NOTHING
from pplava_core.shapes.dataset import choose_items


@lru_cache(maxsize=1)
def some_items():
    return choose_items("test", 0, 42)


def scored_like(kind, answers, given, setting="usual", wording="known", turn=0, **facts):
    item = next(item for item in some_items() if item.question.type == kind)
    film = dataclasses.replace(item.film, setting=setting)
    found = []
    for answer, said in zip(answers, given, strict=True):
        question = dataclasses.replace(item.question, answer=answer)
        asked = dataclasses.replace(item, film=film, question=question, wording=wording, turn=turn)
        found.append(dataclasses.replace(score(asked, said), **facts))
    return found


def rows_of(scored):
    return {row.name: row for row in table(scored)}


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


def test_the_table_counts_by_type_setting_and_wording_and_knows_the_best_constant():
    scored = scored_like("presence", ["yes", "yes", "yes", "no"], ["yes"] * 4, wording="new")
    scored += scored_like("colour", ["red", "blue", "blue"], ["blue", "red", "blue"], "unusual")
    rows = rows_of(scored)
    assert list(rows) == [
        "colour",
        "presence",
        "all, usual files",
        "all, unusual files",
        "known wording",
        "new wording",
        "there, but denied",
    ]
    groups = ["type", "type", "files", "files", "wording", "wording", "absence"]
    assert [row.group for row in rows.values()] == groups
    presence, colour = rows["presence"], rows["colour"]
    assert (presence.count, presence.accuracy, presence.constant) == (4, 0.75, 0.75)
    assert (colour.count, colour.accuracy) == (3, pytest.approx(1 / 3))
    assert colour.constant == pytest.approx(2 / 3)
    assert rows["all, usual files"].count == rows["new wording"].count == 4
    assert rows["known wording"].accuracy == colour.accuracy
    assert (presence.low, presence.high) == wilson_interval(3, 4)


def test_the_best_constant_over_several_types_is_one_for_each_type():
    scored = scored_like("presence", ["yes", "no"], ["yes", "no"])
    scored += scored_like("colour", ["red", "blue", "blue", "blue"], ["red"] * 4)
    assert rows_of(scored)["all, usual files"].constant == pytest.approx((1 + 3) / 6)


def test_long_and_very_long_films_have_rows_of_their_own():
    scored = scored_like("presence", ["yes"], ["yes"], "very long")
    scored += scored_like("presence", ["yes"], ["no"], "long")
    names = [row.name for row in table(scored) if row.group == "files"]
    assert names == ["all, long files", "all, very long files"]


def test_turns_are_counted_where_there_are_any():
    first = scored_like("presence", ["yes", "no"], ["yes", "yes"])
    assert not any(row.group == "turn" for row in table(first))
    third = scored_like("presence", ["yes"], ["no"], turn=2)
    turns = {row.name: row for row in table([*third, *first]) if row.group == "turn"}
    assert list(turns) == ["turn 1", "turn 3"]
    assert [row.accuracy for row in turns.values()] == [0.5, 0.0]


def test_absence_is_counted_both_ways():
    scored = scored_like("colour", [NOTHING, NOTHING, NOTHING], [NOTHING, "red", "no"])
    scored += scored_like("kind", ["ring", "star", "ring", "ring"], ["ring", NOTHING, "no", "star"])
    rows = rows_of(scored)
    said, denied = rows["not there, and said so"], rows["there, but denied"]
    assert (said.count, said.accuracy) == (3, pytest.approx(1 / 3))
    assert (denied.count, denied.accuracy) == (4, 0.25)
    assert math.isnan(denied.constant)


def test_descriptions_are_counted_whole():
    scored = scored_like("caption", ["a", "b"], ["", ""], names_all=True, named_share=1.0)
    scored += scored_like("caption", ["a"], [""], names_all=False, named_share=0.5)
    scored += scored_like("caption", ["a"], [""], names_all=None, named_share=0.5)
    row = rows_of(scored)["descriptions with all"]
    assert (row.count, row.accuracy) == (3, pytest.approx(2 / 3))
    assert (row.low, row.high) == wilson_interval(2, 3)
    assert summary(scored)["things_named_in_captions"] == 0.75
    assert summary(scored)["mean_over_types_without_caption"] is None


def test_where_the_relevance_is_stands_against_chance():
    one = scored_like("kind", ["ring"], ["x"], pointed=True, mass=0.5, chance=0.1)
    other = scored_like("kind", ["ring"], ["x"], pointed=False, mass=0.25, chance=0.2)
    hidden = scored_like("kind", ["ring"], ["x"], hidden=True)
    row = rows_of([*one, *other, *hidden])["peak on the thing"]
    assert (row.count, row.accuracy, row.group) == (2, 0.5, "relevance")
    figures = summary([*one, *other, *hidden])
    assert figures["relevance_on_the_thing"] == 0.375
    assert figures["pointing"] == {
        "questions": 2,
        "hidden": 1,
        "peak": 0.5,
        "peak_by_chance": pytest.approx(0.15),
        "relevance": 0.375,
        "even_relevance": pytest.approx(0.15),
    }


def test_when_the_relevance_is_stands_against_the_best_choice_of_frames():
    good = Timing(peak_inside=True, chance=0.25, meets=True, overlap=0.5, best_overlap=0.7)
    bad = Timing(peak_inside=False, chance=0.15, meets=True, overlap=0.25, best_overlap=0.49)
    worst = Timing(peak_inside=False, chance=0.2, meets=False, overlap=0.0, best_overlap=0.5)
    scored = [scored_like("kind", ["ring"], ["x"], timing=t)[0] for t in (good, bad, worst, None)]
    rows = rows_of(scored)
    expected = {
        "peak in its time": 1 / 3,
        "evidence meets its time": 2 / 3,
        "evidence fits its time": 1 / 3,
        "the right frames would fit": 2 / 3,
    }
    for name, share in expected.items():
        assert (rows[name].count, rows[name].accuracy) == (3, pytest.approx(share))
    assert summary(scored)["timing"] == {
        "questions": 3,
        "peak": pytest.approx(1 / 3),
        "peak_by_chance": pytest.approx(0.2),
        "evidence_meets": pytest.approx(2 / 3),
        "evidence_overlap": pytest.approx(0.25),
        "evidence_fits": pytest.approx(1 / 3),
        "right_frames_fit": pytest.approx(2 / 3),
    }


def test_the_mean_over_types_weighs_them_alike():
    scored = scored_like("presence", ["yes"] * 9, ["yes"] * 9)
    scored += scored_like("colour", ["red"], ["blue"])
    scored += scored_like("caption", ["x"], ["y"])
    assert summary(scored)["mean_over_types_without_caption"] == 0.5


def test_visual_tokens_are_summed_up():
    scored = [scored_like("kind", ["a"], ["a"], token_count=n)[0] for n in (8, 16, 128, None)]
    tokens = summary(scored)["visual_tokens"]
    assert tokens == {"min": 8, "mean": pytest.approx(152 / 3), "max": 128}


def test_a_summary_is_json_even_where_something_was_not_measured():
    scored = scored_like("presence", ["yes", "no"], ["yes", "yes"])
    figures = summary(scored)
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert figures["rows"][-1]["name"] == "there, but denied"
    assert figures["rows"][-1]["constant"] is None
    assert figures["things_named_in_captions"] is None
    assert figures["relevance_on_the_thing"] is None
    assert figures["mean_over_types_without_caption"] == 0.5
    assert figures["timing"]["questions"] == figures["pointing"]["questions"] == 0
    nothing = summary([])
    assert nothing["questions"] == 0
    assert nothing["rows"] == []
    assert nothing["mean_over_types_without_caption"] is None


def test_what_is_scored_may_know_no_more_than_the_answer():
    facts = {"answer": "3", "right": True, "named_share": None, "pointed": None, "mass": None}
    assert summary([Scored(item=some_items()[0], **facts)])["visual_tokens"] is None
