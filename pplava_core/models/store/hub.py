"""The only file that talks to a hub: what a repository holds, and the bytes of one file.

Everything goes through huggingface_hub, with its tokens and its `HF_ENDPOINT`. Its own
download functions begin a file anew in every process, so a file is fetched with its
`http_get`, which goes on where the target ends. No cache and no folder layout is known here.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pplava_core.errors import ModelError
from pplava_core.models.store.source import HubSource

_LIST_TIMEOUT_SECONDS = 30.0
_SHA256_LENGTH = 64


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """One file of a repository."""

    name: str
    "Inside the repository, as the hub says it: unchecked."
    size_bytes: int
    digest: str
    "As in `source.StoredFile`."


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a repository held at one commit."""

    commit: str
    licence: str | None
    "As its card has it."
    files: tuple[HubFile, ...]


def list_files(source: HubSource) -> Listing:
    """Ask the hub for a repository's files, with their sizes and hashes.

    Raises:
        ModelError: no such repository or revision, no access, no connection, or the
            answer makes no sense.
    """
    with said_plainly(source):
        from huggingface_hub import HfApi, errors

        try:
            info = HfApi(endpoint=_endpoint()).model_info(
                source.repo,
                revision=source.revision,
                files_metadata=True,
                timeout=_LIST_TIMEOUT_SECONDS,
            )
            files = tuple(_hub_file(source, sibling) for sibling in info.siblings or ())
            card: Any = info.card_data or {}
            licence = card.get("license")
        except errors.HFValidationError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"what {endpoint_name()} says of {source} makes no sense; is HF_ENDPOINT a hub?"
            ) from error
        commit = str(info.sha or "")
        if not commit.isalnum():
            raise ModelError(f"{endpoint_name()} names no commit for {source}; is it a hub?")
        return Listing(
            commit=commit, licence=licence if isinstance(licence, str) else None, files=files
        )


def fetch(source: HubSource, file: HubFile, target: Path, progress: Callable[[int], None]) -> None:
    """Fetch a file's bytes, going on where an earlier run left the target.

    Args:
        source: the repository, at a commit.
        file: what to fetch.
        target: where to; bytes that are there are taken for the file's first ones. After
            an error it keeps what arrived.
        progress: is told how many bytes of the file are there.

    Raises:
        ModelError: no access, no connection, no space, or more or fewer bytes than the
            hub promised.
    """
    with said_plainly(source):
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        endpoint = _endpoint()
        url = hf_hub_url(source.repo, file.name, revision=source.revision, endpoint=endpoint)
        # a compressed answer has no ranges
        headers = build_hf_headers(library_name="pplava") | {"Accept-Encoding": "identity"}
        have_bytes = target.stat().st_size if target.exists() else 0
        if have_bytes > file.size_bytes:
            target.unlink()
            have_bytes = 0
        progress(have_bytes)
        with target.open("ab", buffering=0) as stream:
            http_get(
                url,
                stream,
                resume_size=have_bytes,
                headers=headers,
                expected_size=file.size_bytes,
                displayed_filename=file.name,
                tqdm_class=_bar_that_calls(progress),
            )


@contextlib.contextmanager
def said_plainly(source: HubSource) -> Iterator[None]:
    """Turn what huggingface_hub and the disk may raise into one line about this source.

    Raises:
        ModelError: in place of them.
    """
    from huggingface_hub import errors

    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)  # it would tell of every retry on stderr
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise ModelError(
            f"{source} cannot be fetched, since HF_HUB_OFFLINE is set; unset it to allow that"
        ) from error
    except errors.HfHubHTTPError as error:
        raise ModelError(_refusal(source, error)) from error
    except errors.HFValidationError as error:
        raise ModelError(f"{source} is no name of a repository; check its spelling") from error
    except errors.HTTPError as error:  # type: ignore[attr-defined]  # httpx2's, or older httpx's
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"no connection to {endpoint_name()} for {source} ({reason}); what has arrived is "
            "kept, and the same command goes on from there"
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelError(
                f"the disk is full while fetching {source}; make room, and the same command goes on"
            ) from error
        reason = " ".join(str(error).split())
        raise ModelError(f"fetching {source} failed: {reason}") from error
    finally:
        log.setLevel(level)


def endpoint_name() -> str:
    """Name the hub that is asked: `HF_ENDPOINT`, or huggingface_hub's own."""
    from huggingface_hub import constants

    return _endpoint() or constants.ENDPOINT


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _hub_file(source: HubSource, sibling: Any) -> HubFile:
    """Read one file's entry; a mirror that leaves sizes out is asked for them one by one."""
    name, size_bytes = sibling.rfilename, sibling.size
    hash_text = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
    if size_bytes is None or not hash_text:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(source.repo, name, revision=source.revision, endpoint=_endpoint())
        metadata = get_hf_file_metadata(url, timeout=_LIST_TIMEOUT_SECONDS)
        size_bytes, hash_text = metadata.size, metadata.etag
    if type(size_bytes) is not int or size_bytes < 0 or not str(hash_text or "").isalnum():
        raise ValueError(f"{name} has no size or no hash")
    kind = "sha256" if len(str(hash_text)) == _SHA256_LENGTH else "git-sha1"
    return HubFile(name=name, size_bytes=size_bytes, digest=f"{kind}:{hash_text}")


def _refusal(source: HubSource, error: Any) -> str:
    """Say why the hub refused, and what helps."""
    from huggingface_hub import errors

    status, page = error.response.status_code, f"{endpoint_name()}/{source.repo}"
    login = "`hf auth login` or HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        if status == 403:
            return f"your token may not read {source.repo}, which is gated: ask for it at {page}"
        return (
            f"{source.repo} is gated: accept its terms at {page}, make a token at "
            f"{endpoint_name()}/settings/tokens and give it by {login}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"there is no repository {source.repo} on the hub, or it is private: check the "
            f"name, or log in by {login}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{source.repo} has no revision {source.revision!r}; see {page}/tree/main"
    if isinstance(error, errors.EntryNotFoundError):
        return f"{source} lacks a file that it lists; try again later"
    if status in (401, 403):
        return f"the hub refuses access to {source.repo} ({status}): renew the token by {login}"
    return f"the hub answered {status} for {source}; try again later"


def _bar_that_calls(progress: Callable[[int], None]) -> Any:
    """Make what `http_get` takes for a progress bar, and which shows nothing by itself."""

    class CallingBar:
        def __init__(self, *_: Any, initial: int = 0, **__: Any) -> None:
            self.bytes_done = initial

        def update(self, more_bytes: float | None = 1) -> None:
            self.bytes_done += int(more_bytes or 0)
            progress(self.bytes_done)

        def __enter__(self) -> CallingBar:
            return self

        def __exit__(
            self,
            kind: type[BaseException] | None,
            error: BaseException | None,
            traceback: TracebackType | None,
        ) -> None:
            """Leave nothing behind: there is nothing on the screen."""

    return CallingBar
