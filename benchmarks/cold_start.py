"""How long a stranger waits for the first answer, against importing the libraries alone.

    python benchmarks/cold_start.py [--clip CLIP.mp4] [--runs 7]

Two processes alternate, so that a busy machine slows both alike: `pplava ask` with nano
about a film of 16 frames, with an empty feature cache each time, and a bare
``import torch; from transformers import LlamaForCausalLM``. One run of each, not counted,
warms the disk. Prints the median wall time of both and their ratio; the goal is 1.6.
The exit code is 1 where the goal is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOAL = 1.6
QUESTION = "how many objects are there?"
IMPORTS_ALONE = [sys.executable, "-c", "import torch; from transformers import LlamaForCausalLM"]


def write_clip(path: Path) -> None:
    """Write a rendered film of 16 frames; in a process of its own, to leave this one light."""
    script = (
        "import sys; from pathlib import Path; "
        "from pplava_core.shapes.film import encode_mp4; "
        "from pplava_core.shapes.render import render; "
        "from pplava_core.shapes.scene import draw_scene; "
        "frames, _ = render(draw_scene(5), [i / 15 for i in range(16)], height=240, width=320); "
        "encode_mp4(frames, Path(sys.argv[1]), fps=8)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def ask(clip: Path) -> list[str]:
    return [sys.executable, "-m", "pplava_cli", "ask", str(clip), QUESTION]


def wall_seconds(command: list[str]) -> float:
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"PPLAVA_CACHE_DIR": cache}
        start = time.perf_counter()
        subprocess.run(command, check=True, env=environment, capture_output=True)
        return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, help="a film of 16 frames; one is rendered otherwise")
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = arguments.clip
        if clip is None:
            clip = Path(folder) / "clip.mp4"
            write_clip(clip)
        commands = {"imports alone": IMPORTS_ALONE, "pplava ask": ask(clip)}
        for command in commands.values():
            wall_seconds(command)
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(arguments.runs):
            for name, command in commands.items():
                seconds[name].append(wall_seconds(command))
    for name, times in seconds.items():
        spread = f"{min(times):.2f} to {max(times):.2f}"
        print(f"{statistics.median(times):6.2f} s  {name:14} ({spread}, {len(times)} runs)")
    imports, answer = (statistics.median(times) for times in seconds.values())
    print(f"ratio {answer / imports:.2f}, goal {GOAL}")
    return int(answer / imports > GOAL)


if __name__ == "__main__":
    sys.exit(main())
