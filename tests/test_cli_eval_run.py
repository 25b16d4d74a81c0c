"""`pplava eval BENCH` from the data folder to the report, with the embedded model."""

from __future__ import annotations

import csv
import json

import pytest
from eval_datasets import BUILDERS, make_mvbench, make_videomme

from pplava_cli.eval_run import standing_shown
from pplava_core.evals.registry import BENCHMARKS, find_benchmark
from pplava_core.evals.runs.predictions import read_predictions
from pplava_core.evals.runs.running import Standing

QUICK = ("--frames", 2, "--max-new-tokens", 3, "--workers", 0, "--device", "cpu")


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    return {name: build(tmp_path_factory.mktemp("data") / name) for name, build in BUILDERS.items()}


@pytest.fixture
def evaluate(run_pplava, datasets, tmp_path):
    def run(name, *more, folder=None):
        place = ("-o", folder or tmp_path / "run")
        return run_pplava("eval", name, "--data", datasets[name], *place, *QUICK, *more)

    return run


def summary_in(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize("name", BUILDERS)
def test_from_data_to_report(evaluate, name, tmp_path):
    run = evaluate(name)
    assert run.code == 0, run.stderr
    title = find_benchmark(name).info.title
    lines = run.stdout.splitlines()
    assert lines[0].startswith(f"{title}, ")
    text = run.stdout
    for wanted in ("model: nano", "protocol: official", "counts: total", "prompt: ", "frames: 2"):
        assert wanted in text
    assert "pooling: window" in text
    assert "generation: greedy, at most 3 tokens" in text
    assert str(tmp_path / "run") in run.stderr

    summary = summary_in(tmp_path / "run")
    counts = summary["counts"]
    predictions = read_predictions(tmp_path / "run" / "predictions.jsonl")
    assert counts["total"] == len(predictions) == counts["answered"] + counts["errors"]
    assert counts["errors"] >= 1
    assert all("has no such video" in error for error in summary["errors"])
    assert "has no such video" in text
    assert 0 <= summary["low"] <= summary["value"] <= summary["high"] <= 1
    with (tmp_path / "run" / "tables.csv").open() as file:
        rows = list(csv.DictReader(file))
    wanted = [row["name"] for table in summary["tables"] for row in table["rows"]]
    assert [row["row"] for row in rows] == wanted
    assert all(name in text for name in wanted)
    report = (tmp_path / "run" / "report.md").read_text()
    assert report.startswith(f"# {lines[0]}\n")
    questions = (tmp_path / "run" / "questions.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in questions] == list(predictions)


@pytest.mark.parametrize("protocol", ["ppllava", "lmms"])
def test_every_protocol_runs(evaluate, protocol, tmp_path):
    for name in BUILDERS:
        run = evaluate(name, "--protocol", protocol, "--limit", 2, folder=tmp_path / name)
        assert run.code == 0, run.stderr
        assert f"protocol: {protocol}" in run.stdout


def test_going_on_asks_nothing_twice_and_other_settings_are_refused(evaluate, tmp_path):
    first = evaluate("mvbench")
    path = tmp_path / "run" / "predictions.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:7]) + lines[7][:20])
    again = evaluate("mvbench")
    assert again.stdout == first.stdout
    assert path.read_bytes().splitlines(keepends=True)[:7] == lines[:7]
    refused = evaluate("mvbench", "--protocol", "lmms")
    assert refused.code == 2
    assert "settings.protocol" in refused.stderr
    assert "--fresh" in refused.stderr
    assert evaluate("mvbench", "--protocol", "lmms", "--fresh").code == 0


def test_strict_scores_the_same_answers(evaluate, tmp_path):
    evaluate("mvbench")
    answers = (tmp_path / "run" / "predictions.jsonl").read_bytes()
    run = evaluate("mvbench", "--strict", "--json", "--quiet")
    assert run.code == 0
    assert (tmp_path / "run" / "predictions.jsonl").read_bytes() == answers
    assert json.loads(run.stdout)["strict"] is True


def test_json_is_one_record_with_everything(evaluate, tmp_path):
    run = evaluate("egoschema", "--json", "--quiet")
    assert (run.code, run.stderr) == (0, "")
    record = json.loads(run.stdout)
    assert record.pop("type") == "eval"
    assert record.pop("schema") == 1
    assert record.pop("folder") == str(tmp_path / "run")
    assert record == summary_in(tmp_path / "run")
    assert record["manifest"]["settings"]["num_frames"] == 2
    assert record["asked"]["frames"] == {"min": 2, "max": 2, "mean": 2}


def test_a_part_of_the_questions(evaluate, tmp_path):
    run = evaluate("mvbench", "--only", "action antonym", "--only", "moving count", "--quiet")
    assert run.code == 0
    names = [
        row["name"] for table in summary_in(tmp_path / "run")["tables"] for row in table["rows"]
    ]
    assert names == ["overall", "Action Antonym", "Moving Count"]
    assert "only action antonym moving count" in run.stdout
    run = evaluate("mvbench", "--only", "Flying")
    assert run.code == 2
    assert "Action Antonym" in run.stderr
    run = evaluate("mvbench", "--limit", 4, "--shuffle", "--seed", 3, folder=tmp_path / "four")
    assert summary_in(tmp_path / "four")["counts"]["total"] == 4


def test_a_rehearsal_shows_prompts_and_asks_nothing(evaluate, tmp_path):
    run = evaluate("mvbench", "--dry-run")
    assert run.code == 0
    assert run.stdout.count("── ") == 3
    assert "aligned with: 'Question: what colour is the circle?" in run.stdout
    assert "<start><visual tokens><user> carefully watch the video" in run.stdout
    assert run.stdout.count("<assistant> best option:(") == 3
    assert not (tmp_path / "run").exists()
    records = [
        json.loads(line) for line in evaluate("mvbench", "--dry-run", "--json").stdout.splitlines()
    ]
    assert [record["type"] for record in records] == ["eval_prompt"] * 3
    assert records[0]["answer_prefix"] == "Best option:("


@pytest.mark.parametrize("protocol", ["official", "lmms"])
def test_a_rehearsal_shows_also_what_has_no_video_or_no_subtitles(run_pplava, tmp_path, protocol):
    data = make_videomme(tmp_path / "data")
    (data / "data" / "clip_one.mp4").unlink()
    more = ("--dry-run", "--subtitles", "--protocol", protocol, *QUICK)
    run = run_pplava("eval", "videomme", "--data", data, *more)
    assert run.code == 0, run.stderr
    assert run.stdout.count("cannot be asked: clip_one: the data folder has no such video") == 3
    assert run.stdout.count("a. red") == 1
    make_videomme(data)
    (data / "subtitle" / "clip_one.srt").write_bytes(b"\xff\xfe\xff")
    run = run_pplava("eval", "videomme", "--data", data, *more)
    assert run.code == 0, run.stderr
    assert run.stdout.count("cannot be asked: ") == 3


def test_without_a_folder_results_go_into_the_cache(run_pplava, datasets, own_directories):
    arguments = ("eval", "nextqa", "--data", datasets["nextqa"], *QUICK, "--limit", 2)
    run = run_pplava(*arguments)
    assert run.code == 0
    (folder,) = (own_directories / "cache" / "evals" / "runs").iterdir()
    assert folder.name.startswith("nextqa-nano-")
    assert f"results go to {folder}" in run.stderr
    assert run_pplava(*arguments).stdout == run.stdout
    assert len(list(folder.parent.iterdir())) == 1


def test_progress_tells_questions_videos_points_and_errors():
    told = []
    show = standing_shown(lambda *what: told.append(what))
    standing = {"question_total": 12, "videos": 2, "video_total": 4}
    show(Standing(questions=5, **standing, errors=0, right=0.0, judged=0))
    show(Standing(questions=6, **standing, errors=1, right=3.0, judged=4))
    assert told == [
        (5, 12, " questions, 2/4 videos"),
        (6, 12, " questions, 2/4 videos, 75.0% right, 1 errors"),
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--data", "absent"), 2, "pplava eval fetch mvbench"),
        (("--data", ".", "--split", "train"), 2, "MVBench has test"),
        (("--data", ".", "--subtitles"), 2, "--subtitles: MVBench has none"),
        (("--data", "."), 3, "action_sequence.json"),
    ],
)
def test_wrong_data_is_one_line(run_pplava, tmp_path, monkeypatch, arguments, code, told):
    monkeypatch.chdir(tmp_path)
    run = run_pplava("eval", "mvbench", *arguments)
    assert (run.code, run.stdout) == (code, "")
    assert len(run.stderr.splitlines()) == 1
    assert told.lower() in run.stderr.lower()


def test_a_folder_that_cannot_be_written_is_one_line(evaluate, tmp_path):
    (tmp_path / "file").write_text("")
    run = evaluate("mvbench", "--quiet", folder=tmp_path / "file" / "run")
    assert (run.code, run.stdout) == (1, "")
    assert len(run.stderr.splitlines()) == 1
    assert "cannot be written" in run.stderr


def test_a_kernel_that_fits_nothing_stops_at_once(evaluate):
    run = evaluate("mvbench", "--kernel", "9,99,99", "--quiet")
    assert run.code == 2
    assert len(run.stderr.splitlines()) == 1


def test_a_file_of_answers_is_scored_alone(evaluate, run_pplava, datasets, tmp_path):
    ran = evaluate("videomme", "--json", "--quiet")
    told = json.loads(ran.stdout)
    for file in ("predictions.jsonl", "videomme_results.json"):
        path = tmp_path / "run" / file
        run = run_pplava(
            "eval", "score", "videomme", path, "--data", datasets["videomme"], "--json"
        )
        assert run.code == 0, run.stderr
        record = json.loads(run.stdout)
        assert record["folder"] is None
        assert record["counts"]["total"] == told["counts"]["total"]
        # the authors' format has no place for errors, so what failed reads as an empty answer
        assert file.endswith(".json") or record["tables"] == told["tables"]
    run = run_pplava(
        "eval", "score", "videomme", path, "--data", datasets["videomme"], "-o", tmp_path / "scored"
    )
    assert "Video-MME, accuracy" in run.stdout
    assert (tmp_path / "scored" / "report.md").is_file()


def test_a_file_of_other_answers_is_refused(run_pplava, datasets, tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "nobody asked", "text": "A"}\n')
    run = run_pplava("eval", "score", "mvbench", path, "--data", datasets["mvbench"])
    assert run.code == 2
    assert "answers none of the" in run.stderr
    run = run_pplava("eval", "score", "mvbnech", path, "--data", datasets["mvbench"])
    assert run.code == 2
    assert "did you mean mvbench?" in run.stderr


def test_every_benchmark_is_listed(run_pplava):
    run = run_pplava("eval", "list")
    assert run.code == 0
    names = {line.split(" ")[0] for line in run.stdout.splitlines()}
    assert set(BENCHMARKS) <= names
    records = [
        json.loads(line) for line in run_pplava("eval", "list", "--json").stdout.splitlines()
    ]
    assert [record["name"] for record in records] == list(BENCHMARKS)
    assert all(record["licence"] and record["metric"] for record in records)


def test_data_is_checked_before_hours_are_spent(run_pplava, tmp_path):
    data = make_mvbench(tmp_path / "data")
    for path in data.rglob("clip_two.mp4"):
        path.write_bytes(path.read_bytes()[:100])
    run = run_pplava("eval", "check", "mvbench", "--data", data)
    assert run.code == 1
    assert "clip_missing.mp4 (1 question): missing" in run.stdout
    assert "clip_two.mp4 (" in run.stdout
    record = json.loads(run_pplava("eval", "check", "mvbench", "--data", data, "--json").stdout)
    assert record["videos"] == record["opened"] + record["zipped"] + 1
    broken = [trouble for trouble in record["troubles"] if not trouble["missing"]]
    assert broken
    assert all("clip_two" in trouble["reason"] for trouble in broken)
    assert len(record["troubles"]) == 1 + len(broken)
    assert f"1 missing, {len(broken)} unreadable" in run.stdout


def test_other_ways_of_writing_are_used_and_reported(evaluate, tmp_path):
    run = evaluate("nextqa", "--limit", 2, "--beams", 2, folder=tmp_path / "beams")
    assert "generation: 2 beams, at most 3 tokens" in run.stdout
    drawn = ("--temperature", 0.7, "--seed", 5)
    run = evaluate("nextqa", "--limit", 2, *drawn, folder=tmp_path / "drawn")
    assert "generation: temperature 0.7, seed 5, at most 3 tokens" in run.stdout
    assert evaluate("nextqa", "--temperature", 1, "--beams", 2).code == 2
