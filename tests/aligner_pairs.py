"""Pictures of shapes with captions, and recipes that align a tiny base model with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 80, 230), "white": (250,) * 3}
KINDS = ("square", "bar", "column", "frame")
NAMES = tuple((kind, colour) for kind in KINDS for colour in COLOURS)


def draw(kind: str, colour: str, rng: np.random.Generator, size: int = 64) -> np.ndarray:
    """Draw a shape somewhere on a dark picture, whose every other pixel is below 30."""
    picture = rng.integers(0, 25, (size, size, 3), dtype=np.uint8)
    top, left = rng.integers(2, size // 2, 2)
    high = {"bar": 8, "column": 30}.get(kind, 22)
    wide = {"bar": 30, "column": 8}.get(kind, 22)
    picture[top : top + high, left : left + wide] = COLOURS[colour]
    if kind == "frame":
        picture[top + 5 : top + high - 5, left + 5 : left + wide - 5] = 10
    return picture


def write_pairs(folder: Path, count: int) -> Path:
    """Write pictures and the JSON Lines file that says what they show."""
    folder.mkdir()
    rng, lines = np.random.default_rng(0), []
    for number in range(count):
        kind, colour = NAMES[int(rng.integers(len(NAMES)))]
        Image.fromarray(draw(kind, colour, rng)).save(folder / f"{number}.png")
        lines.append({"path": f"{number}.png", "text": f"a {colour} {kind}"})
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_align_recipe(
    path: Path, *, base: Path, clip: Path, pairs: Path, steps: int, top: str = "", data: str = ""
) -> Path:
    """Write a recipe of the stage align_base, with lines added to its top and to its [data]."""
    path.write_text(
        f'stage = "align_base"\noutput = "{path.parent / "run"}"\ninitial = "{base}"\n'
        f'text_tower = "{clip}"\nseed = 5\nsteps = {steps}\nlog_every = 1\n'
        f"save_every = {max(steps // 2, 1)}\nevaluate_every = {steps}\n{top}\n"
        "[optimiser]\nlearning_rate = 3e-2\nwarmup_steps = 10\n"
        f'[data]\nsource = "pairs"\npath = "{pairs}"\nclips_per_step = 16\n'
        f"frames_per_clip = 2\npatches_per_clip = 48\n{data}\n"
    )
    return path
