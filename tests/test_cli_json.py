"""Holds the shape of the JSON still: keys and types of every record, and their description.

When a test here fails, either the change was a mistake, or `records.SCHEMA`,
``docs/json.md`` and the golden shape change together, by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "json_schema_1.json").read_text())
DESCRIPTION = (HERE.parent / "docs" / "json.md").read_text()


def shape(value):
    """Replace every value by the name of its type; of a list, keep one item's shape."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "null" if value is None else type(value).__name__


def record_of(run) -> dict:
    (line,) = run.stdout.splitlines()
    return json.loads(line)


def check(record: dict, *, name: str | None = None) -> None:
    assert record["schema"] == 1
    assert shape(record) == GOLDEN[name or record["type"]]


def test_answer(run_pplava, make_files, fakes):
    run = run_pplava("ask", *make_files("a.mp4"), "what?", "--json", "--evidence")
    check(record_of(run))


def test_answer_values(run_pplava, make_files, fakes):
    (film,) = make_files("a.mp4")
    record = record_of(run_pplava("ask", film, "what?", "--json", "--seed", "5"))
    assert record["inputs"] == [str(film)]
    assert (record["question"], record["answer"]) == ("what?", "what? [a.mp4]")
    assert record["evidence"] is None
    assert record["model"] == {
        "name": "fake",
        "revision": "0123abcd",
        "device": "cpu",
        "dtype": "float32",
    }
    assert record["sampling"]["frames"][1] == {"index": 2, "seconds": 0.5}
    assert record["pooling"]["kernel"] == [1, 2, 3]
    assert record["generation"]["seed"] == 5
    assert record["timings"]["encode_seconds"] == 0.5


def test_caption_is_an_answer(run_pplava, make_files, fakes):
    run = run_pplava("caption", *make_files("a.mp4"), "--json", "--evidence", "--detail", "long")
    record = record_of(run)
    check(record)
    assert record["question"] == "Describe the video in detail."


def test_error(run_pplava, fakes, tmp_path):
    run = run_pplava("ask", tmp_path / "gone.mp4", "what?", "--json")
    assert run.code == 3
    check(record_of(run))


def test_heatmap(run_pplava, make_files, fakes, tmp_path):
    sheet = tmp_path / "sheet.png"
    run = run_pplava("heatmap", *make_files("a.mp4"), "what?", "-o", sheet, "--json")
    record = record_of(run)
    check(record)
    assert record["files"] == [str(sheet)]


def test_frames(run_pplava, make_files, fakes, tmp_path):
    run = run_pplava("frames", *make_files("a.mp4"), "-o", tmp_path / "seen", "--json")
    record = record_of(run)
    check(record)
    written = json.loads((tmp_path / "seen" / "sampling.json").read_text())
    assert record == written | {"folder": str(tmp_path / "seen")}


def test_shapes(run_pplava, monkeypatch, tmp_path):
    from pplava_core.shapes import dataset

    monkeypatch.setattr(dataset, "write_dataset", lambda *_, **__: 12)
    check(record_of(run_pplava("shapes", "render", tmp_path / "films", "--json")))


def test_eval_shapes(run_pplava, monkeypatch, fakes, tmp_path):
    from pplava_core.evals.benchmarks import shapes
    from pplava_core.shapes import dataset

    items = dataset.choose_items("test", 0, 12)
    facts = {"answer": "3", "right": True, "named_share": 0.5, "pointed": True, "mass": 0.25}
    scored = [shapes.Scored(item=item, **facts) for item in items]
    monkeypatch.setattr(dataset, "read_dataset", lambda folder: items)
    monkeypatch.setattr(shapes, "score_items", lambda *_, **__: scored)
    check(record_of(run_pplava("eval", "shapes", "--data", tmp_path, "--json")))
    words = run_pplava("eval", "shapes", "--data", tmp_path, "--quiet").stdout
    assert "relevance on the thing       25.0%" in words


@pytest.mark.parametrize("command", [["list"], ["info", "nano"], ["path", "nano"]])
def test_model(run_pplava, monkeypatch, command):
    from pplava_core.models import catalog

    entry = SimpleNamespace(
        name="nano",
        description="knows shapes",
        licence="Apache-2.0",
        size_bytes=123,
        backbone="nano",
        source="embedded",
        folder=Path("/models/nano"),
    )
    monkeypatch.setattr(catalog, "list_models", lambda: [entry])
    monkeypatch.setattr(catalog, "find_model", lambda name: entry)
    first, *known = map(json.loads, run_pplava("models", *command, "--json").stdout.splitlines())
    check(first)
    assert all(record.keys() == first.keys() for record in known)
    assert bool(known) == (command == ["list"])


def test_model_default(run_pplava):
    check(record_of(run_pplava("models", "default", "--json")))


def test_model_verified_and_removed(run_pplava, own_directories):
    from store_folders import write_pulled

    write_pulled("small")
    check(record_of(run_pplava("models", "verify", "small", "--json")))
    check(record_of(run_pplava("models", "rm", "small", "--yes", "--json")))


def test_cache(run_pplava):
    check(record_of(run_pplava("cache", "info", "--json")))
    check(record_of(run_pplava("cache", "clear", "--json")))


def test_settings(run_pplava):
    record = record_of(run_pplava("settings", "--json"))
    record["settings"] = [row for row in record["settings"] if row["name"] == "model"]
    check(record)


def test_version(run_pplava):
    record = record_of(run_pplava("version", "--json"))
    assert {"pplava", "python", "torch"} <= set(record["versions"])
    record["versions"] = {"pplava": record["versions"]["pplava"]}
    check(record)


def keys_of(value) -> set[str]:
    if isinstance(value, dict):
        return set(value) | set().union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("kind", sorted(GOLDEN))
def test_every_key_is_described(kind):
    assert f"`{kind}`" in DESCRIPTION
    words = set(re.findall(r"[a-z_]+", DESCRIPTION))
    assert keys_of(GOLDEN[kind]) <= words


def test_example_in_the_description_has_the_golden_shape():
    (example,) = re.findall(r"```json\n(.*?)```", DESCRIPTION, flags=re.DOTALL)
    record = json.loads(example)
    check(record)


def test_exit_codes_are_described():
    from pplava_cli.failures import EXIT_CODE_MEANINGS

    page = (HERE.parent / "docs" / "exit-codes.md").read_text()
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE)] == [
        *EXIT_CODE_MEANINGS
    ]
