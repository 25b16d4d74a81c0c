"""The SHA-256 of a file's or a folder's contents, without reading a long film twice.

A digest is remembered under the absolute path together with the size, inode and nanosecond
times of every file read; when any of them differs, all is read again. Knows nothing of
videos: a file is a row of bytes here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pplava_core.atomic import replacing
from pplava_core.errors import InputError

_CHUNK_BYTES = 1 << 20

REMEMBER_FROM_BYTES = 1 << 20
"Below this the contents are read as fast as a note about them would be, so none is written."

SETTLED_AFTER_SECONDS = 2.0
"""A file changed less than this before it was read may change again without its times
moving (FAT counts in steps of two seconds), so its digest is not remembered yet."""

_MAX_NOTES = 4096


@dataclass(frozen=True, kw_only=True)
class FileSignature:
    """What the file system says of a file; it differs once the contents were changed."""

    path: str
    "Absolute."
    size_bytes: int
    device: int
    inode: int
    mtime_ns: int
    ctime_ns: int
    "Moves even where a program sets the modification time back."

    @classmethod
    def of(cls, path: Path) -> FileSignature:
        """Ask the file system.

        Raises:
            InputError: there is no such file or folder, or it may not be looked at.
        """
        try:
            facts = os.stat(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        if not stat.S_ISREG(facts.st_mode) and not stat.S_ISDIR(facts.st_mode):
            raise InputError(f"{path} is neither a file nor a folder: give one of those")
        return cls(
            path=str(path.absolute()),
            size_bytes=facts.st_size,
            device=facts.st_dev,
            inode=facts.st_ino,
            mtime_ns=facts.st_mtime_ns,
            ctime_ns=facts.st_ctime_ns,
        )

    def settled_at(self, now_seconds: float) -> bool:
        """Say whether a change after ``now_seconds`` is sure to show in the times.

        A time in the future (a clock that was set back, another machine's clock) is
        never settled.
        """
        changed_seconds = max(self.mtime_ns, self.ctime_ns) / 1e9
        return now_seconds - changed_seconds > SETTLED_AFTER_SECONDS


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a path held when it was looked at."""

    digest: str
    "64 hexadecimal digits."
    signatures: tuple[FileSignature, ...]
    "Of the path itself, then, for a folder, of the files in it by name."

    def changed(self) -> bool:
        """Say whether the path may hold something else by now."""
        try:
            return signatures_of(Path(self.signatures[0].path)) != self.signatures
        except InputError:
            return True


def content_hash(path: Path, notes_directory: Path) -> Contents:
    """Give the digest of what a path holds, from memory where that is safe.

    Of a folder, the files directly in it count by name and contents; hidden ones do not.

    Args:
        path: a regular file or a folder.
        notes_directory: where digests are remembered, one small file each; made on
            demand. When it cannot be written, nothing is remembered and nothing fails.

    Raises:
        InputError: something is missing or cannot be read.
    """
    signatures = signatures_of(path)
    if sum(signature.size_bytes for signature in signatures) < REMEMBER_FROM_BYTES:
        return Contents(digest=_read_digest(path, signatures), signatures=signatures)
    note = notes_directory / f"{hashlib.sha256(os.fsencode(signatures[0].path)).hexdigest()}.json"
    state = _state(signatures)
    digest = _remembered(note, state)
    if digest is None:
        started_seconds = time.time()
        digest = _read_digest(path, signatures)
        settled = all(signature.settled_at(started_seconds) for signature in signatures)
        if settled and signatures_of(path) == signatures:
            _remember(note, state, digest)
    return Contents(digest=digest, signatures=signatures)


def signatures_of(path: Path) -> tuple[FileSignature, ...]:
    """Give the signature of a path and, for a folder, of the files in it by name.

    Raises:
        InputError: something is missing or may not be looked at.
    """
    files = _files_in(path) if path.is_dir() else []
    return tuple(FileSignature.of(file) for file in [path, *files])


def _files_in(folder: Path) -> list[Path]:
    try:
        children = [child for child in folder.iterdir() if not child.name.startswith(".")]
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted(child for child in children if child.is_file())


def _read_digest(path: Path, signatures: tuple[FileSignature, ...]) -> str:
    if len(signatures) == 1 and not path.is_dir():
        return _file_digest(path)
    files = [Path(signature.path) for signature in signatures[1:]]
    named = {file.name: _file_digest(file) for file in files}
    return hashlib.sha256(b"folder" + json.dumps(named, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    chunk = bytearray(_CHUNK_BYTES)
    view = memoryview(chunk)
    try:
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(chunk):
                digest.update(view[:count])
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def _unreadable(path: Path, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    return InputError(f"{path} cannot be read ({reason}): check the name and its permissions")


def _state(signatures: tuple[FileSignature, ...]) -> str:
    facts = json.dumps([asdict(signature) for signature in signatures])
    return hashlib.sha256(facts.encode()).hexdigest()


def _remembered(note: Path, state: str) -> str | None:
    """Give the noted digest; a note that is damaged or about another state is no note."""
    try:
        stored = json.loads(note.read_bytes())
        if stored["state"] == state and len(bytes.fromhex(stored["digest"])) == 32:
            return str(stored["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def _remember(note: Path, state: str, digest: str) -> None:
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        with replacing(note) as temporary:
            temporary.write_text(json.dumps({"state": state, "digest": digest}))
        _forget_oldest(note.parent)


def _forget_oldest(notes_directory: Path) -> None:
    notes = list(notes_directory.glob("*.json"))
    if len(notes) <= _MAX_NOTES:
        return
    notes.sort(key=lambda note: note.stat().st_mtime_ns)
    for note in notes[: len(notes) - _MAX_NOTES // 2]:
        note.unlink(missing_ok=True)
