"""`pplava shapes render`: films and questions for a person to watch and check."""

from __future__ import annotations

import json

import pytest
from small_models import plan_small_films

from pplava_core.shapes import dataset


@pytest.fixture(autouse=True)
def small_films(monkeypatch):
    plan_small_films(monkeypatch)


def lines_of(folder):
    return [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]


def test_a_folder_is_rendered_and_named(run_pplava, tmp_path):
    folder = tmp_path / "made" / "films"
    run = run_pplava("shapes", "render", folder, "--questions", "5", "--workers", "1")
    assert (run.code, run.stdout) == (0, f"{folder}\n")
    lines = lines_of(folder)
    assert run.stderr == f"{len(lines)} questions\n"
    assert len(lines) >= 5
    for line in lines:
        assert (folder / line["video"]).stat().st_size > 500
        assert {"type", "text", "answer", "film"} <= set(line)


def write_nothing(film, path):
    path.write_bytes(b"film")


def test_json_tells_folder_and_number(run_pplava, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "write_film", write_nothing)
    folder = tmp_path / "films"
    run = run_pplava("shapes", "render", folder, "--questions", "1", "--workers", "1", "--json")
    record = json.loads(run.stdout)
    assert record["type"] == "shapes"
    assert record["set"] == "plain"
    assert record["folder"] == str(folder)
    assert record["questions"] == len(lines_of(folder))


def test_seed_and_split_choose_the_scenes(run_pplava, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "write_film", write_nothing)
    texts = []
    for name, options in (
        ("a", ["--seed", "2"]),
        ("b", ["--seed", "2", "--split", "test"]),
        ("c", ["--seed", "3"]),
        ("d", ["--seed", "2", "--split", "train"]),
    ):
        common = ["--questions", "1", "--workers", "1", "--quiet"]
        run = run_pplava("shapes", "render", tmp_path / name, *options, *common)
        assert (run.code, run.stderr) == (0, "")
        texts.append((tmp_path / name / "questions.jsonl").read_text())
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


@pytest.mark.parametrize("name", dataset.SETS)
def test_a_set_is_chosen(run_pplava, tmp_path, monkeypatch, name):
    monkeypatch.setattr(dataset, "write_film", write_nothing)
    folder = tmp_path / "films"
    options = ["--set", name, "--questions", "5", "--workers", "1", "--json", "--quiet"]
    run = run_pplava("shapes", "render", folder, *options)
    assert (run.code, run.stderr) == (0, "")
    assert json.loads(run.stdout)["set"] == name
    expected = dataset.choose_items("test", 0, 5, name)
    assert lines_of(folder) == [json.loads(json.dumps(item.to_dict())) for item in expected]


def test_a_folder_with_something_in_it_stays(run_pplava, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    run = run_pplava("shapes", "render", tmp_path)
    assert (run.code, run.stdout) == (2, "")
    assert len(run.stderr.splitlines()) == 1
    assert "exists already" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "options",
    [
        ["--split", "holiday"],
        ["--set", "holiday"],
        ["--questions", "0"],
        ["--seed", "-1"],
        ["--workers", "0"],
    ],
)
def test_senseless_options_are_usage(run_pplava, tmp_path, options):
    run = run_pplava("shapes", "render", tmp_path / "films", *options)
    assert (run.code, run.stdout) == (2, "")
    assert len(run.stderr.splitlines()) == 1
    assert not (tmp_path / "films").exists()


def test_help_has_examples(run_pplava):
    for arguments in (["shapes", "--help"], ["shapes", "render", "--help"]):
        run = run_pplava(*arguments)
        assert run.code == 0
        assert "pplava shapes render my-shapes" in run.stdout
