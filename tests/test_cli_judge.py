"""`pplava eval` with a judge, from the data folder to the report, with the embedded model."""

from __future__ import annotations

import json

import pytest
from eval_judged_datasets import BUILDERS, make_activitynetqa, make_vcgbench, vcg_rows
from judge_server import echoes_the_key, fails, judge_server, replies, says

KEY = "sk-very-secret-0123456789"
YES, FOUR = "{'pred': 'yes', 'score': 4}", "{'score': 4}"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)


@pytest.fixture
def server():
    with judge_server(replies(lambda text: YES if "'pred'" in text else FOUR)) as told:
        yield told


@pytest.fixture
def evaluate(run_pplava, tmp_path):
    def run(name, *more):
        options = ("--frames", 2, "--max-new-tokens", 2, "--workers", 0, "--device", "cpu")
        folders = ("--data", tmp_path / "data", "-o", tmp_path / "run")
        return run_pplava("eval", name, *folders, *options, *more)

    return run


def summary_of(tmp_path):
    return json.loads((tmp_path / "run" / "summary.json").read_text())


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_from_data_to_report(name, server, evaluate, tmp_path):
    BUILDERS[name](tmp_path / "data")
    run = evaluate(name, "--judge-url", server.url, "--judge-model", "tester")
    assert run.code == 0
    summary = summary_of(tmp_path)
    counts = summary["counts"]
    assert counts["unjudged"] == 0
    assert counts["judged"] == len(server.requests) > 0
    assert counts["errors"] > 0
    assert "data folder has no such video" in run.stdout
    assert "Judged by tester, prompts: our wording" in run.stdout
    assert f"{counts['judged']} replies asked for" in run.stderr
    if name == "vcgbench":
        assert 0 < summary["value"] < 4  # a mean in which videos that are missing count as 0
    else:
        assert summary["value"] == pytest.approx(counts["judged"] / counts["total"])
    sent = len(server.requests)
    again = evaluate(name, "--judge-url", server.url, "--judge-model", "tester")
    assert again.stdout == run.stdout
    assert len(server.requests) == sent
    assert "0 replies asked for" in again.stderr


def test_answering_first_and_judging_later(server, evaluate, tmp_path):
    make_activitynetqa(tmp_path / "data")
    first = evaluate("activitynetqa")
    assert first.code == 0
    assert "accuracy: —" in first.stdout
    assert "--judge-only --judge-url URL" in first.stdout
    assert "exact match" in first.stdout
    answers = (tmp_path / "run" / "predictions.jsonl").read_bytes()
    server.usual = says(YES)
    later = evaluate("activitynetqa", "--judge-only", "--judge-url", server.url)
    assert later.code == 0
    assert summary_of(tmp_path)["value"] == 10 / 11
    assert {request["model"] for request in server.requests} == {"gpt-3.5-turbo"}
    assert (tmp_path / "run" / "predictions.jsonl").read_bytes() == answers


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--protocol", "lmms"), 'settings.protocol was "official" and would be "lmms"'),
        (("--limit", 3), "selection.limit was null and would be 3"),
        (("--only", "colour"), 'selection.only was [] and would be ["colour"]'),
        ((), "data.sha256 was"),
    ],
)
def test_judging_later_is_held_to_what_was_asked(server, evaluate, tmp_path, options, difference):
    make_activitynetqa(tmp_path / "data")
    evaluate("activitynetqa", "--judge-url", server.url)
    report = (tmp_path / "run" / "summary.json").read_bytes()
    sent = len(server.requests)
    if not options:
        questions = tmp_path / "data" / "test_q.json"
        questions.write_text(questions.read_text().replace("what", "which"))
    refused = evaluate("activitynetqa", "--judge-only", "--judge-url", server.url, *options)
    assert refused.code == 2
    assert difference in refused.stderr.splitlines()[-1]
    assert len(server.requests) == sent
    assert (tmp_path / "run" / "summary.json").read_bytes() == report


def test_lmms_asks_its_judge_in_its_way(server, evaluate, tmp_path):
    make_activitynetqa(tmp_path / "data")
    evaluate("activitynetqa", "--protocol", "lmms", "--judge-url", server.url)
    request = server.requests[0]
    assert (request["model"], request["temperature"], request["max_tokens"]) == (
        "gpt-4o-2024-11-20",
        0.0,
        64,
    )


