"""How fast the rendered world is made: scenes drawn, questions asked and films rendered.

    python benchmarks/rendering.py [--scenes 60] [--rounds 5] [--size 96]

Each round draws the same scenes, asks one question of every type about each, renders 16
square frames of each and films each as training does, a quarter of them through an encoder.
Processor time counts, in one thread, since other work on the machine does not move it. Prints
the median and the spread of each step's rate, and its time for one film as a multiple of the
time that rendering takes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from pplava_core.shapes.drawing import draw_scene
from pplava_core.shapes.film import film_for_training
from pplava_core.shapes.questions import TYPES, ask
from pplava_core.shapes.render import render
from pplava_core.shapes.scene import Scene, scene_seed

FRAMES = 16
MOMENTS = [(index + 0.5) / FRAMES for index in range(FRAMES)]
GRID = (8, 8)
CODEC_SHARE = 0.25


def draw(count: int) -> list[Scene]:
    return [draw_scene(scene_seed("train", 0, number)) for number in range(count)]


def ask_all(scenes: Sequence[Scene]) -> int:
    """Ask one question of every type about each scene; return how many there were."""
    asked = [ask(scene, np.random.default_rng(n), TYPES) for n, scene in enumerate(scenes)]
    return sum(map(len, asked))


def render_all(scenes: Sequence[Scene], size: int) -> int:
    for scene in scenes:
        render(scene, MOMENTS, height=size, width=size)
    return len(scenes)


def film_all(scenes: Sequence[Scene], size: int) -> int:
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng(number)
        film_for_training(scene, MOMENTS, rng, size=size, grid=GRID, codec_share=CODEC_SHARE)
    return len(scenes)


def timed(step: Callable[[], int]) -> tuple[int, float]:
    """Return what a step made and its processor seconds."""
    start = time.process_time()
    made = step()
    return made, time.process_time() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=96, help="side of a frame in pixels")
    arguments = parser.parse_args()
    scenes = draw(arguments.scenes)
    steps: dict[str, Callable[[], int]] = {
        "scenes drawn": lambda: len(draw(arguments.scenes)),
        "questions asked": lambda: ask_all(scenes),
        "films rendered": lambda: render_all(scenes, arguments.size),
        "films for training": lambda: film_all(scenes, arguments.size),
    }
    for step in steps.values():
        step()
    made: dict[str, int] = {}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.rounds):
        for name, step in steps.items():
            made[name], taken = timed(step)
            seconds[name].append(taken)
    rendering = statistics.median(seconds["films rendered"])
    for name, times in seconds.items():
        rates = [made[name] / taken for taken in times]
        spread = f"{min(rates):.0f} to {max(rates):.0f}"
        share = statistics.median(times) / rendering
        print(
            f"{statistics.median(rates):8.0f} a second  {name:18} "
            f"({spread}; {share:.2f} times as long as rendering the films)"
        )
    print(f"{arguments.scenes} scenes, films of {FRAMES} frames, {arguments.size} pixels square")
    return 0


if __name__ == "__main__":
    sys.exit(main())
