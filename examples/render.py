"""Render the film of the README again: scene 436 of the test split, which training never saw.

python examples/render.py
"""

import dataclasses
from pathlib import Path

from pplava_core.shapes.dataset import plan_film, write_film

SCENE = 436


def main() -> None:
    """Write `shapes.mp4` beside this file."""
    film = plan_film("test", 0, SCENE)
    width = 640
    height = 2 * round(width / film.scene.aspect / 2)
    film = dataclasses.replace(film, height=height, width=width, fps=24.0, crf=28)
    write_film(film, Path(__file__).with_name("shapes.mp4"))


if __name__ == "__main__":
    main()
