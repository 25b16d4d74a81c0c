"""Video-MME is read, scored and written as its authors' script has it."""

from __future__ import annotations

import gzip
import json
import re

import pytest
from eval_choice_cases import DATA, answers, refused, right_letters, table, values
from eval_datasets import make_videomme, write_parquet

from pplava_core.evals.base import Prediction, Settings
from pplava_core.evals.benchmarks.videomme import DURATIONS, VideoMME
from pplava_core.evals.data.data_folder import read_rows

OFFICIAL = Settings()
TITLES = {
    "Video Categories": "domain",
    "Video Domains": "domain",
    "Video Sub Categories": "sub_category",
    "Task Categories": "task_type",
    "Overall Performance": "overall",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The made-up result file of 900 films, and a dataset of the same questions."""
    folder = tmp_path_factory.mktemp("videomme")
    films = json.loads(gzip.decompress((DATA / "videomme" / "results_900.json.gz").read_bytes()))
    rows = [
        {
            **{name: film[name] for name in ("video_id", "duration", "domain", "sub_category")},
            "url": "",
            "videoID": f"film{film['video_id']}",
            **{name: question[name] for name in ("question_id", "task_type", "question")},
            "options": question["options"],
            "answer": question["answer"],
        }
        for film in films
        for question in film["questions"]
    ]
    write_parquet(folder / "videomme" / "test-00000-of-00001.parquet", rows)
    path = folder / "results.json"
    path.write_text(json.dumps(films), encoding="utf-8")
    items = VideoMME().items(folder, OFFICIAL)
    return items, VideoMME().read_results(path, items), films


@pytest.fixture
def folder(tmp_path):
    return make_videomme(tmp_path / "data")


def official_lines():
    """Give (duration or None, table, row, what was printed) of the script's output."""
    duration, title = None, ""
    for line in (DATA / "videomme" / "official_output.txt").read_text().splitlines():
        if line.startswith("Evaluation on"):
            duration = line.split(": ")[1] if "Type" in line else None
        elif line in TITLES:
            title = TITLES[line]
        elif line.endswith("%"):
            name, printed = line.rsplit(":", 1)
            yield duration, title, name, printed.removeprefix(" ")


def test_every_figure_is_the_one_that_the_authors_script_printed(whole):
    items, predictions, _ = whole
    report = VideoMME().report(items, predictions, OFFICIAL)
    checked = 0
    for duration, title, name, printed in official_lines():
        if title == "overall":
            value = values(report, "duration")[duration] if duration else report.value
        else:
            value = values(report, f"{title}, {duration}" if duration else title)[name]
        assert f"{100 * value: .1f}%" == printed, (duration, title, name)
        checked += 1
    assert checked == 4 * (6 + 30 + 12 + 1)


def test_unread_answers_are_out_of_the_denominator_and_counted(whole):
    items, predictions, _ = whole
    report = VideoMME().report(items, predictions, OFFICIAL)
    unread = report.counts["unextracted"]
    assert report.counts["total"] == report.counts["answered"] == 2700
    assert table(report, "overall").rows[0].count == 2700 - unread
    assert 0 < unread < 2700
    strict = VideoMME().report(items, predictions, Settings(strict=True))
    assert table(strict, "overall").rows[0].count == 2700
    assert strict.value == pytest.approx(report.value * (2700 - unread) / 2700)


def test_the_file_that_is_written_is_the_one_that_was_read(whole):
    items, predictions, films = whole
    written = VideoMME().submission(items, predictions, OFFICIAL)
    assert json.loads(written["videomme_results.json"]) == films


def test_the_published_layout(folder):
    items = VideoMME().items(folder, OFFICIAL)
    assert [item.id for item in items[:4]] == ["001-1", "001-2", "001-3", "002-1"]
    assert [item.video is None for item in items] == [False] * 9 + [True]
    assert items[0].details["video_number"] == "001"
    assert items[0].groups["duration"] == "short"
    assert {item.video_id for item in items[:3]} == {"clip_one"}


def test_films_and_subtitles_in_zips_are_found(tmp_path):
    folder = make_videomme(tmp_path / "data", zipped=True)
    first = VideoMME().items(folder, OFFICIAL)[0]
    assert first.video == folder / "videos_chunked_01.zip" / "data" / "clip_one.mp4"
    (opened,) = VideoMME().paths(first, OFFICIAL)
    assert opened.read_bytes()[4:8] == b"ftyp"


def test_errors_and_missing_answers_are_wrong_and_in_the_denominator(folder):
    items = VideoMME().items(folder, OFFICIAL)
    predictions = answers(items, right_letters(items))
    assert VideoMME().report(items, predictions, OFFICIAL).value == 1.0
    predictions[items[-1].id] = Prediction(id=items[-1].id, error="no such video")
    del predictions[items[0].id]
    predictions[items[1].id] = Prediction(id=items[1].id, text="no idea")
    report = VideoMME().report(items, predictions, OFFICIAL)
    assert table(report, "overall").rows[0].count == 9
    assert report.value == pytest.approx(7 / 9)
    assert {name: report.counts[name] for name in ("errors", "missing", "unextracted")} == {
        "errors": 1,
        "missing": 1,
        "unextracted": 1,
    }
    assert [VideoMME().points(items[n], predictions[items[n].id], OFFICIAL) for n in (1, 9)] == [
        0.0,
        0.0,
    ]


def test_lmms_eval_counts_unread_answers_as_wrong(folder):
    items = VideoMME().items(folder, OFFICIAL)
    predictions = answers(items, right_letters(items))
    predictions[items[0].id] = Prediction(id=items[0].id, text="no idea")
    report = VideoMME().report(items, predictions, Settings(protocol="lmms"))
    assert report.value == pytest.approx(0.9)
    assert report.counts["unextracted"] == 1


def test_lmms_eval_finds_multilingual_in_domain_or_sub_category(folder):
    path = folder / "videomme" / "test-00000-of-00001.parquet"
    rows = read_rows(path)
    rows[0]["sub_category"] = "Multilingual"
    write_parquet(path, rows)
    items = VideoMME().items(folder, OFFICIAL)
    predictions = answers(items, right_letters(items))
    plain = VideoMME().report(items, predictions, OFFICIAL)
    lmms = VideoMME().report(items, predictions, Settings(protocol="lmms"))
    counts = [
        next(row.count for row in table(report, "domain").rows if row.name == "Multilingual")
        for report in (plain, lmms)
    ]
    assert counts == [3, 4]


def test_what_a_reader_has_to_know_is_said(folder):
    items = VideoMME().items(folder, OFFICIAL)
    notes = " | ".join(VideoMME().report(items, {}, OFFICIAL).notes)
    assert "without subtitles" in notes
    assert "2 short films: the authors' script takes only 300" in notes
    assert "with subtitles" in VideoMME().report(items, {}, Settings(subtitles=True)).notes


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"answer": "E"}, "row 2: answer is 'E'; expected A, B, C or D"),
        ({"answer": ""}, "row 2: answer is ''"),
        ({"options": ["A. x", "B. y"]}, "row 2: options is ['A. x', 'B. y']; expected four texts"),
        ({"duration": "tiny"}, "row 2: duration is 'tiny'"),
        ({"question": None}, "row 2: question is None, a NoneType; expected str"),
        ({"question_id": "001-1"}, "row 2: question 001-1 was in row 1 already"),
    ],
)
def test_malformed_rows_are_one_line(folder, changed, said):
    path = folder / "videomme" / "test-00000-of-00001.parquet"
    rows = read_rows(path)
    write_parquet(path, [rows[0], {**rows[1], **changed}, *rows[2:]])
    refused(said, VideoMME().items, folder, OFFICIAL)


