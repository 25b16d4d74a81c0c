"""Getting a benchmark's data from the hub: what it is first, then the files.

Everything goes through huggingface_hub, with its tokens and its `HF_ENDPOINT`: files that are
there already are not fetched again, so the same command goes on after an interruption. What
the files mean is the benchmarks' own business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pplava_core.errors import InputError, ModelError, OutputError, UsageError
from pplava_core.evals.base import BenchmarkInfo
from pplava_core.models.store.download import free_disk_bytes
from pplava_core.models.store.hub import endpoint_name, said_plainly
from pplava_core.models.store.source import HubSource

Progress = Callable[[int, int], None]
"Told how many bytes of how many are here."


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What the hub has, seen from a folder that it would go to."""

    source: HubSource
    "At a commit."
    folder: Path
    licence: str
    file_count: int
    total_bytes: int
    missing_bytes: int
    "Of the files that are not in the folder yet."
    free_bytes: int
    "On the folder's disk."


def look_up(
    info: BenchmarkInfo, folder: Path, *, hub_id: str | None = None, revision: str = "main"
) -> Offer:
    """Ask the hub what a benchmark's data are.

    Args:
        info: names the dataset and, where the hub does not say, its licence.
        folder: where the data would go.
        hub_id: another dataset than the usual one, `owner/name`.
        revision: a branch, a tag or a commit; written down as a commit.

    Raises:
        UsageError: the benchmark's data are not on a hub.
        InputError: there is no such dataset, no access or no connection.
    """
    name = hub_id or info.hub_id
    if name is None:
        raise UsageError(
            f"the data of {info.title} are not on the hub: docs/evaluation.md says where they "
            "come from and how they have to lie"
        )
    source = HubSource(repo=name, revision=revision)
    with _as_input(source):
        from huggingface_hub import HfApi

        found = HfApi(endpoint=endpoint_name()).dataset_info(name, revision=revision)
        source = HubSource(repo=name, revision=str(found.sha))
        files = _plan(source, folder)
    card: Any = found.card_data or {}
    licence = card.get("license")
    return Offer(
        source=source,
        folder=folder,
        licence=licence if isinstance(licence, str) else info.licence,
        file_count=len(files),
        total_bytes=sum(file.file_size for file in files),
        missing_bytes=sum(file.file_size for file in files if file.will_download),
        free_bytes=free_disk_bytes(folder),
    )


def fetch(offer: Offer, *, progress: Progress | None = None) -> None:
    """Bring all files of an offer into its folder.

    Raises:
        OutputError: they do not fit on the disk.
        InputError: they cannot be fetched; what has arrived stays for the next time.
    """
    if offer.missing_bytes > offer.free_bytes:
        raise OutputError(
            f"no space: {offer.missing_bytes / 1e9:.1f} GB are to be fetched into {offer.folder}, "
            f"where {offer.free_bytes / 1e9:.1f} GB are free; name another folder with -o"
        )
    with _as_input(offer.source):
        from huggingface_hub import snapshot_download

        def told(fetched_bytes: int) -> None:
            if progress is not None:
                here_bytes = offer.total_bytes - offer.missing_bytes + fetched_bytes
                progress(min(here_bytes, offer.total_bytes), offer.total_bytes)

        snapshot_download(
            offer.source.repo,
            repo_type="dataset",
            revision=offer.source.revision,
            local_dir=offer.folder,
            tqdm_class=_bar_that_calls(told),
            endpoint=endpoint_name(),
        )
        missing = [
            file.filename for file in _plan(offer.source, offer.folder) if file.will_download
        ]
    if missing:
        raise InputError(
            f"{offer.source}: {missing[0]} and {len(missing) - 1} more did not arrive; "
            "the same command goes on"
        )


def _plan(source: HubSource, folder: Path) -> list[Any]:
    from huggingface_hub import snapshot_download

    return snapshot_download(
        source.repo,
        repo_type="dataset",
        revision=source.revision,
        local_dir=folder,
        endpoint=endpoint_name(),
        tqdm_class=_bar_that_calls(None),
        dry_run=True,
    )


@contextmanager
def _as_input(source: HubSource) -> Iterator[None]:
    """Tell of failures as of an input, since no model is at fault."""
    try:
        with said_plainly(source):
            yield
    except ModelError as error:
        raise InputError(str(error)) from error


def _bar_that_calls(told: Callable[[int], None] | None) -> Any:
    """Make what huggingface_hub takes for its progress bars, and which shows nothing by itself."""
    from tqdm import tqdm

    class CallingBar(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*arguments, **options)

        def display(self, *_: Any, **__: Any) -> bool:
            if told is not None and self.unit == "B":
                told(int(self.n))
            return True

        def close(self) -> None:
            self.leave = True  # else tqdm would clear a line that was never drawn
            self.disable = True

    return CallingBar
