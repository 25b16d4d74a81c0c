"""Importing the large libraries, which takes seconds and must not be broken off in the middle.

An interrupt inside torch's own code becomes an abort of the process, or an import error that
looks as if something were missing. So it is kept back until the import is over.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType

_LARGE = (
    "torch",
    "transformers.modeling_utils",
    "transformers.models.clip.modeling_clip",
    "transformers.models.llama.modeling_llama",
)


def import_libraries() -> None:
    """Import what every model needs, quietly.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
    """
    # They talk on stderr, and their bars would mix with ours.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with interrupt_kept_back():
        for name in _LARGE:
            import_module(name)


@contextmanager
def interrupt_kept_back() -> Iterator[None]:
    """Let Ctrl-C interrupt only when the block is done; pressed again, it interrupts at once.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed in the block.
    """
    pressed: list[int] = []

    def keep(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, previous)
        pressed.append(number)

    previous = signal.getsignal(signal.SIGINT)
    if previous is signal.SIG_IGN:  # a job in the background, which Ctrl-C is not meant for
        yield
        return
    signal.signal(signal.SIGINT, keep)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if pressed:
            raise KeyboardInterrupt
