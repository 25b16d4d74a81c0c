"""Where a benchmark's videos lie: in folders, or inside zips that are unpacked when needed.

A path may go through a zip (`videos.zip/data/a.mp4`); nothing is unpacked to find it, and
opening it unpacks that one member into the cache, once. Knows no benchmark and no table.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pplava_core.atomic import TEMPORARY_MARK, replacing
from pplava_core.errors import InputError
from pplava_core.paths import cache_directory

VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg"})
_PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_CHUNK_BYTES = 1 << 20


class Finder:
    """Finds the videos of a data folder, or files of another kind, in folders and inside its zips.

    The folder is walked once, at the first question; nothing is unpacked.

    Args:
        folder: the data folder. Links to folders are followed.
        suffixes: what names end in; of videos by default.
    """

    def __init__(self, folder: Path, suffixes: frozenset[str] = VIDEO_SUFFIXES) -> None:
        self._folder = folder
        self._suffixes = suffixes
        self._found: dict[str, list[Path]] | None = None

    def find(self, *names: str) -> Path | None:
        """Return where a video lies, or None.

        Args:
            names: ways to name it, the likeliest first: ``"a.mp4"``, or the end of a path,
                ``"star/Charades_v1_480/a.mp4"``. Another of the suffixes will do as well, and
                a name without one is also that of a folder of pictures.
        """
        if self._found is None:
            self._found = {}
            for path in _files_and_folders(self._folder, self._suffixes):
                self._found.setdefault(self._stem(path.name), []).append(path)
        for name in names:
            tail = PurePosixPath(name)
            for path in self._found.get(self._stem(tail.name), ()):
                if path.parts[len(path.parts) - len(tail.parts) : -1] == tail.parts[:-1]:
                    return path
        return None

    def _stem(self, name: str) -> str:
        stem, suffix = os.path.splitext(name)
        return (stem if suffix.lower() in self._suffixes else name).lower()


def unpacked(path: Path) -> Path:
    """Return where a path can be opened; one that goes through a zip is unpacked first.

    What was unpacked stays in the cache directory under the zip's size and time, so that it
    is done once; it appears there whole or not at all, also with several processes at it.

    Raises:
        InputError: the zip is damaged, holds no such member, or the disk is full.
    """
    archive = next((parent for parent in path.parents if _is_zip(parent)), None)
    if archive is None:
        return path
    member = path.relative_to(archive).as_posix()
    target = _place(archive) / member
    if target.exists():
        return target
    try:
        with zipfile.ZipFile(archive) as opened:
            names = opened.namelist()
            if member in names:
                _unpack_file(opened, member, target)
            else:
                _unpack_folder(opened, f"{member}/", target)
    except OSError as error:
        raise InputError(
            f"{archive}: {member} cannot be unpacked into {target.parent}: "
            f"{error.strerror or error}; make room, or move the cache with PPLAVA_CACHE_DIR"
        ) from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"{archive}: {member} cannot be unpacked ({error}); get it anew"
        ) from error
    return target


def _files_and_folders(folder: Path, wanted: frozenset[str]) -> Iterator[Path]:
    """Give every file of a kind and folder of pictures below a folder, outside zips first."""
    archives: list[Path] = []
    entered: set[str] = set()
    for name, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(name)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders.sort()
        here = Path(name)
        suffixes = {os.path.splitext(file)[1].lower() for file in files}
        if suffixes & _PICTURE_SUFFIXES:
            yield here
        if ".zip" in suffixes:
            archives += [here / file for file in files if file.lower().endswith(".zip")]
        if suffixes & wanted:
            yield from (here / file for file in sorted(files) if _is_wanted(file, wanted))
    for archive in sorted(archives):
        yield from _members(archive, wanted)


def _members(archive: Path, wanted: frozenset[str]) -> Iterator[Path]:
    """Give the files and folders of pictures inside a zip, as paths that go through it."""
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [name for name in opened.namelist() if _is_safe(name)]
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{archive} cannot be read as a zip ({error}); get it anew") from error
    folders = dict.fromkeys(
        str(PurePosixPath(name).parent)
        for name in names
        if os.path.splitext(name)[1].lower() in _PICTURE_SUFFIXES
    )
    yield from (archive / name for name in names if _is_wanted(name, wanted))
    yield from (archive / name for name in folders if name != ".")


def _unpack_file(opened: zipfile.ZipFile, member: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        _copy(opened, member, temporary)


def _unpack_folder(opened: zipfile.ZipFile, prefix: str, target: Path) -> None:
    """Unpack the files right inside a folder of the zip; the folder appears as a whole."""
    names = [name for name in opened.namelist() if name.startswith(prefix) and _is_safe(name)]
    files = [name for name in names if name != prefix and "/" not in name[len(prefix) :]]
    if not files:
        raise zipfile.BadZipFile("there is no such member")
    temporary = target.with_name(f".{target.name[:40]}{TEMPORARY_MARK}{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        for name in files:
            _copy(opened, name, temporary / name[len(prefix) :])
        # fails where another process was first, whose folder is as good
        with contextlib.suppress(OSError):
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if not target.is_dir():
        raise OSError("the folder could not be renamed")


def _copy(opened: zipfile.ZipFile, member: str, target: Path) -> None:
    with opened.open(member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, _CHUNK_BYTES)


def _place(archive: Path) -> Path:
    """Name the folder of the cache for what is in a zip of this size and time."""
    facts = archive.stat()
    told = f"{os.path.realpath(archive)}|{facts.st_size}|{facts.st_mtime_ns}"
    digest = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return cache_directory() / "evals" / "unpacked" / digest


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and path.is_file()


def _is_wanted(name: str, wanted: frozenset[str]) -> bool:
    # a name that begins with a dot is what macOS leaves beside a file in its zips
    base = name.rsplit("/", 1)[-1]
    return os.path.splitext(base)[1].lower() in wanted and not base.startswith(".")


def _is_safe(name: str) -> bool:
    """Whether a member's name stays inside the folder it is unpacked into."""
    return not (name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"))
