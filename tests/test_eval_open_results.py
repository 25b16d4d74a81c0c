"""The authors' files of open-ended answers and of judges' replies, read and written."""

from __future__ import annotations

import json

import pytest
from eval_judged_datasets import make_activitynetqa

from pplava_core.errors import InputError
from pplava_core.evals.base import Prediction, Settings
from pplava_core.evals.benchmarks.activitynetqa import ActivityNetQA

SETTINGS = Settings()


@pytest.fixture
def items(tmp_path):
    return ActivityNetQA().items(make_activitynetqa(tmp_path / "data"), SETTINGS)


@pytest.fixture
def read(tmp_path, items):
    def from_value(value):
        path = tmp_path / "results.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return ActivityNetQA().read_results(path, items)

    return from_value


def test_what_is_written_is_read(items, read):
    predictions = {item.id: Prediction(id=item.id, text=f"said {item.id}") for item in items}
    predictions[items[3].id] = Prediction(id=items[3].id, error="no such video")
    [(name, text)] = ActivityNetQA().submission(items, predictions, SETTINGS).items()
    assert name == "activitynetqa_predictions.json"
    rows = json.loads(text)
    assert len(rows) == len(items) - 1
    expected = {"id": items[0].id, "video_name": "clip_one", "question": items[0].question}
    assert rows[0] == expected | {"answer": "red", "pred": f"said {items[0].id}"}
    del predictions[items[3].id]
    assert read(text) == predictions


def test_rows_are_found_by_id_or_by_video_and_words(items, read):
    row = {"video_name": items[1].video_id, "Q": items[1].question, "pred": "one"}
    assert read([row])[items[1].id].text == "one"
    assert read([{"id": items[2].id, "pred": "two"}])[items[2].id].text == "two"


def test_the_exact_match_script_knows_ids_and_answers(items, read):
    found = read([{"question_id": item.id, "answer": item.answer} for item in items])
    report = ActivityNetQA().report(items, found, SETTINGS)
    assert {row.name: row.value for row in report.tables[0].rows}["all"] == 1


def test_replies_of_the_judge_script_give_its_figures(items, read):
    replies = [("yes", 5), ("no", 1), ("Yes", 4.8), ("no", 0), ("yes", 3)]
    value = {
        f"{item.video_id}_{number}": [
            {"pred": pred, "score": score},
            {"q": item.question, "a": item.answer, "pred": "words"},
        ]
        for number, (item, (pred, score)) in enumerate(zip(items, replies, strict=False))
    }
    report = ActivityNetQA().report(items, read(value), SETTINGS)
    assert report.value == 3 / 5
    score = report.tables[1].rows[-1]
    assert (score.value, score.count) == ((5 + 1 + 4 + 0 + 3) / 5, 5)
    assert "does not name" in report.notes[0]


def test_a_list_that_ppllavas_script_would_unwrap(items, read):
    asked = {"q": items[0].question, "a": "red", "pred": "words"}
    found = read({f"{items[0].video_id}_0": [[{"pred": "yes"}], asked]})
    assert ActivityNetQA().report(items, found, Settings(protocol="ppllava")).value == 1
    assert ActivityNetQA().report(items, found, SETTINGS).counts["unparseable"] == 1


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("[{", "cut off"),
        ("3", "neither a list"),
        ([3], "entry 1: needs"),
        ([{"pred": "words"}], "entry 1: needs"),
        ([{"id": "v_clip_one_0", "pred": 3}], "entry 1: needs"),
        ([{"id": "v_elsewhere_0", "pred": "words"}], "'v_elsewhere_0' is no question"),
        ([{"id": "v_clip_one_0", "pred": "w"}] * 2, "entry 2: question v_clip_one_0 is answered"),
        ({"v_0": 3}, "'v_0' is not a pair"),
        ({"v_0": [{}, {"q": "what?"}]}, "'v_0' is not a pair"),
    ],
)
def test_files_of_something_else(read, value, says):
    with pytest.raises(InputError, match=says) as caught:
        read(value)
    assert "\n" not in str(caught.value)
