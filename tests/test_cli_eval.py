"""`pplava eval shapes`: the table, the JSON, and what goes wrong, with a very small model."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from small_models import plan_small_films, small_model

from pplava_cli import opening
from pplava_cli.shapes import ShapeSet
from pplava_core.evals.benchmarks import shapes as benchmark
from pplava_core.models.checkpoint import save_model
from pplava_core.session import Generation, PoolingChoice
from pplava_core.shapes import dataset
from pplava_core.shapes.dataset import SETS, write_dataset


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
    write_dataset(folder, split="test", seed=1, question_count=21, workers=1)
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
    names = [line[:26].strip() for line in lines[1:]]
    assert names[:2] == ["count", "count_colour"]
    assert {"all, usual files", "there, but denied", "descriptions with all"} <= set(names)
    assert {"peak on the thing", "evidence meets its time"} <= set(names)
    row = next(line for line in lines if line.startswith("presence"))
    assert re.fullmatch(r"presence +1 +\d+\.\d%   \d+\.\d% – \d+\.\d% +100\.0%", row)
    figures = {line[:28].strip(): line[28:] for line in lines[-7:]}
    for name in (
        "mean over types",
        "things named in captions",
        "peak on it by chance",
        "relevance on the thing",
        "in an even map",
        "peak in its time by chance",
    ):
        assert re.fullmatch(r" \d+\.\d%", figures[name])


def test_json_is_one_record_and_details_hold_every_answer(evaluate, films, tmp_path):
    details = tmp_path / "scores.json"
    run = evaluate("--data", films, "--json", "--quiet", "-o", details)
    assert (run.code, run.stderr) == (0, "")
    record = json.loads(run.stdout)
    assert record["type"] == "eval_shapes"
    assert record["model"] == "small"
    assert re.fullmatch(r"[0-9a-f]{16}", record["revision"])
    assert record["set"] is None
    assert record["questions"] == 21
    assert record["visual_tokens"] == {"min": 18, "mean": 18.0, "max": 18}
    for name, figure in record["pointing"].items():
        assert type(figure) is (int if name in ("questions", "hidden") else float)
    for name, figure in record["timing"].items():
        assert type(figure) is (int if name == "questions" else float)
    assert all(0.0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1.0 for row in record["rows"])
    written = json.loads(details.read_text())
    answers = written.pop("answers")
    assert written == record
    assert len(answers) == 21
    for answer in answers:
        assert (films / answer["video"]).is_file()
        assert isinstance(answer["right"], bool)
        assert answer["wording"] in ("known", "new")
        assert (answer["turn"], answer["visual_tokens"]) == (0, 18)
    timings = [answer["timing"] for answer in answers if answer["timing"]]
    assert len(timings) == record["timing"]["questions"]
    assert set(timings[0]) == {"peak_inside", "chance", "meets", "overlap", "best_overlap"}
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


def test_films_are_rendered_where_none_are_given(evaluate, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run = evaluate("--questions", "12", "--seed", "4", "--json", "--quiet")
    assert run.code == 0
    record = json.loads(run.stdout)
    assert (record["questions"], record["set"]) == (21, "plain")
    assert list(tmp_path.iterdir()) == []


def test_the_named_set_is_rendered(evaluate, films, monkeypatch):
    seen = []

    def write(folder, *, test_set, progress, **facts):
        seen.append((test_set, facts))
        shutil.copytree(films, folder)

    monkeypatch.setattr(dataset, "write_dataset", write)
    for name in ("plain", "long-prompt", "unseen"):
        run = evaluate("--set", name, "--questions", "21", "--seed", "3", "--json", "--quiet")
        assert json.loads(run.stdout)["set"] == name
    assert [name for name, _ in seen] == ["plain", "long-prompt", "unseen"]
    assert seen[0][1] == {"split": "test", "seed": 3, "question_count": 21}


def test_the_sets_are_those_that_can_be_rendered():
    assert tuple(one.value for one in ShapeSet) == SETS


def test_conversations_are_asked_turn_by_turn(evaluate, tmp_path, monkeypatch):
    folder = tmp_path / "talks"
    write_dataset(folder, split="test", seed=1, question_count=10, test_set="chat", workers=1)
    details = tmp_path / "answers.json"
    run = evaluate("--data", folder, "--json", "--quiet", "-o", details)
    assert (run.code, run.stderr) == (0, "")
    record = json.loads(run.stdout)
    assert (record["set"], record["questions"]) == ("chat", 10)
    turns = [(row["name"], row["count"]) for row in record["rows"] if row["group"] == "turn"]
    assert turns == [(f"turn {number}", 2) for number in range(1, 6)]
    answers = json.loads(details.read_text())["answers"]
    assert [answer["turn"] for answer in answers] == [0, 1, 2, 3, 4] * 2
    assert evaluate("--data", folder, "--set", "chat", "--json", "--quiet").stdout == run.stdout
    line = refused(evaluate("--data", folder, "--set", "unseen", "--quiet"), 2)
    assert "'chat'" in line


def test_long_films_are_asked_about(evaluate, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "_REDUNDANT", {"shorter": (32,), "fps": (5.0,)})
    monkeypatch.setattr(dataset, "_VERY_LONG_EVERY", 1000)
    folder = tmp_path / "long"
    chosen = dataset.choose_items("test", 0, 8, "redundant")
    shortest = min(chosen, key=lambda item: item.film.scene.duration_seconds)
    (folder / "films").mkdir(parents=True)
    dataset.write_film(shortest.film, folder / shortest.film.file_name)
    (folder / "questions.jsonl").write_text(json.dumps(shortest.to_dict()) + "\n")
    run = evaluate("--data", folder, "--json", "--quiet")
    assert run.code == 0, run.stderr
    record = json.loads(run.stdout)
    assert record["set"] == "redundant"
    frames = shortest.film.scene.duration_seconds * shortest.film.sampling_fps
    # Two frames and 2 by 2 patches of a 6 by 6 grid make one token.
    assert record["visual_tokens"]["max"] >= 9 * (frames // 2 - 1)


def test_a_set_that_the_questions_are_not_of_is_usage(evaluate, films):
    for name in ("chat", "redundant"):
        line = refused(evaluate("--data", films, "--set", name, "--quiet"), 2)
        assert f"--set {name}" in line
    run = evaluate("--data", films, "--set", "unseen", "--json", "--quiet")
    assert json.loads(run.stdout)["set"] == "unseen"
    refused(evaluate("--set", "holiday", "--quiet"), 2)


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
    names = [line[:26].strip() for line in run.stdout.splitlines()]
    files = ["all, usual files", "all, unusual files"]
    wordings = ["known wording", "new wording"]
    others = [name for name in names if name not in [*files, *wordings]]
    assert others == ["", "count", "there, but denied", "mean over types"]


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
    assert "pplava eval shapes --set redundant" in run.stdout
