"""Judging that is really killed, at random moments, goes on and pays for little twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from judge_server import judge_server, says

from pplava_core.evals.base import Item, Prediction, Settings
from pplava_core.evals.benchmarks.msrvttqa import MSRVTTQA
from pplava_core.evals.judges.judge import Judge
from pplava_core.evals.judges.judging import JudgingOutcome, judge_predictions

COUNT, CONCURRENCY, KILLS = 60, 3, 3
PROGRAM = """
import sys
from pathlib import Path
from test_judging_killed import judged
judged(sys.argv[1], Path(sys.argv[2]))
"""


def judged(url: str, log: Path) -> tuple[dict[str, Prediction], JudgingOutcome]:
    items = [
        Item(id=str(n), video=None, video_id=str(n), question=f"question {n}?", answer="a")
        for n in range(COUNT)
    ]
    predictions = {item.id: Prediction(id=item.id, text=f"said {item.id}") for item in items}
    outcome = JudgingOutcome()
    found = judge_predictions(
        MSRVTTQA(),
        items,
        predictions,
        Judge(url, "tester", concurrency=CONCURRENCY),
        Settings(),
        log=log,
        outcome=outcome,
    )
    return found, outcome


def test_killed_again_and_again(tmp_path):
    log = tmp_path / "judgements.jsonl"
    draw = random.Random(os.getpid())
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here.parent}{os.pathsep}{here}"}
    verdict = says("{'pred': 'yes', 'score': 4}", after_seconds=0.02)
    with judge_server(verdict) as server:
        for kill in range(KILLS):
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, server.url, str(log)], env=environment
            )
            wanted = len(server.requests) + draw.randint(8, COUNT // KILLS - CONCURRENCY)
            while len(server.requests) < wanted and process.poll() is None:
                time.sleep(0.001)
            time.sleep(draw.random() * 0.02)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, f"kill {kill} came too late"
        killed_at = len(log.read_text().splitlines())
        found, outcome = judged(server.url, log)
        assert len(found) == COUNT
        assert all("judge" in one.details for one in found.values())
        assert 0 < killed_at - 1 <= outcome.noted < COUNT
        assert len(server.requests) <= COUNT + KILLS * CONCURRENCY
