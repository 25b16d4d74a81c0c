"""Writing files so that nobody ever meets half of one.

A writer is handed a temporary name beside the real one; the real name appears, or
changes, only once the writer is done. Knows nothing of what is written.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from pplava_core.errors import UsageError

TEMPORARY_MARK = ".pplava-partial-"
"Part of every temporary name, by which what a killed process left behind is found."


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name that becomes ``path`` when the block ends without an error.

    The temporary name lies in the same folder (a rename is atomic only within a file
    system) and keeps the suffix, from which many writers choose a format. A symbolic
    link is followed, so that the file it names is replaced and the link stays. After an
    error, and on Ctrl-C, the temporary file is deleted and ``path`` is as it was.

    Args:
        path: the file to write. Its folder must exist.

    Raises:
        UsageError: ``path`` is a folder, a device or anything but a regular file.
        OSError: the folder is missing or not writable, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise UsageError(f"{path} is not a regular file, so it cannot be replaced: choose a name")
    mark = f"{TEMPORARY_MARK}{os.getpid()}-{secrets.token_hex(4)}"
    temporary = target.with_name(f".{target.stem[:40]}{mark}{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
