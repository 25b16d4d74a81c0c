"""Making data ahead in a process of its own, in order. Knows nothing of what is made."""

from __future__ import annotations

import multiprocessing
from collections.abc import Generator, Iterator
from typing import Any

import torch

from pplava_core.errors import PplavaError


def forked_loader(dataset: torch.utils.data.IterableDataset[Any]) -> Generator[Any, None, None]:
    """Return what a dataset yields, unchanged and in order, made by another process.

    Only a forked process sees large arrays without a copy of them; where there is no fork
    the data are made in this process. An error of this package arrives as it was raised.
    Close it when no more is wanted.
    """
    forks = "fork" in multiprocessing.get_all_start_methods()
    loader = torch.utils.data.DataLoader(
        _ErrorsAsItems(dataset),
        batch_size=None,
        collate_fn=_unchanged,
        num_workers=1 if forks else 0,
        multiprocessing_context="fork" if forks else None,
    )
    # Begun here and not at the first item, since that takes a number from torch's generator.
    return _raised(iter(loader))


def _raised(items: Iterator[Any]) -> Generator[Any, None, None]:
    try:
        for item in items:
            if isinstance(item, PplavaError):
                raise item
            yield item
    finally:
        # Ends the process now; the garbage collector would wait for it in vain, for seconds.
        del items


class _ErrorsAsItems(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    """Hands errors over as items: torch would wrap them into pages of traceback."""

    def __init__(self, dataset: torch.utils.data.IterableDataset[Any]) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self.dataset
        except PplavaError as error:
            yield error


def _unchanged(item: Any) -> Any:
    return item
