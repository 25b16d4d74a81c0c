"""The patch grids of clips on disk, so that a second question needs no decoder or tower.

A grid depends on the film's contents, on what was sampled from it and on the model, and
on no question; the key is made from just those. An entry is one grid file; one that does
not match its checksum is deleted, never trusted. Entries used least recently go first when
room is needed. Several processes may use one directory: entries appear whole or not at all,
and one that vanishes under a reader counts as absent. Knows nothing of models and never
encodes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pplava_core.atomic import TEMPORARY_MARK, replacing
from pplava_core.content_hash import Contents, content_hash
from pplava_core.grid_file import DamagedGridError, read_grid, write_grid
from pplava_core.types import PatchGrid, PixelRule, Sampling

if TYPE_CHECKING:
    import torch

DEFAULT_MAX_BYTES = 4 * 1024**3

_LAYOUT = 1
"Counts up when an entry's contents come to mean something else; old entries then miss."

_ENTRIES = "[!.]*.safetensors"
"Temporary names begin with a dot, and are no entries."

_ABANDONED_AFTER_SECONDS = 3600.0
"A temporary file this old was left by a process that was killed."


@dataclass(frozen=True, kw_only=True)
class CacheInfo:
    """What the cache holds at the moment."""

    directory: Path
    entry_count: int
    total_bytes: int
    max_bytes: int


@dataclass(frozen=True, kw_only=True)
class CacheCleared:
    """What clearing took away."""

    directory: Path
    entry_count: int
    freed_bytes: int


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What a key was made from, to serve and to guard the entry of that key."""

    paths: tuple[str, ...]
    contents: tuple[Contents, ...]


