"""VCG-Bench: three sets in two layouts, five aspects, pairs, and what protocols make of replies."""

from __future__ import annotations

import json

import pytest
from eval_judged_datasets import make_vcgbench, make_vcgbench_hub, vcg_rows

from pplava_core.errors import InputError
from pplava_core.evals.base import PROTOCOLS, Prediction, Settings
from pplava_core.evals.benchmarks.vcg_scores import ASPECTS
from pplava_core.evals.benchmarks.vcgbench import VCGBench

OFFICIAL, PPLLAVA = Settings(), Settings(protocol="ppllava")


@pytest.fixture
def items(tmp_path):
    return VCGBench().items(make_vcgbench(tmp_path), OFFICIAL)


@pytest.fixture
def answers(items):
    return {item.id: Prediction(id=item.id, text=f"said {item.id}") for item in items}


def with_replies(items, answers, replies):
    """Put replies, used up in order for each aspect, to what has to be judged."""
    left = {aspect: list(texts) for aspect, texts in replies.items()}
    found = dict(answers)
    for request in VCGBench().judge_requests(items, answers, OFFICIAL):
        if left.get(request.aspect):
            one = found[request.item_id]
            judged = dict(one.details.get("judge", {}))
            judged[request.aspect] = {"reply": left[request.aspect].pop(0)}
            found[one.id] = Prediction(id=one.id, text=one.text, details={"judge": judged})
    return found


def means(report):
    return {row.name: row.value for table in report.tables for row in table.rows}


def test_sets_and_pairs(items, tmp_path):
    names = [item.id for item in items]
    assert names[:2] == ["generic-0000", "generic-0001"]
    assert names[7:12] == [f"temporal-000{n}" for n in range(4)] + ["consistency-0000-1"]
    assert len(items) == 7 + 4 + 2 * 4
    assert items[0].video == tmp_path / "Test_Videos" / "v_clip_one.mp4"
    assert items[-1].video is None
    first, second = items[11:13]
    assert (first.question, second.question) == tuple(
        vcg_rows()["consistency"][0][name] for name in ("Q1", "Q2")
    )
    assert first.answer == second.answer == "The circle."


def test_the_hub_says_the_same(items, tmp_path):
    hub = VCGBench().items(make_vcgbench_hub(tmp_path / "hub"), OFFICIAL)
    facts = [(item.id, item.question, item.answer, item.video_id) for item in items]
    assert [(item.id, item.question, item.answer, item.video_id) for item in hub] == facts


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_question_alone_is_asked(items, protocol):
    prompt = VCGBench().prompt(items[0], Settings(protocol=protocol))
    assert (prompt.query, prompt.guide) == (items[0].question, items[0].question)
    assert (prompt.answer_prefix, prompt.system, prompt.source) == ("", None, protocol)
    assert VCGBench().num_frames(items[0], OFFICIAL) == 32


def test_every_answer_is_judged_in_its_aspects(items, answers):
    requests = VCGBench().judge_requests(items, answers, OFFICIAL)
    counts = {aspect: sum(one.aspect == aspect for one in requests) for aspect in ASPECTS}
    assert counts == {
        "correctness": 7,
        "detail": 7,
        "context": 7,
        "temporal": 4,
        "consistency": 4,
    }
    assert requests[0].fields == {
        "question": items[0].question,
        "answer": items[0].answer,
        "prediction": "said generic-0000",
    }


def test_pairs_are_sent_together_and_differently_for_ppllava(items, answers):
    row = vcg_rows()["consistency"][0]
    official, theirs = (
        next(
            one.fields
            for one in VCGBench().judge_requests(items, answers, settings)
            if one.aspect == "consistency"
        )
        for settings in (OFFICIAL, PPLLAVA)
    )
    assert (official["question"], official["question_2"]) == (row["Q1"], row["Q2"])
    assert (theirs["question"], theirs["question_2"]) == (row["Q2"], row["Q2"])
    for fields in (official, theirs):
        assert fields["prediction"] == "said consistency-0000-1"
        assert fields["prediction_2"] == "said consistency-0000-2"


