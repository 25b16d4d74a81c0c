"""Which of several processes this one is, under ``accelerate launch`` or ``torchrun``.

A thin view of accelerate's own state; a process that nobody launched is the only one. What
the processes share is the folder of results, so all must see the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

Part = TypeVar("Part")

PATIENCE = timedelta(days=7)
"How long the first process to finish waits for the last one."


def _nobody_to_wait_for() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of the processes that share a run."""

    index: int = 0
    count: int = 1
    local_index: int = 0
    "Among those on this machine: the number of its accelerator."
    wait: Callable[[], None] = _nobody_to_wait_for
    "Returns once every process has called it."

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.index == 0

    def share(self, parts: Sequence[Part]) -> list[Part]:
        """Return this process's parts: every ``count``-th, so that all have long and short ones."""
        return list(parts[self.index :: self.count])


def this_shard(*, cpu: bool) -> Shard:
    """Join the other processes, if there are any.

    Args:
        cpu: the models run on the processor, so that the processes talk through gloo.
    """
    from accelerate import PartialState

    state = PartialState(cpu=cpu, timeout=PATIENCE)
    return Shard(
        index=state.process_index,
        count=state.num_processes,
        local_index=state.local_process_index,
        wait=state.wait_for_everyone,
    )
