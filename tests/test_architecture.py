"""The floors of ``docs/architecture.md`` hold, and the core neither prints nor exits."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE, SHELL = "pplava_core", "pplava_cli"


def floors() -> dict[str, tuple[int, int]]:
    """Read every module's floor and its place there from the table of the description."""
    places = {}
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for floor, names in re.findall(r"^\| (\d) \| ((?:`\w+` ?)+)\|", text, flags=re.MULTILINE):
        for place, name in enumerate(re.findall(r"`(\w+)`", names)):
            places[name] = (int(floor), place)
    return places


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def part_of(path: Path) -> str:
    """Name the row of the table that a file belongs to."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == SHELL or len(parts) == 1 else parts[1]


def imports(path: Path) -> Iterator[str]:
    """Give the parts of this project that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == SHELL:
                yield SHELL
            elif package == CORE and rest and not rest.startswith("__version__"):
                yield rest.partition(".")[0]


@pytest.mark.parametrize("path", sources(CORE) + sources(SHELL), ids=lambda path: path.stem)
def test_imports_go_down(path):
    places = floors()
    part = part_of(path)
    if path == ROOT / CORE / "__init__.py":
        assert list(imports(path)) == []
        return
    for imported in imports(path):
        if imported == part:
            continue
        below = places[imported] < places[part]
        assert below, f"{path.relative_to(ROOT)} imports {imported}, which is not below it"


def test_the_table_names_every_part_and_nothing_else():
    parts = {part_of(path) for path in sources(CORE) + sources(SHELL)} - {"__init__"}
    assert parts == set(floors())


@pytest.mark.parametrize("path", sources(CORE), ids=lambda path: path.stem)
def test_the_core_neither_prints_nor_exits(path):
    if path.name == "_decord_child.py":
        return  # a program of its own, which talks to its parent
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("print", "exit", "quit", "sys.exit", "os._exit"), called
