"""EgoSchema's subset is scored; of the full set a file is made and no score claimed."""

from __future__ import annotations

import json

import pytest
from eval_choice_cases import answers, refused, right_letters
from eval_datasets import lettered, make_egoschema, write_json, write_parquet

from pplava_core.evals.base import Prediction, Settings
from pplava_core.evals.benchmarks.egoschema import EgoSchema

SUBSET, FULL, LMMS = Settings(), Settings(split="full"), Settings(protocol="lmms")


@pytest.fixture
def folder(tmp_path):
    return make_egoschema(tmp_path / "data")


def test_the_subset_is_what_has_labels(folder):
    subset, full = EgoSchema().items(folder, SUBSET), EgoSchema().items(folder, FULL)
    assert (len(subset), len(full)) == (8, 10)
    assert {item.id for item in subset} < {item.id for item in full}
    assert all(item.answer is None for item in full)
    assert [item.id for item in full if item.video is None] == ["clip_missing-09"]
    assert full[0].video == folder / "videos_chunked_01.zip" / "videos" / "clip_one-00.mp4"


def test_accuracy_is_over_the_whole_subset(folder):
    items = EgoSchema().items(folder, SUBSET)
    texts = {name: f"{text})" for name, text in right_letters(items).items()}
    predictions = answers(items, {**texts, items[0].id: "no idea"})
    del predictions[items[1].id]
    predictions[items[7].id] = Prediction(id=items[7].id, error="no such video")
    report = EgoSchema().report(items, predictions, SUBSET)
    assert report.value == pytest.approx(5 / 8)
    assert report.tables[0].rows[0].count == 8
    assert (report.counts["missing"], report.counts["errors"], report.counts["unextracted"]) == (
        1,
        1,
        1,
    )


def test_of_the_full_set_there_is_a_file_and_no_score(folder):
    items = EgoSchema().items(folder, FULL)
    predictions = answers(items, {item.id: "C)" for item in items[:8]})
    predictions[items[8].id] = Prediction(id=items[8].id, text="no idea")
    report = EgoSchema().report(items, predictions, FULL)
    assert (report.value, report.tables) == (None, ())
    assert any("labels are not public" in note for note in report.notes)
    assert EgoSchema().points(items[0], predictions[items[0].id], FULL) is None
    written = json.loads(
        EgoSchema().submission(items, predictions, FULL)["egoschema_submission.json"]
    )
    assert list(written.values()) == [2] * 8 + [-1, -1]
    assert list(written) == [item.id for item in items]


def test_a_result_file_is_scored_and_written_again(folder, tmp_path):
    items = EgoSchema().items(folder, SUBSET)
    content = {item.id: (item.answer + (place % 4 == 0)) % 5 for place, item in enumerate(items)}
    path = tmp_path / "submission.json"
    write_json(path, {**content, "of the full set": 4})
    predictions = EgoSchema().read_results(path, items)
    assert EgoSchema().report(items, predictions, SUBSET).value == 0.75
    written = EgoSchema().submission(items, predictions, SUBSET)["egoschema_submission.json"]
    assert json.loads(written) == content


def test_a_number_that_names_no_option_is_no_answer(folder, tmp_path):
    items = EgoSchema().items(folder, SUBSET)
    path = tmp_path / "submission.json"
    write_json(path, {items[0].id: -1, items[1].id: 5})
    report = EgoSchema().report(items, EgoSchema().read_results(path, items), SUBSET)
    assert (report.value, report.counts["unextracted"]) == (0, 2)


def test_the_hubs_layout_gives_the_same_questions(folder, tmp_path):
    items = EgoSchema().items(folder, SUBSET)
    rows = [
        {
            "question_idx": str(place),
            "question": item.question,
            "video_idx": item.id,
            "option": lettered(item.options),
            "answer": str(item.answer),
        }
        for place, item in enumerate(items)
    ]
    hub = tmp_path / "hub"
    write_parquet(hub / "Subset" / "test-00000-of-00001.parquet", rows)
    write_parquet(hub / "MC" / "test.parquet", [{**row, "answer": None} for row in rows])
    found = EgoSchema().items(hub, SUBSET)
    assert [(i.id, i.options, i.answer) for i in found] == [
        (i.id, i.options, i.answer) for i in items
    ]
    assert [item.answer for item in EgoSchema().items(hub, FULL)] == [None] * 8


def test_lmms_eval_takes_the_first_option_named_and_draws_where_there_is_none(folder):
    item = EgoSchema().items(folder, LMMS)[0]
    assert EgoSchema().extract(item, "B. or (A)", LMMS).value == 1
    drawn = EgoSchema().extract(item, "no idea", LMMS)
    assert drawn.how == "random"
    assert drawn == EgoSchema().extract(item, "no idea", LMMS)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("questions.json", lambda rows: rows[1:], "has no question clip_one-00, for which subset"),
        ("questions.json", lambda rows: [*rows, rows[0]], "row 9: question clip_one-00 was in"),
        ("questions.json", lambda rows: [{"q_uid": "x"}], "row 1: no question, option 0"),
        ("subset_answers.json", lambda map_: {**map_, "clip_one-00": 7}, "row 1: answer is 7"),
        ("subset_answers.json", lambda map_: [1], "is not a map of questions to numbers"),
    ],
)
def test_malformed_data_is_one_line(folder, name, change, said):
    path = folder / name
    write_json(path, change(json.loads(path.read_text())))
    refused(said, EgoSchema().items, folder, SUBSET)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1], "is no result file of EgoSchema"),
        ({"clip_one-00": "A"}, "is no result file of EgoSchema"),
        ({"other": 1}, "answers no question of this split"),
    ],
)
def test_result_files_that_are_none(folder, tmp_path, content, said):
    items = EgoSchema().items(folder, SUBSET)
    write_json(tmp_path / "r.json", content)
    refused(said, EgoSchema().read_results, tmp_path / "r.json", items)
