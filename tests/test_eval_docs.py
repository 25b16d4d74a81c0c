"""What ``docs/evaluation.md`` shows is so: its example of a benchmark runs, its options exist."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path

import pytest
from small_models import write_clip

from pplava_cli.app import main
from pplava_core.evals import registry

PAGE = (Path(__file__).parent.parent / "docs" / "evaluation.md").read_text()


@pytest.fixture
def birds(monkeypatch, tmp_path):
    """Add the example as the page says: a module, and a line in the registry."""
    code, line = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    name, place = re.fullmatch(r'\s*"(\w+)": "([\w.:]+)",\n', line).groups()
    module = types.ModuleType(place.partition(":")[0])
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(registry.BENCHMARKS, name, place)
    rows = [
        {
            "id": str(number),
            "film": f"{number}.mp4",
            "question": "which bird is it?",
            "names": ["owl", "wren", "crane", "rook"],
            "right": number,
            "habitat": ("wood", "shore")[number % 2],
        }
        for number in range(4)
    ]
    for row in rows:
        write_clip(tmp_path / row["film"])
    (tmp_path / "birds.json").write_text(json.dumps(rows))
    return tmp_path


def test_the_example_of_a_benchmark_scores_answers(birds, capsys):
    answers = birds / "answers.jsonl"
    texts = ("A", "B. wren", "D", "no idea")
    answers.write_text(
        "".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts))
    )
    arguments = ["eval", "score", "birds", str(answers), "--data", str(birds), "--json"]
    assert main(arguments) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["value"] == 0.5
    assert record["counts"]["unextracted"] == 1
    habitat = next(table for table in record["tables"] if table["name"] == "habitat")
    assert {row["name"]: row["value"] for row in habitat["rows"]} == {"wood": 0.5, "shore": 0.5}


def test_the_example_is_asked_like_any(birds, capsys):
    from pplava_core.evals.results.ablate import OWN

    arguments = ["eval", "ablate", "birds", "--data", str(birds), "-o", str(birds / "out")]
    arguments += ["--frames", "2", "--max-new-tokens", "2", "--workers", "0", "--device", "cpu"]
    arguments += ["--pooling", "average", "--kernel", "1,3,3", "--limit", "2"]
    assert main(arguments) == 0
    assert OWN in capsys.readouterr().out


def test_every_option_on_the_page_exists(capsys):
    known = set()
    for command in ("mvbench", "fetch", "check", "score", "compare", "ablate"):
        assert main(["eval", command, "--help"]) == 0
        known |= set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    words = re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)
    others = {"--num", "--nproc-per-node", "--questions"}
    assert {word for word in words if word not in others} <= known
