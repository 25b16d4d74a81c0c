"""Runs that are really killed, at random moments, lose at most the question at hand."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from eval_fakes import Noise, without_times, write_noise
from small_models import small_model, write_clip

from pplava_core.errors import OutputError
from pplava_core.evals.base import Settings
from pplava_core.evals.runs.predictions import FILE_NAME, read_predictions
from pplava_core.evals.runs.running import Work, answer_items

KILLS = 8


def run_to_end(data, folder, model, report=None):
    torch.set_num_threads(1)
    work = Work(benchmark=Noise(), settings=Settings(), model=model, workers=0)
    items = work.benchmark.items(data, work.settings)

    def progress(standing):
        if report is not None:
            report.send(standing.questions)

    return answer_items(items, work, folder, progress=progress)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_killed_runs_go_on_to_the_same_answers(tmp_path):
    torch.set_num_threads(1)
    data, model = write_noise(tmp_path / "data", videos=8, questions=5), small_model()
    (tmp_path / "whole").mkdir()
    started = time.monotonic()
    whole = run_to_end(data, tmp_path / "whole", model)
    whole_seconds = time.monotonic() - started

    folder = tmp_path / "killed"
    folder.mkdir()
    fork, draw = multiprocessing.get_context("fork"), random.Random(5)
    counts = [0]
    for _ in range(KILLS):
        ours, theirs = fork.Pipe(duplex=False)
        process = fork.Process(target=run_to_end, args=(data, folder, model, theirs))
        process.start()
        theirs.close()
        time.sleep(draw.uniform(0.1, 1.0) * whole_seconds / 2)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        told = counts[-1]
        try:
            while True:
                told = ours.recv()
        except EOFError:
            pass
        kept = len(read_predictions(folder / FILE_NAME)) if (folder / FILE_NAME).exists() else 0
        assert told <= kept <= told + 1
        counts.append(kept)
    assert counts == sorted(counts)
    assert len(set(counts) - {0, len(whole)}) > 0, "no kill came between two questions"
    found = run_to_end(data, folder, model)
    assert without_times(found) == without_times(whole)
    assert list(found) == list(read_predictions(folder / FILE_NAME))


def run_on_a_full_disk(data, folder, model, report):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
    try:
        run_to_end(data, folder, model)
    except OutputError as error:
        report.send(str(error))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_disk_that_takes_no_more_loses_nothing(tmp_path):
    torch.set_num_threads(1)
    data, model = write_noise(tmp_path / "data"), small_model()
    folder = tmp_path / "run"
    folder.mkdir()
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=run_on_a_full_disk, args=(data, folder, model, theirs))
    process.start()
    line = ours.recv()
    process.join()
    assert "cannot be written" in line
    assert "\n" not in line
    kept = read_predictions(folder / FILE_NAME)
    assert 1 < len(kept) < 12
    assert (folder / FILE_NAME).read_bytes().endswith(b"\n")
    found = run_to_end(data, folder, model)
    assert {name: found[name] for name in kept} == kept
    (tmp_path / "whole").mkdir()
    assert without_times(found) == without_times(run_to_end(data, tmp_path / "whole", model))


READING = """
import multiprocessing, os, signal, sys
from pathlib import Path
from pplava_core.evals.runs.clips import ClipReading, ClipRequest, read_clips
from pplava_core.types import PixelRule, Sampling

if __name__ == "__main__":
    paths = [Path(sys.argv[1])]
    request = ClipRequest(paths=paths.copy, name="film", sampling=Sampling())
    reading = ClipReading(pixels=PixelRule(height=8, width=8), default_num_frames=2)
    clips = read_clips([request] * 50, reading)
    next(clips)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_readers_end_with_the_run_that_is_killed(tmp_path):
    script = tmp_path / "reading.py"
    script.write_text(READING)
    film = write_clip(tmp_path / "film.mp4")
    run = subprocess.run(
        [sys.executable, str(script), str(film)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    (reader,) = map(int, run.stdout.split())
    deadline = time.monotonic() + 10
    while is_running(reader):
        assert time.monotonic() < deadline, "a reader outlived the run it read for"
        time.sleep(0.05)


def is_running(process):
    """Tell whether a process is there and not merely waiting for somebody to take note."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