def test_five_means_and_their_mean(items, answers):
    replies = {
        "correctness": ["{'score': 4.8}"] * 7,
        "detail": ["{'score': 1}", "{'score': 2}"] + ["{'score': 3}"] * 5,
        "context": ["{'score': '5'}"] * 7,
        "temporal": ["{'score': 0}", "{'score': 1}", "{'score': 2}", "{'score': 7}"],
        "consistency": ["{'score': 3}"] * 4,
    }
    report = VCGBench().report(items, with_replies(items, answers, replies), OFFICIAL)
    expected = {"CI": 4, "DO": 18 / 7, "CU": 5, "TU": 10 / 4, "CO": 3}
    assert means(report) == pytest.approx(expected | {"mean": sum(expected.values()) / 5})
    assert report.value == pytest.approx(sum(expected.values()) / 5)
    assert report.low < report.value < report.high
    assert (report.counts["judged"], report.counts["unjudged"]) == (29, 0)


def test_replies_without_a_score(items, answers):
    unscored, four = "{'rating': 5}", "{'score': 4}"
    replies = {
        "correctness": [unscored, four],
        "temporal": [unscored, four],
        "consistency": [unscored, four, unscored, "{'score': 1}"],
    }
    predictions = with_replies(items, answers, replies)

    def figures(settings):
        found = means(VCGBench().report(items, predictions, settings))
        return tuple(found[name] for name in ("CI", "TU", "CO"))

    assert figures(OFFICIAL) == (4, 4, 2.5)
    assert figures(PPLLAVA) == (2, 4, pytest.approx((4 + 4 + 1) / 3))
    assert figures(Settings(protocol="lmms")) == (2, 2, 1.25)
    assert figures(Settings(protocol="ppllava", strict=True)) == (2, 2, 1.25)


def test_errors_count_as_nothing_also_in_half_a_pair(items, answers):
    broken = answers | {
        name: Prediction(id=name, error="no such video")
        for name in ("generic-0001", "consistency-0001-2")
    }
    requests = VCGBench().judge_requests(items, broken, OFFICIAL)
    assert len(requests) == 29 - 3 - 1
    five = {aspect: ["{'score': 5}"] * 9 for aspect in ASPECTS}
    report = VCGBench().report(items, with_replies(items, broken, five), OFFICIAL)
    assert means(report)["CI"] == pytest.approx(6 * 5 / 7)
    assert means(report)["CO"] == pytest.approx(3 * 5 / 4)
    assert report.counts["errors"] == 2


def test_half_a_pair_is_not_judged_and_said_so(items, answers):
    chosen = [item for item in items if item.id != "consistency-0002-1"]
    report = VCGBench().report(chosen, answers, OFFICIAL)
    assert len(VCGBench().judge_requests(chosen, answers, OFFICIAL)) == 28
    assert any("1 questions are without the other half" in note for note in report.notes)


def test_no_figure_without_all_five(items, answers):
    assert VCGBench().report(items, answers, OFFICIAL).value is None
    partly = with_replies(items, answers, {"detail": ["{'score': 4}"] * 7})
    report = VCGBench().report(items, partly, OFFICIAL)
    assert (report.value, means(report)) == (None, {"DO": 4})


def test_points(items, answers):
    replies = {
        "correctness": ["{'score': 5}"],
        "detail": ["{'score': 4}"],
        "context": ["{'score': 3}"],
    }
    predictions = with_replies(items, answers, replies)
    benchmark = VCGBench()
    assert benchmark.points(items[0], predictions[items[0].id], OFFICIAL) == pytest.approx(0.8)
    assert benchmark.points(items[1], predictions[items[1].id], OFFICIAL) is None
    assert benchmark.points(items[1], Prediction(id="x", error="gone"), OFFICIAL) == 0


