"""The one voice of a run: what goes where, and when progress shows."""

from __future__ import annotations

import io
import sys
import time

import pytest

from pplava_cli import console
from pplava_cli.console import Output, printable


class Terminal(io.StringIO):
    def isatty(self):
        return True


def open_terminal(monkeypatch):
    """Make stderr a terminal; in the test itself, since pytest changes it after fixtures."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def outlast(progress, seconds):
    """Run a step that takes so long."""
    with progress as report:
        report(1, 4)
        stop = time.monotonic() + seconds
        while time.monotonic() < stop and not sys.stderr.getvalue():
            time.sleep(0.01)
        report(3, 4)


def test_short_steps_show_nothing(monkeypatch):
    terminal = open_terminal(monkeypatch)
    with Output().progress("Reading") as report:
        report(1, 4)
    assert terminal.getvalue() == ""


def test_long_steps_show_a_bar(monkeypatch):
    terminal = open_terminal(monkeypatch)
    monkeypatch.setattr(console, "PATIENCE_SECONDS", 0.01)
    outlast(Output().progress("Reading [a].mp4"), 10)
    assert "Reading [a].mp4" in terminal.getvalue()
    assert "/4" in terminal.getvalue()


def test_quiet_and_pipes_show_no_bar(monkeypatch):
    terminal = open_terminal(monkeypatch)
    monkeypatch.setattr(console, "PATIENCE_SECONDS", 0.01)
    outlast(Output(quiet=True).progress("Reading"), 0.1)
    assert terminal.getvalue() == ""
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    outlast(Output().progress("Reading"), 0.1)
    assert pipe.getvalue() == ""


def test_colours_on_terminals_only(monkeypatch):
    terminal = open_terminal(monkeypatch)
    monkeypatch.delenv("NO_COLOR")
    Output().error("no")
    assert terminal.getvalue() == "\x1b[31mpplava: no\x1b[0m\n"
    monkeypatch.setenv("NO_COLOR", "1")
    Output().error("no")
    assert terminal.getvalue().endswith("\npplava: no\n")


def test_errors_are_never_quiet(capsys):
    out = Output(quiet=True)
    out.note("note")
    out.warn("warning")
    out.error("error")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "pplava: error\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("clip.mp4", "clip.mp4"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("été 東京.mp4", "été 東京.mp4"),
        ("byte\udcff", "byte\\udcff"),
    ],
)
def test_printable_keeps_names_on_one_line(text, shown):
    assert printable(text) == shown
