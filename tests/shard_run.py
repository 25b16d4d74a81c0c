"""A program for tests to launch: one of the processes of a run of the made-up benchmark.

Usage: ``shard_run.py DATA FOLDER [RANK]``; the process of that rank dies after two answers.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from eval_fakes import Noise
from small_models import small_model

from pplava_core.evals.base import Settings
from pplava_core.evals.runs.job import Job, run_job
from pplava_core.evals.runs.running import Standing, Work
from pplava_core.evals.runs.selection import Selection
from pplava_core.evals.runs.sharding import this_shard


def main(data: Path, folder: Path, doomed: int | None = None) -> tuple[int, int | None]:
    """Return how many questions this process asked, and how many answers it was told of."""
    shard = this_shard(cpu=True)
    work = Work(benchmark=Noise(), settings=Settings(), model=small_model(), workers=0)
    answered = []

    def progress(standing: Standing) -> None:
        answered.append(standing)
        if shard.index == doomed and len(answered) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    job = Job(
        work=work,
        items=work.benchmark.items(data, work.settings),
        selection=Selection(),
        folder=folder,
        shard=shard,
    )
    summary = run_job(job, progress=progress)
    return len(answered), None if summary is None else summary["counts"]["answered"]


if __name__ == "__main__":
    asked, answered = main(
        Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else None
    )
    print(f"asked {asked}, told of {answered}")
