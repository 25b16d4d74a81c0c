"""`pplava eval shapes`: the table, the JSON, and what goes wrong, with a very small model."""

from __future__ import annotations

import json
import re

import pytest
from small_models import plan_small_films, small_model

from pplava_cli import opening
from pplava_core.evals.benchmarks import shapes as benchmark
from pplava_core.models.checkpoint import save_model
from pplava_core.session import Generation, PoolingChoice
from pplava_core.shapes.dataset import write_dataset


def few_tokens(*, max_new_tokens):
    """An untrained model never stops by itself; a few tokens are enough to be wrong."""
    return Generation(max_new_tokens=min(max_new_tokens, 3))


@pytest.fixture(scope="module", autouse=True)
def small_films():
    patch = pytest.MonkeyPatch()
    plan_small_films(patch)
    patch.setattr(benchmark, "Generation", few_tokens)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def films(tmp_path_factory, small_films):
    folder = tmp_path_factory.mktemp("films") / "test"
    write_dataset(folder, split="test", seed=1, question_count=12, workers=1)
    return folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "small"
    save_model(small_model(notice="small knows nothing"), folder)
    return folder


@pytest.fixture
def evaluate(run_pplava, model_folder):
    def run(*arguments):
        return run_pplava("eval", "shapes", "--model", model_folder, "--device", "cpu", *arguments)

    return run


def test_a_table_for_people(evaluate, films):
    run = evaluate("--data", films)
    assert run.code == 0
    assert "small knows nothing" in run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].split() == ["n", "right", "95", "%", "interval", "constant"]
    names = [line[:20].strip() for line in lines[1:]]
    assert names[:2] == ["count", "count_colour"]
    assert {"all, usual files", "peak on the thing", "things named in caption"} & set(names)
    row = next(line for line in lines if line.startswith("presence"))
    assert re.fullmatch(r"presence +1 +\d+\.\d%   \d+\.\d% – \d+\.\d% +100\.0%", row)
    assert lines[-1].startswith("relevance on the thing")


def test_json_is_one_record_and_details_hold_every_answer(evaluate, films, tmp_path):
    details = tmp_path / "scores.json"
    run = evaluate("--data", films, "--json", "--quiet", "-o", details)
    assert (run.code, run.stderr) == (0, "")
    record = json.loads(run.stdout)
    assert record["type"] == "eval_shapes"
    assert record["model"] == "small"
    assert re.fullmatch(r"[0-9a-f]{16}", record["revision"])
    assert record["questions"] == 12
    assert all(0.0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1.0 for row in record["rows"])
    written = json.loads(details.read_text())
    answers = written.pop("answers")
    assert written == record
    assert len(answers) == 12
    for answer in answers:
        assert (films / answer["video"]).is_file()
        assert isinstance(answer["right"], bool)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


def test_films_are_rendered_where_none_are_given(evaluate, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run = evaluate("--questions", "12", "--seed", "4", "--json", "--quiet")
    assert run.code == 0
    assert json.loads(run.stdout)["questions"] == 12
    assert list(tmp_path.iterdir()) == []


def test_pooling_options_reach_the_session(evaluate, films, monkeypatch):
    seen = []

    def score(items, folder, model, *, pooling, progress):
        seen.append(pooling)
        return []

    monkeypatch.setattr(benchmark, "score_items", score)
    evaluate("--data", films, "--tokens", "7", "--weighting", "average")
    evaluate("--data", films, "--kernel", "2,3,3", "--stride", "1,3,3")
    assert seen[0] == PoolingChoice(max_tokens=7, weighting="average")
    assert seen[1].window.kernel == (2, 3, 3)
    assert seen[1].window.stride == (1, 3, 3)
    run = evaluate("--data", films, "--tokens", "7", "--kernel", "2,3,3")
    assert run.code == 2
    assert len(seen) == 2


def test_questions_without_captions_are_scored_too(evaluate, films, tmp_path):
    lines = (films / "questions.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["type"] == "count"]
    (tmp_path / "films").symlink_to(films / "films")
    (tmp_path / "questions.jsonl").write_text("\n".join(kept) + "\n")
    run = evaluate("--data", tmp_path, "--quiet")
    assert (run.code, run.stderr) == (0, "")
    assert len(run.stdout.splitlines()) == 3


def refused(run, code):
    assert (run.code, run.stdout) == (code, "")
    assert len(run.stderr.splitlines()) == 1
    return run.stderr


def test_a_folder_without_questions_is_unreadable_input(evaluate, tmp_path):
    assert "shapes render" in refused(evaluate("--data", tmp_path, "--quiet"), 3)
    (tmp_path / "questions.jsonl").write_text("{}\n")
    assert "damaged" in refused(evaluate("--data", tmp_path, "--quiet"), 3)


def test_a_film_that_is_gone_is_unreadable_input(evaluate, films, tmp_path):
    (tmp_path / "questions.jsonl").write_text((films / "questions.jsonl").read_text())
    assert ".mp4" in refused(evaluate("--data", tmp_path, "--quiet"), 3)


def test_a_place_for_the_details_is_looked_for_first(evaluate, films, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "open_model", None)
    for target in (tmp_path / "absent" / "scores.json", tmp_path):
        line = refused(evaluate("--data", films, "--quiet", "-o", target), 2)
        assert "--output" in line


def test_a_missing_model_is_four(run_pplava, films):
    refused(run_pplava("eval", "shapes", "--data", films, "--model", "giant", "--quiet"), 4)


def test_help_has_examples(run_pplava):
    run = run_pplava("eval", "shapes", "--help")
    assert run.code == 0
    assert "pplava eval shapes --questions 2400" in run.stdout
