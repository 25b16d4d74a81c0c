"""Making data ahead in a process of its own, in order. Knows nothing of what is made."""

from __future__ import annotations

import multiprocessing
from typing import Any

import torch


def forked_loader(dataset: torch.utils.data.IterableDataset[Any]) -> Any:
    """Return what a dataset yields, unchanged and in order, made by another process.

    Only a forked process sees large arrays without a copy of them; where there is no fork
    the data are made in this process.
    """
    forks = "fork" in multiprocessing.get_all_start_methods()
    return torch.utils.data.DataLoader(
        dataset,
        batch_size=None,
        collate_fn=_unchanged,
        num_workers=1 if forks else 0,
        multiprocessing_context="fork" if forks else None,
    )


def _unchanged(item: Any) -> Any:
    return item
