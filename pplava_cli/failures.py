"""What each kind of failure means to the shell: one line and an exit code.

This table is the only place where errors become exit codes. It does not print, and it
knows errors by class only, so that reading it costs no heavy import.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pplava_core.errors import InputError, ModelError, UsageError

ANSWERED: Final = 0
SOME_FAILED: Final = 1
USAGE: Final = 2
UNREADABLE_INPUT: Final = 3
MODEL_MISSING: Final = 4
INTERRUPTED: Final = 130

EXIT_CODE_MEANINGS: Final = {
    ANSWERED: "answered",
    SOME_FAILED: "some inputs failed, or something unforeseen went wrong",
    USAGE: "the command line or a setting makes no sense",
    UNREADABLE_INPUT: "an input cannot be read",
    MODEL_MISSING: "the model is missing or broken",
    INTERRUPTED: "interrupted",
}

_TABLE: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (UsageError, USAGE),
    (InputError, UNREADABLE_INPUT),
    (ModelError, MODEL_MISSING),
    (KeyboardInterrupt, INTERRUPTED),
)


def exit_code_of(error: BaseException) -> int:
    """Look up the exit code of one error; whatever nobody foresaw counts as a failed input."""
    for kind, code in _TABLE:
        if isinstance(error, kind):
            return code
    return SOME_FAILED


def exit_code_of_run(num_answered: int, failures: Sequence[BaseException]) -> int:
    """Sum up a run over several inputs.

    A run in which nothing was answered takes the code that all its failures share; any
    other mixture is `SOME_FAILED`.
    """
    if not failures:
        return ANSWERED
    codes = {exit_code_of(failure) for failure in failures}
    if num_answered == 0 and len(codes) == 1:
        return codes.pop()
    return SOME_FAILED


def one_line(error: BaseException) -> str:
    """Put an error into one line: what failed, why, and what to do about it."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    text = " ".join(str(error).split())
    if exit_code_of(error) != SOME_FAILED:
        return text
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return "out of memory: take fewer --frames, a smaller model, or --device cpu"
    if isinstance(error, OSError):
        return text
    return f"unexpected {type(error).__name__}: {text} (--debug shows where)"