@pytest.mark.parametrize("settings", [OFFICIAL, PPLLAVA], ids=lambda one: one.protocol)
def test_lists_are_written_and_read(items, answers, settings, tmp_path):
    lists = VCGBench().submission(items, answers, settings)
    folder = tmp_path / "lists"
    folder.mkdir()
    for name, text in lists.items():
        (folder / name).write_text(text)
    rows = {name: json.loads(text) for name, text in lists.items()}
    assert {name: len(one) for name, one in rows.items()} == {
        "vcgbench_generic.json": 7,
        "vcgbench_temporal.json": 4,
        "vcgbench_consistency.json": 4,
    }
    pair, row = rows["vcgbench_consistency.json"][0], vcg_rows()["consistency"][0]
    swapped = settings.protocol == "ppllava"
    assert pair["Q1"] == row["Q2" if swapped else "Q1"]
    assert pair["pred1"] == "said consistency-0000-1"
    assert set(rows["vcgbench_temporal.json"][0]) == {"Q", "A", "pred", "video_name"}
    assert VCGBench().read_results(folder, items) == answers
    part = VCGBench().read_results(folder / "vcgbench_temporal.json", items)
    assert part == {name: one for name, one in answers.items() if name.startswith("temporal")}


def test_replies_of_the_judge_scripts(items, answers, tmp_path):
    def replies(rows, score):
        return {
            f"{row['video_name']}_{number}": [
                {"score": score + number % 2},
                {name.lower(): text for name, text in row.items() if name[0] in "QA"}
                | ({"pred1": "1", "pred2": "2"} if "Q1" in row else {"pred": "0"}),
            ]
            for number, row in enumerate(rows)
        }

    sets = vcg_rows()
    for name, rows, score in [
        ("correctness", sets["generic"], 0),
        ("detailed_orientation", sets["generic"], 1),
        ("context", sets["generic"], 2.8),
        ("temporal", sets["temporal"], 3),
        ("consistency", sets["consistency"], 4),
    ]:
        (tmp_path / f"{name}.json").write_text(json.dumps(replies(rows, score)))
    for path in tmp_path.glob("*_qa.json"):
        path.unlink()
    report = VCGBench().report(items, VCGBench().read_results(tmp_path, items), OFFICIAL)
    expected = {"CI": 3 / 7, "DO": 10 / 7, "CU": 17 / 7, "TU": 3.5, "CO": 4.5}
    assert {name: means(report)[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("generic.json", 3, "neither a list"),
        ("generic.json", [3], "neither a list"),
        ("generic.json", [{"video_name": "v", "Q": "what?"}], "neither a list"),
        ("generic.json", [{"video_name": "v", "Q": "what?", "pred": "w"}], "entry 1: 'what\\?'"),
        ("scores.json", {"v_0": [{}, {"q": "what?", "pred": "w"}]}, "which aspect"),
    ],
)
def test_result_files_of_something_else(items, tmp_path, name, value, says):
    path = tmp_path / name
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match=says) as caught:
        VCGBench().read_results(path, items)
    assert "\n" not in str(caught.value)


def test_files_that_contradict_each_other(items, tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    row = vcg_rows()["generic"][1]
    for name in ("a.json", "b.json"):
        (folder / name).write_text(json.dumps([row | {"pred": name}]))
    with pytest.raises(InputError, match="another answer"):
        VCGBench().read_results(folder, items)


def test_a_hub_file_that_lacks_half_a_pair(tmp_path):
    from eval_datasets import write_parquet

    folder = make_vcgbench_hub(tmp_path)
    row = {"video_name": "v_a", "question_1": "one?", "question_2": "None", "answer": "a"}
    write_parquet(folder / "Consistency" / "test-00000-of-00001.parquet", [row])
    with pytest.raises(InputError, match="1 first and 0 second"):
        VCGBench().items(folder, OFFICIAL)


def test_a_set_that_is_missing(tmp_path):
    (make_vcgbench(tmp_path) / "temporal_qa.json").unlink()
    with pytest.raises(InputError, match="temporal questions of VCG-Bench"):
        VCGBench().items(tmp_path, OFFICIAL)
