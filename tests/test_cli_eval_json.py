"""The JSON of `pplava eval` and what it is described as; see `test_cli_json`."""

from __future__ import annotations

import json

import pytest
from eval_datasets import make_mvbench
from hub_server import Repository, running_hub
from test_cli_json import check, record_of

QUICK = ("--frames", 2, "--max-new-tokens", 2, "--workers", 0, "--device", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_mvbench(tmp_path_factory.mktemp("data") / "mvbench")


def test_eval(run_pplava, data, tmp_path):
    run = run_pplava("eval", "mvbench", "--data", data, "-o", tmp_path / "run", *QUICK, "--json")
    record = record_of(run)
    assert set(record["counts"]) >= {"total", "answered", "errors"}
    # keys of these are a benchmark's, messages and libraries
    for name in ("counts", "errors", "manifest"):
        assert record[name]
        record[name] = {}
    check(record)


def test_eval_compare(run_pplava, data, tmp_path):
    for frames in (2, 4):
        arguments = ("-o", tmp_path / str(frames), *QUICK, "--frames", frames, "--limit", 4)
        assert run_pplava("eval", "mvbench", "--data", data, *arguments).code == 0
    before, path = (tmp_path / name / "questions.jsonl" for name in ("2", "4"))
    first = json.loads(before.read_text().splitlines()[0])
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert records[0]["id"] == first["id"]
    records[0]["points"] = 1.0 - first["points"]  # one answer at least is another's opposite
    path.write_text("\n".join(map(json.dumps, records)))
    check(record_of(run_pplava("eval", "compare", tmp_path / "2", tmp_path / "4", "--json")))


def test_eval_ablate(run_pplava, data, tmp_path):
    arguments = ("--pooling", "average", "--kernel", "2,3,3", "-o", tmp_path / "all", "--limit", 2)
    run = run_pplava("eval", "ablate", "mvbench", "--data", data, *arguments, *QUICK, "--json")
    record = record_of(run)
    record["variants"] = record["variants"][1:]  # the first is held against nothing
    check(record)


def test_eval_prompt(run_pplava, data):
    run = run_pplava("eval", "mvbench", "--data", data, "--dry-run", "--json")
    check(json.loads(run.stdout.splitlines()[0]))


def test_benchmark(run_pplava):
    records = map(json.loads, run_pplava("eval", "list", "--json").stdout.splitlines())
    check(next(record for record in records if record["name"] == "nextqa"))


def test_eval_check(run_pplava, data):
    check(record_of(run_pplava("eval", "check", "mvbench", "--data", data, "--json")))


def test_eval_data(run_pplava, monkeypatch):
    with running_hub(OpenGVLab__MVBench=Repository({"README.md": b"x"})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        check(record_of(run_pplava("eval", "fetch", "mvbench", "--yes", "--json")))
