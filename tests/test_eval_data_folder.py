"""Tables of a data folder are read, and what is wrong with one is said in one line."""

from __future__ import annotations

import json
import re

import pytest
from eval_datasets import write_parquet

from pplava_core.errors import InputError
from pplava_core.evals.data.data_folder import (
    check_unique,
    checked,
    find_file,
    read_json,
    read_rows,
)

ROWS = [
    {"name": "a", "number": 1, "options": ["x", "y"]},
    {"name": "b", "number": 2, "options": []},
]


def refused(said, call, *arguments, **named):
    """Check that the call raises an InputError of one line that says so."""
    with pytest.raises(InputError, match=re.escape(said)) as raised:
        call(*arguments, **named)
    assert "\n" not in str(raised.value)


def test_parquet_json_and_csv_give_the_same_rows(tmp_path):
    write_parquet(tmp_path / "a.parquet", ROWS)
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(ROWS), encoding="utf-8")
    assert read_rows(tmp_path / "a.parquet") == read_rows(tmp_path / "a.json") == ROWS
    (tmp_path / "a.csv").write_text('name,number\n"a, or\nb",1\n', encoding="utf-8-sig")
    assert read_rows(tmp_path / "a.csv") == [{"name": "a, or\nb", "number": "1"}]


@pytest.mark.parametrize("kept", [0, 3, 40, -4, -1])
def test_truncated_parquet(tmp_path, kept):
    path = tmp_path / "a.parquet"
    write_parquet(path, ROWS)
    path.write_bytes(path.read_bytes()[:kept])
    refused("cannot be read as parquet", read_rows, path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b'[{"a": 1}, {"a"', "line 1: not JSON"),
        ("a.json", b'{"a": 1}', "is not a list of objects"),
        ("a.json", b"[1]", "is not a list of objects"),
        ("a.json", b"[\xff]", "not UTF-8"),
        ("a.json", b"[" * 100_000, "a.json"),
        ("a.csv", b"a,b\n1\n", "row 1: not as many fields"),
        ("a.csv", b"a,b\n1,2,3\n", "row 1: not as many fields"),
        ("a.csv", b'a,b\n1,"2\n', "cannot be read as CSV"),
        ("a.csv", b"a,b\n\xff,2\n", "cannot be read as CSV"),
    ],
)
def test_damaged_tables(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    refused(said, read_rows, tmp_path / name)


@pytest.mark.parametrize("suffix", ["json", "csv", "parquet"])
def test_a_table_that_is_a_folder_or_not_there(tmp_path, suffix):
    (tmp_path / f"folder.{suffix}").mkdir()
    refused("folder", read_rows, tmp_path / f"folder.{suffix}")
    refused("none", read_rows, tmp_path / f"none.{suffix}")


def test_missing_columns_and_wrong_types_are_named(tmp_path):
    columns = {"name": str, "number": (int, float), "options": list}
    path = tmp_path / "a.json"
    assert checked(ROWS, path, columns) is ROWS
    refused("row 2: no number", checked, [ROWS[0], {"name": "b", "options": []}], path, columns)
    for value, kind in (("1", "str"), (None, "NoneType"), (True, "bool")):
        row = {**ROWS[0], "number": value}
        said = f"row 1: number is {value!r}, a {kind}; expected int or float"
        refused(said, checked, [row], path, columns)
    refused("has no rows", checked, [], path, columns)
    refused("...", checked, [{**ROWS[0], "number": "x" * 500}], path, columns)


def test_names_that_come_twice():
    check_unique(["a", "b"], "t.json")
    refused("row 3: question a was in row 1 already", check_unique, ["a", "b", "a"], "t.json")


def test_the_likeliest_name_is_found_first(tmp_path):
    refused("has no table: expected", find_file, tmp_path, ("a/*.json", "*.json"), what="table")
    (tmp_path / "b.json").write_text("[]")
    assert find_file(tmp_path, ("a/*.json", "*.json"), what="table") == tmp_path / "b.json"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "c.json").write_text("[]")
    assert find_file(tmp_path, ("a/*.json", "*.json"), what="t") == tmp_path / "a" / "c.json"
    refused("is not a folder", find_file, tmp_path / "b.json", ("*",), what="table")


def test_a_missing_file_is_one_line(tmp_path):
    refused("cannot be read", read_json, tmp_path / "none.json")
