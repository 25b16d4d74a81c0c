"""Where words go: answers to stdout, everything else to stderr.

One `Output` serves the three manners of speaking: for people, ``--json`` and ``--quiet``.
It knows nothing of videos or models. Colours, spinners and bars appear on terminals
only, and a bar only once a step has taken a second, so that quick runs stay clean and
do not pay for importing Rich.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from pplava_cli.failures import one_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE_SECONDS = 1.0
"How long a step may take before it has to show progress."

_CONTROLS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])
_DIM, _YELLOW, _RED, _RESET = "\x1b[2m", "\x1b[33m", "\x1b[31m", "\x1b[0m"


class ReaderGone(BaseException):
    """Whoever read our answers has closed the pipe: no error, but a reason to stop."""


def printable(text: str) -> str:
    """Return the text with everything that is not visible on one line spelled out.

    File names may hold line breaks, terminal codes or bytes that are no text at all; an
    answer stays "one a line" only if its name is shown like this.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def without_controls(text: str) -> str:
    """Drop what a terminal would obey instead of show, but keep line breaks and tabs.

    A model may write any bytes; none of them should recolour or retitle a terminal.
    """
    return text.translate(_CONTROLS)


def is_terminal(stream: TextIO) -> bool:
    """Tell whether the stream is a terminal that may be sent colours and spinners."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


class Output:
    """One run's voice.

    Streams are looked up when they are used, so that a test or a caller may redirect them.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False, debug: bool = False) -> None:
        self.json = json
        self.quiet = quiet
        self.debug = debug
        self._told: set[str] = set()

    @property
    def streams(self) -> bool:
        """Whether answers appear piece by piece: on a terminal, in words."""
        return not self.json and is_terminal(sys.stdout)

    def piece(self, text: str) -> None:
        """Write part of an answer at once, without ending the line.

        Raises:
            ReaderGone: nobody reads any more.
        """
        _write(sys.stdout, text)

    def line(self, text: str = "") -> None:
        """Write one line of the answer."""
        self.piece(text + "\n")

    def record(self, record: Mapping[str, Any]) -> None:
        """Write one JSON object on a line of its own (JSON Lines)."""
        self.line(json.dumps(record, allow_nan=False))

    def note(self, text: str) -> None:
        """Tell something beside the answer; silent with ``--quiet``."""
        if not self.quiet:
            self._say(text, _DIM)

    def note_once(self, text: str) -> None:
        """Tell something beside the answer, once a run; silent with ``--quiet``."""
        if text not in self._told:
            self._told.add(text)
            self.note(text)

    def warn(self, text: str) -> None:
        """Tell something that deserves a second look, once a run; silent with ``--quiet``."""
        if not self.quiet and text not in self._told:
            self._told.add(text)
            self._say(f"warning: {text}", _YELLOW)

    def error(self, text: str) -> None:
        """Tell what failed, in one line; never silent."""
        self._say(f"pplava: {text}", _RED)

    def failure(self, error: BaseException, *, about: str | None = None) -> None:
        """Tell of an error in one line, after its traceback if this run is debugged."""
        if self.debug:
            _write(sys.stderr, "".join(traceback.format_exception(error)))
        text = one_line(error)
        self.error(text if about is None or about in text else f"{printable(about)}: {text}")

    def progress(self, label: str, *, long: bool = False) -> StepProgress:
        """Watch over one step; use as a context manager and pass it on as the callback.

        A long one also shows how much time is left.
        """
        visible = not self.quiet and is_terminal(sys.stderr)
        return StepProgress(label, visible=visible, long=long)

    def _say(self, text: str, colour: str) -> None:
        if is_terminal(sys.stderr) and "NO_COLOR" not in os.environ:
            text = f"{colour}{text}{_RESET}"
        _write(sys.stderr, text + "\n")


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise ReaderGone from None


class StepProgress:
    """A progress bar for one step, drawn only if the step outlasts `PATIENCE_SECONDS`.

    Calling it with ``(done, total)`` moves the bar; a step that never calls gets a spinner.
    A timer in another thread draws it, so a step needs no calls to be seen. Its `label` may
    change on the way.
    """

    def __init__(self, label: str, *, visible: bool, long: bool = False) -> None:
        self.label = label
        self._visible = visible
        self._long = long
        self._note = ""
        self._state: tuple[int, int | None] = (0, None)
        self._lock = threading.Lock()
        self._timer = threading.Timer(PATIENCE_SECONDS, self._draw)
        self._timer.daemon = True
        self._bar: tuple[Progress, TaskID] | None = None
        self._finished = False

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Take note of how far the step is, and of what else there is to say about it."""
        self._state, self._note = (done, total), note
        if self._bar is not None:
            bar, task = self._bar
            count = f"{done}/{total}{note}"
            bar.update(task, description=self.label, completed=done, total=total, count=count)

    def __enter__(self) -> StepProgress:
        if self._visible:
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._finished = True
            if self._bar is not None:
                self._bar[0].stop()

    def _draw(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        with self._lock:
            if self._finished:
                return
            done, total = self._state
            bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[count]}"),
                TimeElapsedColumn(),
                *((TextColumn("left"), TimeRemainingColumn()) if self._long else ()),
                console=Console(stderr=True),
                transient=True,
            )
            count = "" if total is None else f"{done}/{total}{self._note}"
            task = bar.add_task(self.label, completed=done, total=total, count=count)
            bar.start()
            self._bar = (bar, task)
