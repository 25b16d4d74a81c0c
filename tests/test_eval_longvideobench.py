"""LongVideoBench is read, scored and written as its author's parser and loader have it."""

from __future__ import annotations

import json

import pytest
from eval_choice_cases import DATA, answers, refused, right_letters, values
from eval_datasets import make_longvideobench, write_json, write_parquet

from pplava_core.evals.base import Prediction, Settings
from pplava_core.evals.benchmarks.longvideobench import LongVideoBench

VAL, TEST, LMMS = Settings(), Settings(split="test"), Settings(protocol="lmms")
OFFICIAL = json.loads((DATA / "longvideobench" / "official_lmms.json").read_text())


@pytest.fixture
def folder(tmp_path):
    return make_longvideobench(tmp_path / "data")


@pytest.mark.parametrize("settings", [VAL, LMMS])
def test_every_answer_and_figure_is_the_scorers(settings):
    benchmark = LongVideoBench()
    items = benchmark.items(DATA / "longvideobench", settings)
    predictions = answers(items, {entry["id"]: entry["pred"] for entry in OFFICIAL["preds"]})
    for item, entry in zip(items, OFFICIAL["preds"], strict=True):
        read = benchmark.extract(item, entry["pred"], settings).value
        assert ("ABCDE"[read], "ABCDE"[item.answer]) == (entry["parsed"], entry["answer"])
    report = benchmark.report(items, predictions, settings)
    assert round(report.value, 5) == OFFICIAL["overall"]
    figures = values(report, "duration_group") | values(report, "question_category")
    expected = {name: row["acc"] for name, row in OFFICIAL["table"].items() if name != "Overall"}
    assert {name: round(value, 5) for name, value in figures.items()} == expected
    counts = {row.name: row.count for one in report.tables for row in one.rows}
    assert all(counts[name] == OFFICIAL["table"][name]["num"] for name in expected)


def test_lots_are_drawn_among_the_questions_options_and_counted(folder):
    items = LongVideoBench().items(folder, VAL)
    predictions = answers(items, {**right_letters(items), items[0].id: "no idea"})
    predictions[items[9].id] = Prediction(id=items[9].id, error="no such video")
    report = LongVideoBench().report(items, predictions, VAL)
    assert (report.counts["random"], report.counts["errors"]) == (1, 1)
    assert report.value in (0.8, 0.9)
    strict = LongVideoBench().report(items, predictions, Settings(strict=True))
    assert strict.value == 0.8
    lots = {
        LongVideoBench().extract(items[0], "no idea", Settings(seed=seed)).value
        for seed in range(50)
    }
    assert lots == {0, 1, 2}


def test_of_the_test_split_there_is_a_file_and_no_score(folder, tmp_path):
    items = LongVideoBench().items(folder, TEST)
    predictions = answers(items, {items[0].id: "B. red", items[1].id: "no idea"})
    report = LongVideoBench().report(items, predictions, TEST)
    assert (report.value, report.tables) == (None, ())
    assert any("labels are not public" in note for note in report.notes)
    written = LongVideoBench().submission(items, predictions, TEST)
    text = written["longvideobench_submission.json"]
    assert list(json.loads(text).values()) == ["B. red", "no idea", "", ""]
    path = tmp_path / "submission.json"
    path.write_text(text)
    read = LongVideoBench().read_results(path, items)
    assert read[items[0].id].text == "B. red"


def test_the_published_layouts_give_the_same_questions(folder, tmp_path):
    items = LongVideoBench().items(folder, VAL)
    assert items[0].video == folder / "videos" / "clip_one.mp4"
    assert [item.id for item in items if item.video is None] == ["clip_missing_9"]
    rows = json.loads((folder / "lvb_val.json").read_text())
    for row in rows:
        options = row.pop("candidates")
        row |= {f"option{n}": (options[n] if n < len(options) else "N/A") for n in range(5)}
    hub = tmp_path / "hub"
    write_parquet(hub / "validation-00000-of-00001.parquet", rows)
    found = LongVideoBench().items(hub, VAL)
    assert [(i.id, i.options, i.answer, i.groups) for i in found] == [
        (i.id, i.options, i.answer, i.groups) for i in items
    ]


def test_subtitles_stand_before_the_question_in_the_loaders_order(folder):
    benchmark, settings = LongVideoBench(), Settings(subtitles=True)
    items = benchmark.items(folder, settings)
    prompt = benchmark.prompt(items[0], settings, [0.5, 2.5])
    assert prompt.query.startswith(
        "second 0 of the circle\nsecond 2 of the circle\nQuestion: In this film, what colour"
    )
    assert prompt.source == "our choice"
    assert "subtitles" not in prompt.guide
    assert any("our choice" in note for note in benchmark.report(items, {}, settings).notes)
    ppllava = benchmark.report(items, {}, Settings(protocol="ppllava")).notes
    assert any("PPLLaVA published no evaluation" in note for note in ppllava)
    assert benchmark.prompt(items[0], VAL, [0.5, 2.5]).source == "official"


def test_what_is_still_packed_is_said(folder):
    settings = Settings(subtitles=True)
    for name in ("videos", "subtitles"):
        (folder / name).rename(folder / f"away-{name}")
        (folder / f"{name}.tar.part.aa").write_bytes(b"")
    for path in (folder / "away-videos").iterdir():
        path.unlink()
    item = LongVideoBench().items(folder, settings)[0]
    refused("cat videos.tar* | tar -x", LongVideoBench().paths, item, settings)
    refused("cat subtitles.tar* | tar -x", LongVideoBench().prompt, item, settings, [0.5])
    (folder / "videos").mkdir()
    refused("the data folder has no such video", LongVideoBench().paths, item, settings)


@pytest.mark.parametrize("content", ["", "{}", '[{"start": "x", "end": "y", "line": "z"}]'])
def test_unreadable_subtitles_are_one_line(folder, content):
    settings = Settings(subtitles=True)
    (folder / "subtitles" / "clip_one_en.json").write_text(content)
    item = LongVideoBench().items(folder, settings)[0]
    refused("clip_one_en.json", LongVideoBench().prompt, item, settings, [0.5])
    (folder / "subtitles" / "clip_one_en.json").unlink()
    refused("clip_one_en.json", LongVideoBench().prompt, item, settings, [0.5])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"correct_choice": 3}, "row 1: correct_choice is 3; expected 0 to 2"),
        ({"correct_choice": "A"}, "row 1: correct_choice is 'A'"),
        ({"correct_choice": None}, "row 1: correct_choice is None"),
        ({"candidates": ["a", None]}, "row 1: candidates is ['a', None]"),
        ({"duration": "4"}, "row 1: duration is '4', a str; expected int or float"),
        ({"id": "clip_one_1"}, "row 2: question clip_one_1 was in row 1 already"),
    ],
)
def test_malformed_rows_are_one_line(folder, changed, said):
    path = folder / "lvb_val.json"
    first, *rest = json.loads(path.read_text())
    write_json(path, [{**first, **changed}, *rest])
    refused(said, LongVideoBench().items, folder, VAL)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1], "is no result file of LongVideoBench"),
        ({"clip_one_0": 1}, "is no result file of LongVideoBench"),
        ({"other": "A"}, "answers no question of this split"),
    ],
)
def test_result_files_that_are_none(folder, tmp_path, content, said):
    items = LongVideoBench().items(folder, VAL)
    write_json(tmp_path / "r.json", content)
    refused(said, LongVideoBench().read_results, tmp_path / "r.json", items)
