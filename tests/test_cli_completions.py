"""The files in ``completions/``: current, and bash does with them what it should."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pplava_cli.completions import completion_files, write_files

FOLDER = Path(__file__).parent.parent / "completions"


@pytest.mark.parametrize("name", ["pplava.bash", "_pplava", "pplava.fish"])
def test_files_are_current(name):
    hint = "run: python -m pplava_cli.completions"
    assert (FOLDER / name).read_text() == completion_files()[name], hint


def test_no_other_files():
    assert {path.name for path in FOLDER.iterdir()} == set(completion_files())


def test_files_are_written_where_asked(tmp_path):
    written = write_files(tmp_path / "made")
    assert {path.name: path.read_text() for path in written} == completion_files()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pplava", "ca"], ["caption", "cache"]),
        (["pplava", "cache", ""], ["info", "clear", "--help", "-h"]),
        (["pplava", "ask", "--reader", ""], ["pyav", "decord"]),
        (["pplava", "ask", "clip.mp4", "--tem"], ["--temperature"]),
        (["pplava", "ask", "cl"], []),
        (["pplava", "caption", "--detail", "s"], ["short"]),
        (["pplava", "frames", "-o", ""], []),
        (["pplava", "models", "info", "--js"], ["--json"]),
    ],
)
def test_bash_offers(words, expected):
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pplava; '
    script += 'printf "%s\\n" "${COMPREPLY[@]}"'
    run = subprocess.run(
        ["bash", "-c", script, "test", str(FOLDER / "pplava.bash"), *words],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
    assert run.stdout.split() == expected


@pytest.mark.parametrize(("shell", "file"), [("zsh", "_pplava"), ("fish", "pplava.fish")])
def test_other_shells_can_read_theirs(shell, file):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    subprocess.run([shell, "-n", str(FOLDER / file)], check=True)


def test_install_completion(tmp_path):
    environment = os.environ | {
        "HOME": str(tmp_path),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    command = [sys.executable, "-m", "pplava_cli", "--install-completion", "bash"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert "pplava" in (tmp_path / ".bashrc").read_text()
    (script,) = (tmp_path / ".bash_completions").iterdir()
    assert "_PPLAVA_COMPLETE" in script.read_text()