class FeatureCache:
    """A size-bounded store of patch grids in one directory."""

    def __init__(self, directory: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Use a directory, which is made when the first entry is stored.

        Args:
            directory: nothing but this cache should live in it.
            max_bytes: entries together take no more than this on disk.
        """
        self.directory = directory
        self.max_bytes = max_bytes
        self._requests: dict[str, _Request] = {}

    def key(
        self,
        paths: Sequence[Path],
        *,
        sampling: Sampling,
        reader: str,
        model_revision: str,
        dtype: torch.dtype | str,
        default_num_frames: int,
        pixels: PixelRule,
        cut: str = "",
    ) -> str:
        """Name the grid that these files, sampled so, give with this model.

        The files' contents are read (and their digests remembered), so the same film under
        another name (of the same suffix) has the same key, and a film that was replaced has
        another one. Of a folder every file counts, by name and contents. The device does
        not count: one that encodes a little differently in the same dtype gives an equally
        good grid. Where pictures are cut instead of resized, ``cut`` names how.

        Returns:
            64 hexadecimal digits, usable as a file name.

        Raises:
            InputError: a file is missing or cannot be read.
        """
        contents = tuple(content_hash(path, self._notes_directory) for path in paths)
        facts = {
            "layout": _LAYOUT,
            "contents": [was.digest for was in contents],
            # A wrong suffix is among the warnings that the grid's source carries.
            "suffixes": [path.suffix.lower() for path in paths],
            "sampling": _facts_of(_explicit(sampling, default_num_frames)),
            "pixels": dataclasses.asdict(pixels),
            "reader": reader,
            "model": model_revision,
            "dtype": str(dtype).removeprefix("torch."),
            **({"cut": cut} if cut else {}),
        }
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        self._requests[key] = _Request(paths=tuple(map(str, paths)), contents=contents)
        return key

    def load(self, key: str) -> PatchGrid | None:
        """Give the grid of a key, or None where there is none that can be trusted.

        A damaged entry is deleted. The grid's source carries the paths that this cache's
        `key` was asked about, not those of whoever stored the entry.

        Returns:
            Features on the CPU in the dtype they were stored in.
        """
        entry = self._entry(key)
        try:
            grid = read_grid(entry, label=key)
        except OSError:
            return None
        except DamagedGridError:
            with contextlib.suppress(OSError):
                entry.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(entry)
        request = self._requests.get(key)
        if request is not None and request.paths != grid.source.paths:
            source = dataclasses.replace(grid.source, paths=request.paths)
            grid = dataclasses.replace(grid, source=source)
        return grid

    def store(self, key: str, grid: PatchGrid) -> bool:
        """Keep a grid, and let go of those used least recently to make room.

        Returns:
            False where it was not kept: it is larger than the whole cache may be, a file
            was changed since `key` read it, or the disk does not take it. None of these is
            the asker's problem, so none is an error.
        """
        if grid.features.nbytes > self.max_bytes or self._changed(key):
            return False
        entry = self._entry(key)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with replacing(entry) as temporary:
                write_grid(temporary, grid, label=key)
                size_bytes = temporary.stat().st_size
                if size_bytes > self.max_bytes:
                    raise OSError(errno.EFBIG, "larger than the cache may be", str(entry))
                self._make_room(size_bytes, keep=entry)
        except OSError:
            return False
        return True

    def info(self) -> CacheInfo:
        """Count the entries and what they take on disk."""
        sizes = [facts.st_size for _, facts in self._files(_ENTRIES)]
        return CacheInfo(
            directory=self.directory,
            entry_count=len(sizes),
            total_bytes=sum(sizes),
            max_bytes=self.max_bytes,
        )

    def clear(self) -> CacheCleared:
        """Delete every entry and every remembered digest.

        Raises:
            OSError: an entry exists that may not be deleted.
        """
        entries = self._files(_ENTRIES)
        for entry, _ in entries:
            entry.unlink(missing_ok=True)
        for note in self._notes_directory.glob("*.json"):
            note.unlink(missing_ok=True)
        self._sweep()
        return CacheCleared(
            directory=self.directory,
            entry_count=len(entries),
            freed_bytes=sum(facts.st_size for _, facts in entries),
        )

    @property
    def _notes_directory(self) -> Path:
        return self.directory / "hashes"

    def _entry(self, key: str) -> Path:
        return self.directory / f"{key}.safetensors"

    def _changed(self, key: str) -> bool:
        """Say whether a path no longer holds what made the key."""
        request = self._requests.get(key)
        return request is not None and any(was.changed() for was in request.contents)

    def _make_room(self, needed_bytes: int, *, keep: Path) -> None:
        self._sweep()
        entries = [found for found in self._files(_ENTRIES) if found[0] != keep]
        entries.sort(key=lambda found: found[1].st_mtime_ns)
        total_bytes = needed_bytes + sum(facts.st_size for _, facts in entries)
        for entry, facts in entries:
            if total_bytes <= self.max_bytes:
                return
            entry.unlink(missing_ok=True)
            total_bytes -= facts.st_size

    def _sweep(self) -> None:
        """Delete what killed processes left half written."""
        oldest_seconds = time.time() - _ABANDONED_AFTER_SECONDS
        for file, facts in self._files(f".*{TEMPORARY_MARK}*"):
            if facts.st_mtime < oldest_seconds:
                file.unlink(missing_ok=True)

    def _files(self, pattern: str) -> list[tuple[Path, os.stat_result]]:
        found = []
        for file in self.directory.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                found.append((file, file.stat()))
        return found


def _facts_of(sampling: Sampling) -> dict[str, Any]:
    """Return what is asked for, without a wish that is not there."""
    facts = dataclasses.asdict(sampling)
    if facts["least_fps"] is None:
        del facts["least_fps"]
    return facts


def _explicit(sampling: Sampling, default_num_frames: int) -> Sampling:
    """Write the default out, so that asking for it by number is the same request.

    But for models that take more of a long film: there the number is a different one.
    """
    if sampling.num_frames is None and sampling.fps is None:
        return dataclasses.replace(sampling, num_frames=default_num_frames)
    return sampling
