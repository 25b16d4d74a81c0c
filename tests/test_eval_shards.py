"""Runs that several processes share, really launched; one of them dies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from eval_fakes import Noise, without_times, write_noise
from small_models import small_model

from pplava_core.evals.base import Settings
from pplava_core.evals.runs.predictions import (
    FILE_NAME,
    read_folder,
    read_predictions,
    shard_file_name,
)
from pplava_core.evals.runs.running import Work, answer_items
from pplava_core.evals.runs.sharding import Shard

HERE = Path(__file__).parent


def launch(*arguments):
    """Run `shard_run.py` in two processes on the processor, as `torchrun` does."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(HERE / "shard_run.py"), *map(str, arguments)]
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def run_alone(data, folder):
    folder.mkdir()
    work = Work(benchmark=Noise(), settings=Settings(), model=small_model(), workers=0)
    return answer_items(work.benchmark.items(data, work.settings), work, folder)


def test_a_dead_process_is_made_up_for_by_the_next_run(tmp_path):
    data, folder = write_noise(tmp_path / "data", videos=4), tmp_path / "run"
    broken = launch(data, folder, 1)
    assert broken.returncode != 0
    kept = read_folder(folder)
    assert 2 <= len(kept) <= 8
    assert len(read_predictions(folder / shard_file_name(1))) == 2

    whole = launch(data, folder)
    assert whole.returncode == 0
    told = re.findall(r"asked (\d+), told of (\w+)", whole.stdout)
    assert sum(int(asked) for asked, _ in told) == 12 - len(kept)
    assert sorted(answered for _, answered in told) == ["12", "None"]
    assert sorted(path.name for path in folder.glob("predictions*")) == [FILE_NAME]
    found, alone = read_predictions(folder / FILE_NAME), run_alone(data, tmp_path / "alone")
    assert list(found) == list(alone)
    assert without_times(found) == without_times(alone)


def test_shares_are_disjoint_and_whole():
    parts = list(range(11))
    shares = [Shard(index=index, count=4).share(parts) for index in range(4)]
    assert sorted(part for share in shares for part in share) == parts
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert Shard().share(parts) == parts
    assert [Shard(index=index, count=4).is_first for index in range(4)] == [True] + [False] * 3


def test_a_lone_process_takes_in_what_others_left(tmp_path):
    data = write_noise(tmp_path / "data", videos=2)
    alone = run_alone(data, tmp_path / "alone")
    (tmp_path / "run").mkdir()
    lines = (tmp_path / "alone" / FILE_NAME).read_bytes().splitlines(keepends=True)
    (tmp_path / "run" / shard_file_name(0)).write_bytes(b"".join(lines[:2]))
    (tmp_path / "run" / shard_file_name(5)).write_bytes(b"".join(lines[3:5]) + lines[5][:9])
    work = Work(benchmark=Noise(), settings=Settings(), model=small_model(), workers=0)
    found = answer_items(work.benchmark.items(data, Settings()), work, tmp_path / "run")
    assert len(work.benchmark.seen_seconds) == 2
    assert without_times(found) == without_times(alone)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [FILE_NAME]
