"""Scenes of moving shapes: what is where, when. Knows no pixels and no words.

A scene is drawn from a seed alone. Positions are fractions of the picture (x to the
right, y down), sizes are fractions of its shorter side, times are fractions of the
film, so that one scene can be filmed at any size, aspect ratio and frame rate.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "green": (48, 160, 62),
    "blue": (45, 82, 212),
    "yellow": (236, 216, 52),
    "orange": (242, 134, 28),
    "purple": (142, 52, 172),
    "cyan": (62, 206, 214),
    "white": (240, 240, 240),
}
KINDS = ("circle", "square", "triangle", "star", "cross", "ring")
MOTIONS = ("still", "left", "right", "up", "down")
DIRECTIONS = {"still": (0, 0), "left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
MAX_THINGS = 8
SMALLEST_RADIUS, LARGEST_RADIUS = 0.06, 0.14
SPLITS = {"train": 0, "validation": 1, "test": 2}
_MOMENTS = np.linspace(0.0, 1.0, 9)


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One shape and its path through the film."""

    kind: str
    colour: str
    radius: float
    "Fraction of the picture's shorter side."
    shade: tuple[int, int, int]
    "RGB actually painted: the named colour, a little off."
    motion: str
    start: tuple[float, float]
    "Centre at the film's first moment, fractions of width and height."
    stop: tuple[float, float]
    "Centre at the film's last moment."
    appears: float = 0.0
    "Fraction of the film at which it appears; 0 is from the start."
    vanishes: float = 1.0
    "Fraction of the film at which it is gone; 1 stays to the end."

    @property
    def phrase(self) -> str:
        """How a person would call it."""
        return f"{self.colour} {self.kind}"

    def centre(self, moment: float) -> tuple[float, float]:
        """Return the centre at a moment, a fraction of the film from 0 to 1."""
        (x0, y0), (x1, y1) = self.start, self.stop
        return x0 + (x1 - x0) * moment, y0 + (y1 - y0) * moment

    def visible(self, moment: float) -> bool:
        """Whether it is in the film at a moment."""
        return self.appears <= moment < self.vanishes or (moment >= 1.0 and self.vanishes >= 1.0)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything a film is made from."""

    things: tuple[Thing, ...]
    aspect: float
    "Width over height of the display."
    duration_seconds: float
    backdrop_seed: int
    clutter: float
    "0 is a plain background, 1 the busiest."

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values from which `from_dict` makes an equal scene."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scene:
        """Make the scene that `to_dict` wrote down."""
        things = tuple(Thing(**_with_tuples(thing)) for thing in values["things"])
        return cls(**{**values, "things": things})


def scene_seed(split: str, seed: int, number: int) -> np.random.SeedSequence:
    """Return the seed of scene `number` of a split; no two splits share one.

    Raises:
        KeyError: the split is none of `SPLITS`.
    """
    return np.random.SeedSequence([SPLITS[split], seed, number])


def draw_scene(seed: np.random.SeedSequence | int, *, all_still: bool = False) -> Scene:
    """Draw a scene of one to eight things that never hide each other.

    Args:
        seed: the same seed gives the same scene.
        all_still: nothing moves, appears or vanishes: a scene fit for a still picture.
    """
    rng = np.random.default_rng(seed)
    aspect = float(np.round(np.exp(rng.uniform(np.log(0.6), np.log(1.9))), 3))
    wanted = int(rng.integers(1, MAX_THINGS + 1))
    # A narrow palette now and then makes several things share a colour or a kind.
    colours = _palette(rng, tuple(COLOURS))
    kinds = _palette(rng, KINDS)
    moving_share = 0.0 if all_still else float(rng.choice([0.2, 0.6, 0.9]))
    event_share = 0.0 if all_still else float(rng.choice([0.0, 0.3, 0.6]))
    largest = LARGEST_RADIUS if wanted <= 5 else 0.11
    things: list[Thing] = []
    for _ in range(wanted * 30):
        thing = _draw_thing(rng, colours, kinds, moving_share, event_share, largest)
        if all(_apart(thing, other, aspect) for other in things):
            things.append(thing)
        if len(things) == wanted:
            break
    return Scene(
        things=tuple(things),
        aspect=aspect,
        duration_seconds=float(np.round(rng.uniform(2.0, 8.0), 2)),
        backdrop_seed=int(rng.integers(2**31)),
        clutter=float(np.round(rng.uniform(0.0, 1.0), 3)),
    )


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Undo what JSON does to tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _palette(rng: np.random.Generator, names: tuple[str, ...]) -> list[str]:
    size = len(names) if rng.random() < 0.5 else int(rng.integers(1, 4))
    return [names[i] for i in rng.permutation(len(names))[:size]]


def _draw_thing(
    rng: np.random.Generator,
    colours: list[str],
    kinds: list[str],
    moving_share: float,
    event_share: float,
    largest: float,
) -> Thing:
    colour = colours[int(rng.integers(len(colours)))]
    shade = np.clip(COLOURS[colour] + rng.integers(-14, 15, 3), 0, 255)
    red, green, blue = (int(channel) for channel in shade)
    radius = float(np.round(rng.uniform(SMALLEST_RADIUS, largest), 4))
    motion = MOTIONS[int(rng.integers(1, 5))] if rng.random() < moving_share else "still"
    appears, vanishes = 0.0, 1.0
    if rng.random() < event_share:
        if rng.random() < 0.5:
            appears = float(np.round(rng.uniform(0.12, 0.7), 3))
        else:
            vanishes = float(np.round(rng.uniform(0.3, 0.88), 3))
    start, stop = _draw_path(rng, motion, radius, vanishes - appears)
    return Thing(
        kind=kinds[int(rng.integers(len(kinds)))],
        colour=colour,
        radius=radius,
        shade=(red, green, blue),
        motion=motion,
        start=start,
        stop=stop,
        appears=appears,
        vanishes=vanishes,
    )


def _draw_path(
    rng: np.random.Generator, motion: str, radius: float, visible_share: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    low, high = radius, 1.0 - radius
    x, y = (float(v) for v in rng.uniform(low, high, 2))
    dx, dy = DIRECTIONS[motion]
    # Far enough to be seen while it is visible, not so far that it leaves the picture.
    travel = float(rng.uniform(0.28, 0.7)) / max(visible_share, 0.45)
    travel = min(travel, (high - low) * 0.98)
    if dx:
        x = (
            float(rng.uniform(low, high - travel))
            if dx > 0
            else float(rng.uniform(low + travel, high))
        )
    if dy:
        y = (
            float(rng.uniform(low, high - travel))
            if dy > 0
            else float(rng.uniform(low + travel, high))
        )
    stop = (x + dx * travel, y + dy * travel)
    return (round(x, 4), round(y, 4)), (round(stop[0], 4), round(stop[1], 4))


def all_apart(things: tuple[Thing, ...], aspect: float) -> bool:
    """Whether no two things hide each other in a picture of this aspect ratio."""
    return all(_apart(one, other, aspect) for one, other in combinations(things, 2))


def _apart(one: Thing, other: Thing, aspect: float) -> bool:
    across, down = (aspect, 1.0) if aspect >= 1.0 else (1.0, 1.0 / aspect)
    needed = 1.05 * (one.radius + other.radius)
    for moment in _MOMENTS:
        (x0, y0), (x1, y1) = one.centre(moment), other.centre(moment)
        if ((x0 - x1) * across) ** 2 + ((y0 - y1) * down) ** 2 < needed**2:
            return False
    return True
