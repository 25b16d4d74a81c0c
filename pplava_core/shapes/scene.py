"""Scenes of moving shapes: what is where, when. Knows no pixels and no words.

How scenes are drawn is in `drawing`. Positions are fractions of the picture (x to the
right, y down), sizes are fractions of its shorter side, times are fractions of the
film, so that one scene can be filmed at any size, aspect ratio and frame rate.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

WORLD = 2
"Counts up whenever the same seed gives another scene or other pixels."
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
FACES = ("smile", "frown")
DIGITS = tuple("123456789")
LETTERS = tuple("ACEFHKLPTX")
MARKS = (*FACES, *DIGITS, *LETTERS)
MARKED_KINDS = ("circle", "square")
"Kinds with room for a face, a digit or a letter."
MAX_THINGS, MAX_BLINKS = 8, 3
SMALLEST_RADIUS, LARGEST_RADIUS, MARKED_RADIUS = 0.045, 0.2, 0.13
SPLITS = {"train": 0, "validation": 1, "test": 2}
_SHAKE_KNOTS = 24


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
    "Centre when it appears, fractions of width and height."
    stop: tuple[float, float]
    "Centre when it vanishes or the film ends."
    appears: float = 0.0
    "Fraction of the film at which it appears; 0 is from the start."
    vanishes: float = 1.0
    "Fraction of the film at which it is gone; 1 stays to the end."
    mark: str = ""
    "What is drawn on it: one of `FACES`, `DIGITS`, `LETTERS`, or nothing."
    blinks: tuple[tuple[float, float], ...] = ()
    "Stretches ``[from, to)`` of the film in which it is switched off."

    @property
    def phrase(self) -> str:
        """How a person would call it."""
        return f"{self.colour} {self.kind}"

    @property
    def speed(self) -> float:
        """Way covered in one film's length, in fractions of the picture."""
        (x0, y0), (x1, y1) = self.start, self.stop
        return (abs(x1 - x0) + abs(y1 - y0)) / (self.vanishes - self.appears)

    def centre(self, moment: float) -> tuple[float, float]:
        """Return the centre at a moment, a fraction of the film from 0 to 1."""
        share = (moment - self.appears) / (self.vanishes - self.appears)
        share = min(max(share, 0.0), 1.0)
        (x0, y0), (x1, y1) = self.start, self.stop
        return x0 + (x1 - x0) * share, y0 + (y1 - y0) * share

    def present(self, moment: float) -> bool:
        """Whether it has appeared and not yet vanished, switched off by a blink or not."""
        return self.appears <= moment < self.vanishes or (moment >= 1.0 and self.vanishes >= 1.0)

    def visible(self, moment: float) -> bool:
        """Whether it can be seen at a moment, unless another thing hides it."""
        return self.present(moment) and not any(on <= moment < off for on, off in self.blinks)


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
    shake: float = 0.0
    "How far the camera trembles, a fraction of the picture."
    pan: tuple[float, float] = (0.0, 0.0)
    "How far the picture slides to the right and down from the film's first moment to its last."
    flicker: float = 0.0
    "By how much the light falls and rises again: 0.3 is down to 70 % and back."
    flicker_period: float = 1.0
    "Fraction of the film that one fall and rise takes."

    @property
    def most_alike(self) -> int:
        """How many things have the commonest colour, or the commonest kind."""
        named = [(thing.colour, thing.kind) for thing in self.things]
        return max(max(Counter(names).values()) for names in zip(*named, strict=True))

    def camera(self, moment: float) -> tuple[float, float]:
        """Return by how much everything is shifted at a moment, fractions of the picture."""
        x, y = (self.pan[axis] * (moment - 0.5) for axis in (0, 1))
        if self.shake:
            knots = _tremor(self.backdrop_seed)
            place = moment * (_SHAKE_KNOTS - 1)
            lower = min(int(place), _SHAKE_KNOTS - 2)
            share = place - lower
            x += self.shake * float(knots[lower, 0] * (1 - share) + knots[lower + 1, 0] * share)
            y += self.shake * float(knots[lower, 1] * (1 - share) + knots[lower + 1, 1] * share)
        return x, y

    def light(self, moment: float) -> float:
        """Return the brightness at a moment, 1 is full: a triangular wave."""
        phase = moment / self.flicker_period
        phase -= int(phase)
        return 1.0 - self.flicker * (1.0 - abs(2.0 * phase - 1.0))

    def place(self, thing: Thing, moment: float) -> tuple[float, float]:
        """Return where the picture shows a thing's centre at a moment."""
        (x, y), (across, down) = thing.centre(moment), self.camera(moment)
        return x + across, y + down

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values from which `from_dict` makes an equal scene."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scene:
        """Make the scene that `to_dict` wrote down."""
        things = tuple(Thing(**_with_tuples(thing)) for thing in values["things"])
        return cls(**{**_with_tuples(values), "things": things})


def scene_seed(split: str, seed: int, number: int) -> np.random.SeedSequence:
    """Return the seed of scene `number` of a split; no two splits share one.

    Raises:
        KeyError: the split is none of `SPLITS`.
    """
    return np.random.SeedSequence([SPLITS[split], seed, number])


def is_held_out(colour: str, kind: str, motion: str) -> bool:
    """Whether training never shows this combination: one in eight, of every colour and kind."""
    number = list(COLOURS).index(colour) + 3 * KINDS.index(kind) + 5 * MOTIONS.index(motion)
    return number % 8 == 0


@lru_cache(maxsize=256)
def _tremor(seed: int) -> np.ndarray:
    knots: np.ndarray = np.random.default_rng([seed, 5]).uniform(-1.0, 1.0, (_SHAKE_KNOTS, 2))
    return knots


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Undo what JSON does to tuples."""
    return {k: _as_tuple(v) for k, v in values.items()}


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list | tuple) else value
