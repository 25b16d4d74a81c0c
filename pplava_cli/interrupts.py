"""What Ctrl-C does while something must not be broken off in the middle."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def first_interrupt(handle: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C call `handle` instead of interrupting; pressed again, it interrupts as usual."""

    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, previous)
        handle()

    previous = signal.getsignal(signal.SIGINT)
    if previous is signal.SIG_IGN:  # a job in the background, which Ctrl-C is not meant for
        yield
        return
    signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
