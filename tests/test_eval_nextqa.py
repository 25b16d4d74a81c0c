"""NExT-QA is read, scored and written as its authors' scorer has it."""

from __future__ import annotations

import csv
import json

import pytest
from eval_choice_cases import answers, refused, right_letters, values
from eval_datasets import make_nextqa, write_json, write_parquet

from pplava_core.errors import UsageError
from pplava_core.evals.base import Item, Prediction, Settings
from pplava_core.evals.benchmarks.nextqa import NextQA

OFFICIAL, LMMS, STRICT = Settings(), Settings(protocol="lmms"), Settings(strict=True)
TYPES = {
    "CW": ("Why", "Acc_C"),
    "CH": ("How", "Acc_C"),
    "TN": ("Bef&Aft", "Acc_T"),
    "TP": ("Bef&Aft", "Acc_T"),
    "TC": ("When", "Acc_T"),
    "DC": ("Cnt", "Acc_D"),
    "DL": ("Loc", "Acc_D"),
    "DO": ("Other", "Acc_D"),
}


@pytest.fixture
def folder(tmp_path):
    return make_nextqa(tmp_path / "data")


def csv_path(folder):
    return folder / "dataset" / "nextqa" / "val.csv"


def write_questions(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def results(tmp_path, content):
    path = tmp_path / "results.json"
    write_json(path, content)
    return path


def many_questions(tmp_path):
    """Ask 1000 invented questions of every type, and answer them somehow."""
    base = {"frame_count": 1, "width": 1, "height": 1, "question": "why"}
    options = {f"a{n}": f"option {n}" for n in range(5)}
    rows, content = [], {}
    for number in range(1000):
        kind = list(TYPES)[number * 7 % 8]
        answer, predicted = number * 3 % 5, number * number % 7 % 5
        head = {"video": number // 8, **base, "answer": answer, "qid": number % 8, "type": kind}
        rows.append({**head, **options})
        content[f"{number // 8}_{number % 8}"] = {"prediction": predicted, "answer": answer}
    write_questions(tmp_path / "val.csv", rows)
    return rows, results(tmp_path, content), content


def test_figures_are_those_of_an_obvious_tally(tmp_path):
    rows, path, content = many_questions(tmp_path)
    items = NextQA().items(tmp_path, OFFICIAL)
    report = NextQA().report(items, NextQA().read_results(path, items), OFFICIAL)
    right: dict[str, list[bool]] = {}
    for row in rows:
        entry = content[f"{row['video']}_{row['qid']}"]
        for name in (*TYPES[row["type"]], "all"):
            right.setdefault(name, []).append(entry["prediction"] == entry["answer"])
    shares = {name: sum(hits) / len(hits) for name, hits in right.items()}
    assert report.value == pytest.approx(shares.pop("all"))
    figures = values(report, "type") | values(report, "group")
    assert figures == pytest.approx(shares)
    assert list(figures) == [
        *("Why", "How", "Bef&Aft", "When", "Cnt", "Loc", "Other"),
        *("Acc_C", "Acc_T", "Acc_D"),
    ]


def test_the_file_that_is_written_is_the_one_that_was_read(tmp_path):
    _, path, content = many_questions(tmp_path)
    items = NextQA().items(tmp_path, OFFICIAL)
    predictions = NextQA().read_results(path, items)
    written = NextQA().submission(items, predictions, OFFICIAL)["nextqa_results.json"]
    assert json.loads(written) == content


def test_the_authors_scorer_goes_by_the_labels_of_the_file_and_strict_scoring_does_not(
    folder, tmp_path
):
    items = NextQA().items(folder, OFFICIAL)
    wrong = {item.id: (item.answer + 1) % 5 for item in items}
    content = {name: {"prediction": n, "answer": n} for name, n in wrong.items()}
    predictions = NextQA().read_results(results(tmp_path, content), items)
    report = NextQA().report(items, predictions, OFFICIAL)
    assert report.value == 1.0
    assert any(note.startswith("10 labels in the result file") for note in report.notes)
    assert NextQA().report(items, predictions, STRICT).value == 0.0


def test_a_question_without_a_result_is_wrong(folder, tmp_path):
    items = NextQA().items(folder, OFFICIAL)
    content = {items[0].id: {"prediction": items[0].answer, "answer": items[0].answer}}
    predictions = NextQA().read_results(results(tmp_path, content), items)
    report = NextQA().report(items, predictions, OFFICIAL)
    assert (report.value, report.counts["missing"]) == (0.1, 9)


def test_answers_of_a_model_are_read_and_written(folder):
    items = NextQA().items(folder, OFFICIAL)
    texts = {name: f"{text})" for name, text in right_letters(items).items()}
    predictions = answers(items, {**texts, items[0].id: "no idea"})
    predictions[items[9].id] = Prediction(id=items[9].id, error="no such video")
    report = NextQA().report(items, predictions, OFFICIAL)
    assert report.value == 0.8
    assert (report.counts["unextracted"], report.counts["errors"]) == (1, 1)
    written = NextQA().submission(items, predictions, OFFICIAL)["nextqa_results.json"]
    said = [entry["prediction"] for entry in json.loads(written).values()]
    assert (said[0], said[9]) == (-1, -1)
    assert said[1:9] == [item.answer for item in items[1:9]]


def test_lmms_eval_draws_lots_that_depend_on_the_seed_and_the_item_alone(folder):
    items = NextQA().items(folder, LMMS)
    predictions = answers(items, "no idea")

    def lots(settings: Settings, some: list[Item]) -> dict[str, int]:
        return {one.id: NextQA().extract(one, "no idea", settings).value for one in some}

    assert lots(LMMS, items) == {k: v for one in items for k, v in lots(LMMS, [one]).items()}
    assert lots(LMMS, items) != lots(Settings(protocol="lmms", seed=1), items)
    assert len(set(lots(LMMS, items).values())) > 2
    report = NextQA().report(items, predictions, LMMS)
    assert report.counts["random"] == 10
    assert NextQA().report(items, predictions, Settings(protocol="lmms", strict=True)).value == 0


def test_the_published_layouts(folder, tmp_path):
    items = NextQA().items(folder, OFFICIAL)
    assert items[0].video == folder / "NExTVideo" / "0101" / "4000.mp4"
    assert [item.id for item in items if item.video is None] == ["4003_0"]
    assert len(NextQA().items(folder, Settings(split="test"))) == 3
    hub = tmp_path / "hub"
    rows = [
        {**row, "video": int(row["video"]), "answer": int(row["answer"])}
        for row in rows_of(csv_path(folder))
    ]
    write_parquet(hub / "MC" / "test-00000-of-00001.parquet", rows)
    (hub / "videos").symlink_to(folder / "NExTVideo" / "0101")
    from_hub = NextQA().items(hub, Settings(split="test"))
    assert [item.id for item in from_hub] == [item.id for item in items]
    assert from_hub[0].video == hub / "videos" / "4000.mp4"


def test_an_unknown_split_is_refused(folder):
    with pytest.raises(UsageError, match="NExT-QA has no split 'train'; give val or test"):
        NextQA().items(folder, Settings(split="train"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"answer": "5"}, "row 1: answer is '5'; expected 0 to 4"),
        ({"type": "DB"}, "row 1: type is 'DB'; expected one of CW"),
        ({"video": "4000", "qid": "1"}, "row 2: question 4000_1 was in row 1 already"),
    ],
)
def test_malformed_rows_are_one_line(folder, changed, said):
    path = csv_path(folder)
    first, *rest = rows_of(path)
    write_questions(path, [{**first, **changed}, *rest])
    refused(said, NextQA().items, folder, OFFICIAL)


def test_a_map_that_is_none_is_one_line(folder):
    write_json(folder / "dataset" / "nextqa" / "map_vid_vidorID.json", {"4000": 1})
    refused("is not a map of videos", NextQA().items, folder, OFFICIAL)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "is no result file of NExT-QA"),
        ({"4000_0": 3}, "is no result file of NExT-QA"),
        ({"4000_0": {"prediction": "A", "answer": 0}}, "are numbers of options"),
        ({"1_1": {"prediction": 0, "answer": 0}}, "answers no question of this split"),
    ],
)
def test_result_files_that_are_none(folder, tmp_path, content, said):
    items = NextQA().items(folder, OFFICIAL)
    refused(said, NextQA().read_results, results(tmp_path, content), items)
