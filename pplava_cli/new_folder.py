"""A folder of results that appears whole or not at all, and never in place of other things.

Knows nothing of what is written into it; the writer gets a temporary folder beside the
real one, which takes the real name at the end.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pplava_core.atomic import TEMPORARY_MARK
from pplava_core.errors import UsageError


@contextmanager
def new_folder(folder: Path, *, made_by: Callable[[Path], bool], replace: bool) -> Iterator[Path]:
    """Give a temporary folder that becomes ``folder`` when the block ends without an error.

    After an error, and on Ctrl-C, nothing is left behind and what was there is untouched.

    Args:
        folder: the name to appear; missing parents are made.
        made_by: tells whether an existing folder holds only what this command writes.
        replace: whether such a folder may be replaced. Others never are.

    Raises:
        UsageError: the name is taken by something that may not be replaced, or lies where
            nothing can be written.
    """
    target = Path(os.path.realpath(folder))
    _check_free(folder, target, made_by=made_by, replace=replace)
    mark = f"{TEMPORARY_MARK}{os.getpid()}-{secrets.token_hex(4)}"
    temporary = target.with_name(f".{target.name[:40]}{mark}")
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        reason = f"{folder} cannot be made: {error.strerror}; choose another place"
        raise UsageError(reason) from error
    try:
        yield temporary
        _take_place(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_free(
    folder: Path, target: Path, *, made_by: Callable[[Path], bool], replace: bool
) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise UsageError(f"{folder} is a file: choose another name for the folder")
    if not any(target.iterdir()):
        return
    if not made_by(target):
        raise UsageError(f"{folder} holds other files, which stay: choose another folder")
    if not replace:
        raise UsageError(f"{folder} exists already: --force replaces it")


def _take_place(temporary: Path, target: Path) -> None:
    """Rename the new folder into place; the old one goes only after the new one stands."""
    if not target.exists():
        os.rename(temporary, target)
        return
    old = temporary.with_name(temporary.name + "-old")
    os.rename(target, old)
    try:
        os.rename(temporary, target)
    except OSError:
        os.rename(old, target)
        raise
    shutil.rmtree(old)
