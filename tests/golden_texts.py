"""Texts that must not change by accident: kept in files, rewritten on demand.

``UPDATE_GOLDEN=1 python -m pytest tests/test_eval_prompts.py`` writes what the code says now;
the difference is then read like code.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "data" / "evals" / "prompts"


def assert_golden_text(name: str, text: str) -> None:
    """Hold a text against the file of that name, or write it if `UPDATE_GOLDEN` is set."""
    path = FOLDER / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    assert path.read_text(encoding="utf-8") == text, f"{path} differs; see golden_texts.py"
