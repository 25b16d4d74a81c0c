"""MVBench is read, scored and written as its authors' notebook has it, gifts included."""

from __future__ import annotations

import json
import shutil

import pytest
from eval_choice_cases import DATA, answers, refused, values
from eval_datasets import SHAPES, film_bytes, make_mvbench, write_json

from pplava_core.evals.base import Prediction, Settings
from pplava_core.evals.benchmarks.mvbench import TASKS, MVBench
from pplava_core.media import bounded_indices, load_clip

OFFICIAL, PPLLAVA, LMMS = (Settings(protocol=name) for name in ("official", "ppllava", "lmms"))
RESULTS = DATA / "mvbench" / "predictions_official.json"


@pytest.fixture(scope="module")
def fixture_items():
    return MVBench().items(DATA / "mvbench", OFFICIAL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_mvbench(tmp_path_factory.mktemp("mvbench"))


def test_every_answer_and_figure_is_judged_as_the_notebook_did(fixture_items):
    predictions = MVBench().read_results(RESULTS, fixture_items)
    expected = json.loads(RESULTS.read_text())
    report = MVBench().report(fixture_items, predictions, OFFICIAL)
    for item, entry in zip(fixture_items, expected["predictions"], strict=True):
        points = MVBench().points(item, predictions[item.id], OFFICIAL)
        assert bool(points) == entry["official_correct"], entry
    figures = {name: 100 * value for name, value in values(report, "task_type").items()}
    figures["Avg"] = 100 * report.value
    assert figures == pytest.approx(expected["final_res"])
    assert list(figures) == list(expected["final_res"])


def test_gifts_are_counted_and_strict_scoring_takes_them_back(fixture_items):
    predictions = MVBench().read_results(RESULTS, fixture_items)
    plain = MVBench().report(fixture_items, predictions, OFFICIAL)
    strict = MVBench().report(fixture_items, predictions, Settings(strict=True))
    nothing = ("", "(", "(.", ".", ")", "( A)", " (B) x", "(A)(B)")
    gifts = [
        entry
        for entry in json.loads(RESULTS.read_text())["predictions"]
        if entry["official_correct"] and entry["pred"] in nothing
    ]
    assert plain.counts["degenerate"] == len(gifts) > 12
    assert strict.value == pytest.approx(plain.value - len(gifts) / len(fixture_items))


def test_the_file_that_is_written_gives_the_same_figures_when_read(fixture_items, tmp_path):
    predictions = MVBench().read_results(RESULTS, fixture_items)
    written = MVBench().submission(fixture_items, predictions, OFFICIAL)["mvbench_results.json"]
    path = tmp_path / "results.json"
    path.write_text(written)
    expected = json.loads(RESULTS.read_text())
    assert json.loads(written)["acc_dict"] == expected["acc_dict"]
    assert MVBench().read_results(path, fixture_items) == predictions


def test_continuations_get_their_bracket_and_an_error_is_no_gift(folder):
    items = MVBench().items(folder, OFFICIAL)
    predictions = answers(items, {items[0].id: "A) red\nsince"})
    predictions[items[1].id] = Prediction(id=items[1].id, error="no such video")
    written = MVBench().submission(items, predictions, PPLLAVA)["mvbench_results.json"]
    texts = [entry["pred"] for entry in json.loads(written)["res_list"]]
    assert texts[:3] == ["(A) red\nsince", "(no answer)", "(no answer)"]
    assert MVBench().extract(items[0], texts[1][1:], OFFICIAL).how == "unextracted"


@pytest.mark.parametrize(
    ("text", "official", "ppllava", "lmms"),
    [
        *[("B) x", (1, "read"), (1, "read"), (1, "read"))],
        *[("b", (1, "read"), (1, "read"), (1, "read"))],
        *[("B)\nsince", (1, "read"), (1, "read"), (1, "read"))],
        *[("\nB)", (1, "read"), (1, "read"), (1, "read"))],
        *[("B\nsince A", (1, "read"), (None, "unextracted"), (1, "read"))],
        *[("", (0, "degenerate"), (0, "degenerate"), (None, "unextracted"))],
        *[("The answer is B", (None, "unextracted"), (None, "unextracted"), (1, "read"))],
        *[("E)", (None, "unextracted"), (None, "unextracted"), (4, "read"))],
    ],
)
def test_reading_by_protocol(folder, text, official, ppllava, lmms):
    item = next(one for one in MVBench().items(folder, OFFICIAL) if one.answer == 0)
    for settings, expected in ((OFFICIAL, official), (PPLLAVA, ppllava), (LMMS, lmms)):
        read = MVBench().extract(item, text, settings)
        assert (read.value, read.how) == expected


def test_lmms_eval_leaves_empty_answers_out(folder):
    items = MVBench().items(folder, LMMS)
    right = {item.id: "ABC"[item.answer] for item in items}
    predictions = answers(items, {**right, items[0].id: "", items[2].id: "no idea"})
    report = MVBench().report(items, predictions, LMMS)
    assert report.value == pytest.approx((len(items) - 2) / (len(items) - 1))
    strict = MVBench().report(items, predictions, Settings(protocol="lmms", strict=True))
    assert strict.value == pytest.approx((len(items) - 2) / len(items))


def test_of_two_options_of_the_same_words_each_protocol_takes_its_own(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder / "json", copy / "json")
    row = {"video": "x.mp4", "question": "q", "candidates": ["a", "b", "a"], "answer": "a"}
    write_json(copy / "json" / "state_change.json", [row])
    found = [
        next(one for one in MVBench().items(copy, s) if one.id == "state_change-0")
        for s in (OFFICIAL, PPLLAVA, LMMS)
    ]
    assert [one.answer for one in found] == [2, 2, 0]


def test_films_are_found_where_the_notebook_has_them(folder):
    items = MVBench().items(folder, OFFICIAL)
    assert len(items) == 21
    assert [item.id for item in items if item.video is None] == ["action_prediction-1"]
    assert {item.groups["task_type"] for item in items} == {task.name for task in TASKS}
    bounded = {item.groups["task_type"] for item in items if item.stop_seconds is not None}
    assert bounded == {
        *("Action Sequence", "Action Prediction", "Object Interaction", "Action Localization"),
        "Episodic Reasoning",
    }
    first = MVBench().sampling(items[0], OFFICIAL)
    assert (first.num_frames, first.start_seconds, first.stop_seconds) == (32, 0.5, 3.5)


def test_of_a_folder_of_pictures_the_notebooks_are_taken(folder):
    item = next(i for i in MVBench().items(folder, OFFICIAL) if i.id == "episodic_reasoning-0")
    settings = Settings(num_frames=5)
    paths = MVBench().paths(item, settings)
    expected = bounded_indices(0.5, 3.5, fps=3.0, last_index=11, num_frames=5, first_index=1)
    assert [int(path.stem) for path in paths] == expected
    clip = load_clip(paths, sampling=MVBench().sampling(item, settings), pixels=None)
    assert len(clip.frames) == 5


def test_a_part_without_pictures_is_one_line(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / "json" / "episodic_reasoning.json"
    rows = json.loads(path.read_text())
    write_json(path, [{**rows[0], "start": 90.0, "end": 91.0}])
    item = next(i for i in MVBench().items(copy, OFFICIAL) if i.id == "episodic_reasoning-0")
    refused("no picture from 90 s to 91 s", MVBench().paths, item, OFFICIAL)


def test_lmms_eval_takes_trimmed_films_whole(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    trimmed = copy / "star" / "Charades_segment" / "clip_one.mp4"
    trimmed.parent.mkdir(parents=True)
    trimmed.write_bytes(film_bytes(SHAPES[0]))
    items = {settings.protocol: MVBench().items(copy, settings)[0] for settings in (OFFICIAL, LMMS)}
    assert (items["lmms"].video, items["lmms"].stop_seconds) == (trimmed, None)
    assert items["official"].stop_seconds == 3.5


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"answer": "none of them"}, "row 1: answer is 'none of them'; expected one of the cand"),
        ({"candidates": ["a"]}, "row 1: candidates is ['a']; expected 2 to 8 texts"),
        ({"candidates": "ab"}, "row 1: candidates is 'ab', a str; expected list"),
        ({"start": "0"}, "row 1: start is '0', a str; expected int or float"),
    ],
)
def test_malformed_rows_are_one_line(folder, tmp_path, changed, said):
    shutil.copytree(folder / "json", tmp_path / "json")
    path = tmp_path / "json" / "action_sequence.json"
    write_json(path, [{**json.loads(path.read_text())[0], **changed}])
    refused(said, MVBench().items, tmp_path, OFFICIAL)


def test_a_missing_task_is_one_line(folder, tmp_path):
    shutil.copytree(folder / "json", tmp_path / "json")
    (tmp_path / "json" / "vlnqa.json").write_text("[]")
    (tmp_path / "json" / "egocentric_navigation.json").unlink()
    refused("no questions of Egocentric Navigation", MVBench().items, tmp_path, OFFICIAL)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([{"pred": "(A)"}], "is no result file of MVBench"),
        ([{"pred": "(A)", "gt": "(A) x"}], "has 1 answers to 21 questions"),
        ([{"pred": "(A)", "gt": "(A) x"}] * 21, "answer 1: gt is '(A) x', the data has"),
        ([{"pred": "(A)", "gt": "(A) x", "question": "?"}], "answer 1: no such question"),
        (7, "is no result file of MVBench"),
    ],
)
def test_result_files_that_are_none(folder, tmp_path, entries, said):
    items = MVBench().items(folder, OFFICIAL)
    write_json(tmp_path / "r.json", {"res_list": entries})
    refused(said, MVBench().read_results, tmp_path / "r.json", items)
