"""What is checked before any library is let near a file.

Looks at the file's status and first bytes only. Knows nothing of containers or codecs. It is
here that a FIFO (which would hang every reader), a directory, an empty or forbidden file is
told from one that may be opened, and that pictures too large to hold are refused.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pplava_core.errors import InputError

HEAD_BYTES = 64
MAX_FRAME_PIXELS = 8192 * 8192
"Larger frames of a video are refused: a decoder holds a score of them at once."
MAX_PICTURE_PIXELS = 2 * MAX_FRAME_PIXELS
"Larger still pictures are refused: one would take over 400 MB as RGB."
MAX_CLIP_BYTES = 4 * 1024**3
"Larger clips (frames times size, as RGB) are refused before they fill the memory."


def shown(path: str | os.PathLike[str]) -> str:
    """Write a file's name so that it stays on one line and can be printed anywhere."""
    text = os.fspath(path)
    return text if text.isprintable() else ascii(text)


def check_file(path: Path) -> bytes:
    """Make sure that a path is a readable, non-empty regular file.

    Returns:
        The first `HEAD_BYTES` bytes.

    Raises:
        InputError: it is anything else; the message says what.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(path)}: {_reason(error)}; check the name") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{shown(path)}: is a directory, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{shown(path)}: is a pipe or device; save it as a regular file first")
    if status.st_size == 0:
        raise InputError(f"{shown(path)}: the file is empty")
    try:
        with open(path, "rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot be read: {_reason(error)}") from error


def check_size(path: Path, width: int, height: int, *, limit: int = MAX_FRAME_PIXELS) -> None:
    """Refuse a picture or frame with more pixels than can be handled.

    Raises:
        InputError: width times height exceeds the limit.
    """
    if width * height > limit:
        raise InputError(
            f"{shown(path)}: {width}x{height} pixels are more than the {limit:,} that are read; "
            "make it smaller first"
        )


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.splitlines()[0] if text else type(error).__name__