def test_a_missing_column_and_a_folder_without_data_are_one_line(folder, tmp_path):
    path = folder / "videomme" / "test-00000-of-00001.parquet"
    write_parquet(
        path, [{k: v for k, v in row.items() if k != "answer"} for row in read_rows(path)]
    )
    refused("row 1: no answer", VideoMME().items, folder, OFFICIAL)
    refused("has no questions of Video-MME", VideoMME().items, tmp_path, OFFICIAL)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1]", "is no result file of Video-MME"),
        ('[{"questions": [{}]}]', "is no result file of Video-MME"),
        ('[{"questions": [{"question_id": "9", "response": "A"}]}]', "no question 9 in the data"),
        ('[{"questions": [],}]', "not JSON"),
    ],
)
def test_result_files_that_are_none(folder, tmp_path, content, said):
    items = VideoMME().items(folder, OFFICIAL)
    path = tmp_path / "results.json"
    path.write_text(content)
    refused(said, VideoMME().read_results, path, items)


def test_a_response_that_is_missing_is_no_answer(folder, tmp_path):
    items = VideoMME().items(folder, OFFICIAL)
    path = tmp_path / "results.json"
    questions = [{"question_id": "001-1"}, {"question_id": "001-2", "response": "B"}]
    path.write_text(json.dumps([{"questions": questions}]))
    assert list(VideoMME().read_results(path, items)) == ["001-2"]


def test_durations_are_those_of_the_output():
    text = (DATA / "videomme" / "official_output.txt").read_text()
    assert tuple(re.findall(r"video Type: (\w+)", text)) == DURATIONS
