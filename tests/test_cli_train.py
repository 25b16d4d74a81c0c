"""`pplava train` from a recipe to a model, in this process."""

from __future__ import annotations

import json
import subprocess

import pytest
from small_models import write_recipe

from pplava_cli import train as command
from pplava_core.models.config import read_config
from pplava_core.train import vocabulary


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch):
    monkeypatch.setattr(vocabulary, "_SCENES", 40)


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path / "recipe.toml", steps=2, evaluate_every=2)


def steps_logged(run):
    lines = (run / "log.jsonl").read_text().splitlines()
    return [line["step"] for line in map(json.loads, lines) if "loss" in line]


def test_a_recipe_becomes_a_model(run_pplava, recipe, tmp_path):
    run = run_pplava("train", "--config", recipe)
    folder = tmp_path / "run"
    assert (run.code, run.stdout) == (0, f"{folder / 'model'}\n")
    lines = run.stderr.splitlines()
    assert lines[0] == f"{recipe}: align, 2 steps, seed 3"
    assert any(line.startswith("step 2 of 2: peak ") for line in lines)
    assert (folder / "curve.png").is_file()
    assert steps_logged(folder) == [1, 2]
    made = read_config(folder / "model").training["align"]
    assert made["command"] == f"pplava train --config={recipe}"
    assert made["seed"] == 3


def test_seed_and_folder_of_the_command_line_win_and_are_noted(run_pplava, recipe, tmp_path):
    folder = tmp_path / "second try"
    run = run_pplava("train", "--config", recipe, "--seed", "7", "-o", folder, "--quiet")
    assert (run.code, run.stdout, run.stderr) == (0, f"{folder / 'model'}\n", "")
    made = read_config(folder / "model").training["align"]
    assert made["seed"] == 7
    assert "--seed=7" in made["command"]
    assert f"'--output={folder}'" in made["command"]
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_told_again_and_another_seed_is_refused(run_pplava, recipe):
    first = run_pplava("train", "--config", recipe, "--quiet")
    again = run_pplava("train", "--config", recipe, "--quiet")
    assert (again.code, again.stdout) == (first.code, first.stdout)
    other = run_pplava("train", "--config", recipe, "--seed", "8", "--quiet")
    assert (other.code, other.stdout) == (2, "")
    assert "state of another recipe" in other.stderr


def test_several_recipes_run_in_order(run_pplava, tmp_path):
    first = write_recipe(tmp_path / "one.toml", steps=1, output=str(tmp_path / "one"))
    second = write_recipe(
        tmp_path / "two.toml",
        drop=("model",),
        steps=1,
        output=str(tmp_path / "two"),
        initial=str(tmp_path / "one" / "model"),
    )
    run = run_pplava("train", "--config", first, "--config", second, "--quiet")
    assert run.code == 0
    assert run.stdout.splitlines() == [str(tmp_path / n / "model") for n in ("one", "two")]


def test_one_folder_for_several_recipes_is_refused(run_pplava, recipe, tmp_path):
    run = run_pplava("train", "--config", recipe, "--config", recipe, "-o", tmp_path / "x")
    assert (run.code, run.stdout) == (2, "")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "code", "part"),
    [
        ({"surprise": 1}, 2, "unknown key 'surprise'"),
        ({"steps": 0}, 2, "steps is 0"),
        ({"drop": ("model",)}, 2, "[model]"),
        ({"drop": ("model",), "initial": "nowhere"}, 4, "nowhere"),
        ({"data": {"source": "pairs", "path": "absent.jsonl"}}, 2, "absent.jsonl"),
    ],
)
def test_what_cannot_be_followed_is_one_line(run_pplava, tmp_path, changes, code, part):
    recipe = write_recipe(tmp_path / "recipe.toml", **changes)
    run = run_pplava("train", "--config", recipe, "--quiet")
    assert (run.code, run.stdout) == (code, "")
    assert len(run.stderr.splitlines()) == 1
    assert part in run.stderr


def test_a_missing_recipe_is_usage(run_pplava, tmp_path):
    run = run_pplava("train", "--config", tmp_path / "absent.toml")
    assert (run.code, run.stdout) == (2, "")
    assert "absent.toml" in run.stderr
    assert run_pplava("train").code == 2


def test_the_commit_is_that_of_the_source_alone(tmp_path, monkeypatch):
    repository = tmp_path / "someone-elses"
    copy = repository / "site-packages" / "train.py"
    copy.parent.mkdir(parents=True)
    copy.write_text("")

    def git(*arguments):
        names = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *names, *arguments], cwd=repository, check=True, capture_output=True)

    try:
        git("init")
    except OSError:
        pytest.skip("git is not here")
    git("commit", "--allow-empty", "-m", "first")
    monkeypatch.setattr(command, "__file__", str(copy))
    assert command._commit() == {}
    git("add", "-A")
    git("commit", "-m", "second")
    found = command._commit()["commit"]
    head = (repository / ".git" / "HEAD").read_text().split()[-1]
    assert found == (repository / ".git" / head).read_text().strip()


def test_help_has_examples(run_pplava):
    run = run_pplava("train", "--help")
    assert run.code == 0
    assert "nano-align.toml" in run.stdout
