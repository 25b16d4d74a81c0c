"""ActivityNet-QA and its siblings: layouts, prompts, and figures as their scorers give them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from eval_judged_datasets import (
    activitynet_rows,
    make_activitynetqa,
    make_activitynetqa_hub,
    make_msrvttqa,
    make_msvdqa,
)

from pplava_core.errors import InputError
from pplava_core.evals.base import PROTOCOLS, Prediction, Settings
from pplava_core.evals.benchmarks.activitynetqa import ActivityNetQA
from pplava_core.evals.benchmarks.msrvttqa import MSRVTTQA
from pplava_core.evals.benchmarks.msvdqa import MSVDQA

OFFICIAL = Settings()
ORACLE = Path(__file__).parent / "data" / "ppllava_prompt_oracle.json"


@pytest.fixture
def activitynet(tmp_path):
    return ActivityNetQA().items(make_activitynetqa(tmp_path), OFFICIAL)


def judged(item, reply):
    return Prediction(id=item.id, text="words", details={"judge": {"match": {"reply": reply}}})


def said(pred, score):
    return str({"pred": pred, "score": score})


def rows_of(report, name):
    [table] = [table for table in report.tables if table.name == name]
    return {row.name: (row.value, row.count) for row in table.rows}


def test_activitynet_in_the_authors_layout(activitynet, tmp_path):
    first, last = activitynet[0], activitynet[-1]
    assert [item.id for item in activitynet] == [row["question_id"] for row in activitynet_rows()]
    assert (first.video_id, first.answer, first.groups) == ("clip_one", "red", {"type": "colour"})
    assert first.video == tmp_path / "videos" / "v_clip_one.mp4"
    assert [item.video.suffix for item in activitynet[3:7:3]] == [".mkv", ".webm"]
    assert activitynet[9].video is None
    assert last.groups == {"type": "yes/no"}


def test_the_hub_says_the_same(activitynet, tmp_path):
    hub = ActivityNetQA().items(make_activitynetqa_hub(tmp_path / "hub"), OFFICIAL)
    facts = [(item.id, item.question, item.answer, item.groups) for item in activitynet]
    assert [(item.id, item.question, item.answer, item.groups) for item in hub] == facts
    zipped = tmp_path / "hub" / "activitynetqa_01.zip" / "all_test" / "v_clip_one.mp4"
    assert hub[0].video == zipped
    opened = ActivityNetQA().paths(hub[0], OFFICIAL)
    assert opened[0].read_bytes() == activitynet[0].video.read_bytes()


def test_folders_of_frames_will_do(tmp_path):
    folder = make_activitynetqa(tmp_path)
    (folder / "videos" / "v_clip_one.mp4").unlink()
    frames = folder / "activitynet_frames" / "v_clip_one"
    frames.mkdir(parents=True)
    (frames / "000001.jpg").touch()
    assert ActivityNetQA().items(folder, OFFICIAL)[0].video == frames


def test_msvd_finds_films_by_the_mapping_or_by_number(tmp_path):
    folder = make_msvdqa(tmp_path)
    items = MSVDQA().items(folder, OFFICIAL)
    assert items[0].video == folder / "YouTubeClips" / "clip_one_3_7.avi"
    assert (items[0].id, items[0].video_id, items[9].video) == ("0", "1200", None)
    (folder / "youtube_mapping.txt").unlink()
    assert MSVDQA().items(folder, OFFICIAL)[0].video is None
    (folder / "YouTubeClips" / "clip_one_3_7.avi").rename(folder / "vid1200.avi")
    assert MSVDQA().items(folder, OFFICIAL)[0].video == folder / "vid1200.avi"


def test_msvd_with_names_in_its_rows(tmp_path):
    folder = make_msvdqa(tmp_path)
    rows = [{"video_name": "clip_two_3_7.avi", "question": "q?", "answer": "a", "question_id": 7}]
    (folder / "test_qa.json").unlink()
    (folder / "new_test_qa.json").write_text(json.dumps(rows))
    [item] = MSVDQA().items(folder, OFFICIAL)
    assert (item.id, item.video.name) == ("7", "clip_two_3_7.avi")


def test_a_mapping_that_is_none(tmp_path):
    folder = make_msvdqa(tmp_path)
    (folder / "youtube_mapping.txt").write_text("one two\nthree\n")
    with pytest.raises(InputError, match="line 2"):
        MSVDQA().items(folder, OFFICIAL)
    (folder / "youtube_mapping.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        MSVDQA().items(folder, OFFICIAL)


def test_msrvtt_films_are_called_by_number(tmp_path):
    items = MSRVTTQA().items(make_msrvttqa(tmp_path), OFFICIAL)
    assert items[0].video == tmp_path / "video" / "video1200.mp4"
    assert items[9].video is None


def test_prompts(activitynet):
    benchmark, item = ActivityNetQA(), activitynet[0]
    prompts = {name: benchmark.prompt(item, Settings(protocol=name)) for name in PROTOCOLS}
    assert {one.guide for one in prompts.values()} == {"what colour is the circle"}
    assert [one.source for one in prompts.values()] == ["our choice", "ppllava", "lmms"]
    assert prompts["official"].query == prompts["ppllava"].query
    assert prompts["ppllava"].answer_prefix == "Answer: In the video,"
    expected = "What colour is the circle? Answer the question using a single word or phrase."
    assert prompts["lmms"].query == expected
    assert prompts["lmms"].answer_prefix == ""


def test_ppllava_prompts_byte_for_byte(activitynet):
    item = replace(activitynet[0], question="is the athlete wearing trousers")
    prompt = ActivityNetQA().prompt(item, Settings(protocol="ppllava"))
    whole = f"USER: <image>\n{prompt.query} ASSISTANT: {prompt.answer_prefix}"
    assert whole == json.loads(ORACLE.read_text(encoding="utf-8"))["videoqa_v1"]


def test_frames_are_ppllavas_unless_told_otherwise(activitynet):
    assert ActivityNetQA().num_frames(activitynet[0], OFFICIAL) == 32
    assert ActivityNetQA().num_frames(activitynet[0], Settings(num_frames=7)) == 7


def test_accuracy_and_score_by_type(activitynet):
    replies = [said("yes", 5), said("no", 1), said("maybe", 2), said("Yes", 4.8), said("no", 0)]
    predictions = {
        item.id: judged(item, reply) for item, reply in zip(activitynet, replies, strict=False)
    }
    report = ActivityNetQA().report(activitynet, predictions, OFFICIAL)
    assert report.value == 2 / 4
    by_type = {"colour": (1.0, 2), "object": (0.0, 2), "all": (0.5, 4)}
    assert rows_of(report, "accuracy") == by_type
    assert rows_of(report, "score")["all"] == ((5 + 1 + 2 + 4 + 0) / 5, 5)
    assert report.counts["neither"] == 1
    assert (report.counts["total"], report.counts["answered"]) == (11, 5)
    lmms = ActivityNetQA().report(activitynet, predictions, Settings(protocol="lmms"))
    assert lmms.value == 2 / 5
    strict = ActivityNetQA().report(activitynet, predictions, Settings(strict=True))
    assert strict.value == 2 / 11


def test_what_could_not_be_read_or_judged(activitynet):
    item, broken, odd, unscored, unjudged = activitynet[:5]
    predictions = {
        item.id: judged(item, said("yes", 5)),
        broken.id: Prediction(id=broken.id, error="no such video"),
        odd.id: judged(odd, "well, yes"),
        unscored.id: judged(unscored, "{'pred': 'yes'}"),
        unjudged.id: Prediction(id=unjudged.id, text="words"),
    }

    def figures(**settings):
        report = ActivityNetQA().report(activitynet, predictions, Settings(**settings))
        [score] = [table for table in report.tables if table.name == "score"]
        counts = {name: report.counts[name] for name in ("unparseable", "unscored", "unjudged")}
        return report.value, score.rows[-1].value, *counts.values()

    assert figures() == (1 / 2, 5 / 2, 2, 0, 1)
    assert figures(protocol="ppllava") == (2 / 3, 8 / 3, 1, 1, 1)
    assert figures(protocol="lmms") == (1 / 4, 5 / 4, 2, 0, 1)
    # everything but the first is wrong, only the answer that waits for the judge is not counted
    assert figures(strict=True) == (1 / 10, 5 / 10, 2, 0, 1)
    assert figures(strict=True, protocol="ppllava") == (1 / 10, 5 / 10, 1, 1, 1)
    assert ActivityNetQA().report(activitynet, predictions, OFFICIAL).counts["errors"] == 1


def test_points_are_what_the_judge_says(activitynet):
    benchmark, item = ActivityNetQA(), activitynet[0]

    def points(prediction, settings=OFFICIAL):
        return benchmark.points(item, prediction, settings)

    assert points(judged(item, said("yes", 1))) == 1
    assert points(judged(item, said("no", 1))) == 0
    assert points(judged(item, said("maybe", 1))) is None
    assert points(judged(item, said("maybe", 1)), Settings(strict=True)) == 0
    assert points(Prediction(id=item.id, text="red")) is None
    assert points(Prediction(id=item.id, error="gone")) == 0


def test_no_figure_before_anybody_has_judged(activitynet):
    predictions = {item.id: Prediction(id=item.id, text="red") for item in activitynet}
    report = ActivityNetQA().report(activitynet, predictions, OFFICIAL)
    assert report.value is None
    assert [table.name for table in report.tables] == ["exact match"]
    assert any("--judge-url" in note for note in report.notes)
    assert report.counts["unjudged"] == len(activitynet)


def test_exact_matches_are_summed_up_by_type_id(activitynet):
    texts = {item.id: item.answer for item in activitynet}
    spoiled = {activitynet[1].id: "Circle.", activitynet[2].id: "", activitynet[-1].id: "Yes"}
    predictions = {name: Prediction(id=name, text=text) for name, text in (texts | spoiled).items()}
    report = ActivityNetQA().report(activitynet, predictions, OFFICIAL)
    rows = rows_of(report, "exact match")
    assert rows["motion"] == (2 / 3, 3)
    assert rows["yes/no"] == (0, 1)
    assert rows["free"] == (6 / 8, 8)
    assert rows["all"] == (8 / 11, 11)
    assert rows["all, capitals and full stop aside"] == (10 / 11, 11)


def test_the_report_says_who_judged_in_whose_words(activitynet):
    item = activitynet[0]
    values = {"reply": said("yes", 5), "model": "tester", "prompt": "our wording"}
    predictions = {item.id: Prediction(id=item.id, text="w", details={"judge": {"match": values}})}
    notes = " ".join(ActivityNetQA().report(activitynet, predictions, OFFICIAL).notes)
    assert "Judged by tester, prompts: our wording" in notes
    assert "our choice" in notes


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("test_q.json", lambda rows: rows[0].pop("question"), "row 1: no question"),
        ("test_q.json", lambda rows: rows[1].update(question=3), "row 2: question is 3"),
        ("test_q.json", lambda rows: rows[2].update(question_id="v_9"), "row 3: question v_9"),
        ("test_q.json", lambda rows: rows.append(rows[0]), "was in row 1 already"),
        ("test_q.json", lambda rows: rows[0].pop("video_name"), "row 1: no video_name"),
        ("test_q.json", lambda rows: rows.clear(), "no rows"),
        ("test_a.json", lambda rows: rows[0].update(type=9), "row 1: type is 9"),
        ("test_a.json", lambda rows: rows[0].pop("type"), "row 1: type is None"),
        ("test_a.json", lambda rows: rows[0].pop("answer"), "row 1: no answer"),
        ("test_a.json", lambda rows: rows.append(rows[0]), "was in row 1 already"),
    ],
)
def test_bad_rows_are_one_clear_line(tmp_path, name, change, says):
    folder = make_activitynetqa(tmp_path)
    rows = json.loads((folder / name).read_text())
    change(rows)
    (folder / name).write_text(json.dumps(rows))
    with pytest.raises(InputError, match=says) as caught:
        ActivityNetQA().items(folder, OFFICIAL)
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_or_cut_off(tmp_path):
    with pytest.raises(InputError, match=r"test questions of ActivityNet-QA"):
        ActivityNetQA().items(tmp_path, OFFICIAL)
    folder = make_activitynetqa(tmp_path)
    whole = (folder / "test_a.json").read_text()
    (folder / "test_a.json").write_text(whole[:100])
    with pytest.raises(InputError, match="cut off"):
        ActivityNetQA().items(folder, OFFICIAL)
    (folder / "test_a.json").unlink()
    with pytest.raises(InputError, match=r"test_a\.json is missing"):
        ActivityNetQA().items(folder, OFFICIAL)
    hub = make_activitynetqa_hub(tmp_path / "hub") / "data" / "test-00000-of-00001.parquet"
    hub.write_bytes(hub.read_bytes()[:200])
    with pytest.raises(InputError, match="parquet"):
        ActivityNetQA().items(tmp_path / "hub", OFFICIAL)