def test_a_judge_that_refuses_costs_no_answers_and_never_shows_the_key(
    server, evaluate, tmp_path, own_directories
):
    make_activitynetqa(tmp_path / "data")
    server.usual = echoes_the_key
    refused = evaluate("activitynetqa", "--judge-url", server.url, "--debug")
    assert refused.code == 4
    assert refused.stderr.splitlines()[-1].startswith("pplava: judge http://127.0.0.1")
    assert len((tmp_path / "run" / "predictions.jsonl").read_text().splitlines()) == 11
    server.usual = fails(500)
    failing = evaluate("activitynetqa", "--judge-only", "--judge-url", server.url)
    assert failing.code == 4
    server.usual = says(YES)
    fine = evaluate("activitynetqa", "--judge-only", "--judge-url", server.url)
    assert fine.code == 0
    outputs = [run.stdout + run.stderr for run in (refused, failing, fine)]
    assert not any(KEY in text for text in outputs)
    for folder in (tmp_path, own_directories):
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert not any(KEY.encode() in path.read_bytes() for path in files)
    assert server.headers[-1]["authorization"] == f"Bearer {KEY}"


def test_another_wording(server, evaluate, tmp_path):
    make_vcgbench(tmp_path / "data")
    prompts = tmp_path / "published.toml"
    prompts.write_text('[detail]\nsystem = "Mind the details."\nuser = "$prediction?"\n')
    options = ("--judge-url", server.url, "--judge-prompt", prompts, "--judge-concurrency", 1)
    run = evaluate("vcgbench", *options)
    assert "prompts: published.toml " in run.stdout
    systems = [request["messages"][0]["content"] for request in server.requests]
    assert systems.count("Mind the details.") > 0
    assert server.most_in_flight == 1


def test_unreadable_replies_are_reported(server, evaluate, tmp_path):
    make_activitynetqa(tmp_path / "data")
    server.usual = says("Who knows?")
    run = evaluate("activitynetqa", "--judge-url", server.url, "--judge-retries", 1)
    assert run.code == 0
    assert "10 replies could not be read" in run.stdout
    assert "10 opinions unreadable" in run.stderr
    asked = {json.dumps(request["messages"]) for request in server.requests}
    assert len(server.requests) == 2 * len(asked)


def test_lists_of_another_program_are_judged(server, run_pplava, tmp_path):
    data, lists, folder = make_vcgbench(tmp_path / "data"), tmp_path / "lists", tmp_path / "out"
    lists.mkdir()
    for name, rows in vcg_rows().items():
        texts = ("pred1", "pred2") if name == "consistency" else ("pred",)
        answered = [row | dict.fromkeys(texts, f"Answer {n}.") for n, row in enumerate(rows)]
        (lists / f"{name}.json").write_text(json.dumps(answered))
    command = ("eval", "score", "vcgbench", lists, "--data", data)
    plain = run_pplava(*command)
    assert "mean of five aspects: —" in plain.stdout
    for more in ((), ("-o", folder), ("-o", folder)):
        judged = run_pplava(*command, "--judge-url", server.url, *more)
        assert judged.code == 0
        assert "mean of five aspects: 4.00" in judged.stdout
    assert len(server.requests) == 29
    assert "29 of them from an earlier run" in judged.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--judge-only",), "--judge-only needs --judge-url"),
        (("--judge-model", "m"), "need --judge-url"),
        (("--judge-url", "nowhere"), "--judge-url must be like"),
        (("--judge-url", "http://127.0.0.1:9/v1", "--judge-prompt", "/none"), "--judge-prompt"),
        (("--judge-url", "http://127.0.0.1:9/v1", "--judge-only"), "no folder of results"),
    ],
)
def test_command_lines_that_make_no_sense(evaluate, tmp_path, options, says):
    make_activitynetqa(tmp_path / "data")
    run = evaluate("activitynetqa", *options)
    assert run.code in (2, 3)
    assert says in run.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_a_benchmark_that_needs_none(run_pplava, tmp_path):
    run = run_pplava("eval", "mvbench", "--data", tmp_path, "--judge-url", "http://127.0.0.1:9/v1")
    assert run.code == 2
    assert "needs no judge" in run.stderr
