"""Hashes of files as a hub gives them: SHA-256 of large ones, git's blob hash of small ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

_CHUNK_BYTES = 8 * 1024 * 1024


def digest_of(path: Path, kind: str, progress: Callable[[int], None] | None = None) -> str:
    """Hash a file.

    Args:
        path: the file.
        kind: `sha256` or `git-sha1`.
        progress: is told how many bytes have been read.

    Returns:
        The kind, a colon and the hash, as `source.StoredFile` keeps it.
    """
    if kind == "sha256":
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    done_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            done_bytes += len(chunk)
            if progress:
                progress(done_bytes)
    return f"{kind}:{digest.hexdigest()}"


def matches(path: Path, digest: str, progress: Callable[[int], None] | None = None) -> bool:
    """Tell whether a file's contents are the ones that a digest was made of."""
    return digest_of(path, digest.partition(":")[0], progress) == digest
