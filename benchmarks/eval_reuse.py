"""How much faster three questions a video are when it is decoded and encoded once.

    python benchmarks/eval_reuse.py [--videos 6] [--rounds 3]

Renders films of 20 seconds and asks three questions about each with the embedded model, once
as `pplava eval` does it and once with every question as a video of its own, alternating in
one process. Prints wall and processor seconds and their ratios, and whether the answers are
the same. Processor time counts, since other work on the machine does not move it; the goal
is 2.5. The exit code is 1 where it is missed or an answer differs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from pplava_core.evals.base import Item, Settings
from pplava_core.evals.benchmarks.shapes_benchmark import Shapes
from pplava_core.evals.runs.running import Work, answer_items
from pplava_core.models import checkpoint
from pplava_core.models.catalog import find_model
from pplava_core.shapes.drawing import draw_scene
from pplava_core.shapes.film import encode_mp4
from pplava_core.shapes.render import render

GOAL = 2.5
SECONDS, FPS, HEIGHT, WIDTH = 20, 25, 360, 640
QUESTIONS = (
    "how many objects are there?",
    "what colour is the largest object?",
    "is there a red circle?",
)


def write_videos(folder: Path, count: int) -> list[Path]:
    paths = []
    for number in range(count):
        path = folder / f"{number}.mp4"
        frame_count = SECONDS * FPS
        moments = [(index + 0.5) / frame_count for index in range(frame_count)]
        frames, _ = render(draw_scene(100 + number), moments, height=HEIGHT, width=WIDTH)
        encode_mp4(frames, path, fps=FPS)
        paths.append(path)
    return paths


def items_of(videos: Sequence[Path], *, apart: bool) -> list[Item]:
    """Make the questions; ``apart`` gives each a video of its own, so that none is re-used."""
    return [
        Item(
            id=f"{video.stem}-{number}",
            video=video,
            video_id=f"{video.name} {number}" if apart else video.name,
            question=question,
            answer="",
        )
        for video in videos
        for number, question in enumerate(QUESTIONS)
    ]


def timed(items: Sequence[Item], work: Work) -> tuple[float, float, dict[str, str]]:
    """Return wall seconds, processor seconds and the answers."""
    with tempfile.TemporaryDirectory() as folder:
        wall, processor = time.perf_counter(), time.process_time()
        found = answer_items(items, work, Path(folder))
        seconds = time.perf_counter() - wall, time.process_time() - processor
    return *seconds, {name: one.text for name, one in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=4, help="longest answer")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = checkpoint.load_model(find_model("nano").folder)
    settings = Settings(num_frames=arguments.frames, max_new_tokens=arguments.tokens)
    work = Work(benchmark=Shapes(), settings=settings, model=model, workers=0)
    ratios, same = [], True
    with tempfile.TemporaryDirectory() as folder:
        videos = write_videos(Path(folder), arguments.videos)
        for number in range(arguments.rounds):
            wall, processor, answers = timed(items_of(videos, apart=False), work)
            wall_apart, processor_apart, answers_apart = timed(items_of(videos, apart=True), work)
            same = same and answers == answers_apart
            ratios.append(processor_apart / processor)
            print(
                f"round {number + 1}: {len(answers)} questions; wall {wall:.2f} s against "
                f"{wall_apart:.2f} s ({wall_apart / wall:.2f} times); processor {processor:.2f} s "
                f"against {processor_apart:.2f} s ({ratios[-1]:.2f} times)"
            )
    median = statistics.median(ratios)
    print(f"median {median:.2f} times (goal {GOAL}); answers {'the same' if same else 'DIFFER'}")
    return 0 if same and median >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
