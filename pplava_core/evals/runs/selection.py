"""Which of a benchmark's questions are asked, and in which order.

Knows groups and seeds only: a task is any value along any axis that a benchmark names.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pplava_core.errors import UsageError
from pplava_core.evals.base import Item


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A choice among items; the default is all of them in the published order."""

    limit: int | None = None
    "How many, from every group its share."
    only: tuple[str, ...] = ()
    "Values of an axis, such as a task's name; None is everything."
    shuffle: bool = False
    "Ask in a drawn order; questions about one video stay together."
    seed: int = 0
    "Of the draws."


def select(items: Sequence[Item], selection: Selection) -> list[Item]:
    """Choose items; the same selection of the same items is always the same.

    Args:
        items: all, in the published order.
        selection: which of them; see `stratified` for what a limit keeps.

    Raises:
        UsageError: a name is no value of any axis, or nothing is left.
    """
    chosen = _only(items, selection.only)
    if selection.limit is not None:
        chosen = stratified(chosen, selection.limit, seed=selection.seed)
    if selection.shuffle:
        chosen = _shuffled(chosen, selection.seed)
    if not chosen:
        raise UsageError("no question is left to ask: raise --limit or drop --only")
    return chosen


def stratified(items: Sequence[Item], limit: int, *, seed: int) -> list[Item]:
    """Draw ``limit`` items, from every value of the items' first axis its share.

    Shares are rounded down and what is missing goes to the largest remainders, so that
    every group is off by less than one question. The order is kept.
    """
    if limit >= len(items):
        return list(items)
    strata: dict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        strata[next(iter(item.groups.values()), "")].append(place)
    shares = {name: limit * len(places) / len(items) for name, places in strata.items()}
    quotas = {name: int(share) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: quotas[name] - shares[name])
    for name in by_remainder[: limit - sum(quotas.values())]:
        quotas[name] += 1
    draw = random.Random(seed)
    kept = {place for name in strata for place in draw.sample(strata[name], quotas[name])}
    return [item for place, item in enumerate(items) if place in kept]


def _only(items: Sequence[Item], names: Sequence[str]) -> list[Item]:
    wanted = {name.casefold() for name in names}
    known = sorted({value for item in items for value in item.groups.values()})
    unknown = wanted - {value.casefold() for value in known}
    if unknown:
        shown = ", ".join(known[:40]) + (", …" if len(known) > 40 else "")
        raise UsageError(f"--only {min(unknown)}: there is no such task; known are {shown}")
    return [
        item
        for item in items
        if not wanted or wanted & {value.casefold() for value in item.groups.values()}
    ]


def _shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    videos: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        videos[item.video_id].append(item)
    names = list(videos)
    random.Random(seed).shuffle(names)
    return [item for name in names for item in videos[name]]
