"""Looking a data folder over before hours are spent on it: every row read, every video opened.

Of a video only the header is read, in other threads; that does not show damage further in,
which a run would record as that question's error. What lies inside a zip is known to be there
and is not unpacked for this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pplava_core import media
from pplava_core.errors import PplavaError
from pplava_core.evals.base import Benchmark, Item, Settings


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A video that cannot be shown."""

    video_id: str
    questions: int
    "How many ask about it."
    reason: str
    missing: bool
    "Whether there is no file, as against one that cannot be read."


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """What a look at a data folder found."""

    questions: int
    videos: int
    opened: int
    "Videos whose header was read."
    zipped: int
    "Videos inside zips, which are there and were not opened."
    troubles: tuple[Trouble, ...]


def check_data(
    benchmark: Benchmark,
    items: Sequence[Item],
    settings: Settings,
    *,
    workers: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> DataCheck:
    """Look for every video that the questions ask about.

    Args:
        benchmark: says which files belong to an item.
        items: all questions; reading them has shown that the rows are whole.
        settings: for the benchmark.
        workers: threads that open videos.
        progress: called with videos done and in all.
    """
    videos: dict[tuple[Path | None, str], list[Item]] = {}
    for item in items:
        videos.setdefault((item.video, item.video_id), []).append(item)
    looks = partial(_look, benchmark, settings)
    troubles, opened, zipped = [], 0, 0
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(looks, [group[0] for group in videos.values()])
        for done, (group, (was_opened, reason)) in enumerate(
            zip(videos.values(), found, strict=True), 1
        ):
            opened += was_opened
            zipped += not was_opened and reason is None
            if reason is not None:
                troubles.append(_trouble(group, reason))
            if progress is not None:
                progress(done, len(videos))
    return DataCheck(
        questions=len(items),
        videos=len(videos),
        opened=opened,
        zipped=zipped,
        troubles=tuple(troubles),
    )


def _look(benchmark: Benchmark, settings: Settings, item: Item) -> tuple[bool, str | None]:
    """Open an item's video if it is not inside a zip; say what is wrong with it."""
    if item.video is not None and not item.video.exists():
        return False, None
    try:
        for path in benchmark.paths(item, settings):
            media.check_header(path)
    except PplavaError as error:
        return item.video is not None, " ".join(str(error).split())
    return True, None


def _trouble(group: Sequence[Item], reason: str) -> Trouble:
    first = group[0]
    return Trouble(
        video_id=first.video_id,
        questions=len(group),
        reason="missing" if first.video is None else reason,
        missing=first.video is None,
    )
