"""Importing the large libraries, which takes seconds and must not be broken off in the middle.

An interrupt inside torch's own code becomes an abort of the process, or an import error that
looks as if something were missing. So it is kept back until the import is over; pressed again, it
interrupts at once.
"""

from __future__ import annotations

import os
import threading
from importlib import import_module

from pplava_cli.interrupts import first_interrupt

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
    pressed = threading.Event()
    try:
        with first_interrupt(pressed.set):
            for name in _LARGE:
                import_module(name)
    finally:
        if pressed.is_set():
            raise KeyboardInterrupt
