"""Scenes drawn from seeds: the same seed gives the same scene. Knows no pixels and no words."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pplava_core.shapes.scene import (
    COLOURS,
    DIGITS,
    DIRECTIONS,
    FACES,
    KINDS,
    LARGEST_RADIUS,
    LETTERS,
    MARKED_KINDS,
    MARKED_RADIUS,
    MAX_BLINKS,
    MAX_THINGS,
    MOTIONS,
    SMALLEST_RADIUS,
    Scene,
    Thing,
    is_held_out,
)

_MOMENTS = np.linspace(0.0, 1.0, 9)
_CELL_MARGIN = 0.035


def draw_scene(
    seed: np.random.SeedSequence | int, *, all_still: bool = False, held_out: bool = False
) -> Scene:
    """Draw a scene of one to eight things, none of which hides another for long.

    Args:
        seed: the same seed gives the same scene.
        all_still: nothing moves, appears or vanishes: a scene fit for a still picture.
        held_out: the first thing is a combination that `is_held_out`; otherwise none is.
    """
    rng = np.random.default_rng(seed)
    aspect = float(np.round(np.exp(rng.uniform(np.log(0.6), np.log(1.9))), 3))
    wanted = int(rng.integers(1, MAX_THINGS + 1))
    # A narrow palette now and then makes several things share a colour or a kind.
    habits = _Habits(
        colours=_palette(rng, tuple(COLOURS)),
        kinds=_palette(rng, KINDS),
        moving_share=0.0 if all_still else float(rng.choice([0.2, 0.6, 0.9])),
        event_share=0.0 if all_still else float(rng.choice([0.0, 0.3, 0.6])),
        blink_share=0.0 if all_still else float(rng.choice([0.0, 0.0, 0.35])),
        mark_share=float(rng.choice([0.0, 0.4, 0.9])),
        largest=LARGEST_RADIUS if wanted <= 3 else 0.15 if wanted <= 5 else 0.11,
    )
    crossing = bool(rng.random() < 0.35)
    things: list[Thing] = []
    for _ in range(wanted * 30):
        thing = _draw_thing(rng, habits, held_out=held_out and not things)
        if all(_compatible(thing, other, aspect, crossing) for other in things):
            things.append(thing)
        if len(things) == wanted:
            break
    if not things:
        things.append(_draw_thing(rng, habits, held_out=held_out))
    return _filmed(rng, tuple(things), aspect, float(np.round(rng.uniform(2.0, 8.0), 2)), all_still)


def draw_redundant_scene(
    seed: np.random.SeedSequence | int, *, seconds: tuple[float, float] = (20.0, 120.0)
) -> Scene:
    """Draw a long scene of which little matters (section 3.1 of the paper).

    Two to five things stay in sight all the time. The first one or two things of the scene
    are what is worth asking for: either they are seen for three to six seconds only, longer
    in the longest films, or all the time but very small.

    Args:
        seed: the same seed gives the same scene.
        seconds: how long films last, at least and at most.
    """
    rng = np.random.default_rng(seed)
    aspect = float(np.round(np.exp(rng.uniform(np.log(0.75), np.log(1.8))), 3))
    duration = float(np.round(np.exp(rng.uniform(*np.log(seconds))), 1))
    colours, kinds = list(COLOURS), list(KINDS)
    brief = bool(rng.random() < 0.75)
    keys = 2 if brief and rng.random() < 0.4 else 1
    things: list[Thing] = []
    bystanders = int(rng.integers(2, 6))
    for _ in range(400):
        key = len(things) < keys
        habits = _Habits(
            colours=colours,
            kinds=kinds,
            moving_share=0.6 if key and brief else 0.0,
            event_share=0.0,
            blink_share=0.0,
            mark_share=0.3 if key and brief else 0.0,
            largest=0.15 if brief or not key else 0.06,
        )
        span = (0.0, 1.0)
        if key and brief:
            shown = max(float(rng.uniform(3.2, 6.0)), duration / 40)
            first = float(rng.uniform(0.02, 0.98 - shown / duration))
            span = (round(first, 4), round(first + shown / duration, 4))
        thing = _draw_thing(rng, habits, span=span)
        # What is asked for must not be confused with what is always there.
        if any(thing.phrase == other.phrase for other in things):
            continue
        if all(_compatible(thing, other, aspect, False) for other in things):
            things.append(thing)
        if len(things) == keys + bystanders:
            break
    return _filmed(rng, tuple(things), aspect, duration, False)


def key_things(scene: Scene) -> tuple[int, ...]:
    """Return the numbers of the things that a redundant scene is about."""
    brief = [n for n, thing in enumerate(scene.things) if thing.vanishes - thing.appears < 0.5]
    return tuple(brief) or (0,)


def all_apart(things: tuple[Thing, ...], aspect: float) -> bool:
    """Whether no two things hide each other in a picture of this aspect ratio."""
    return all(_apart(one, other, aspect, _MOMENTS) for one, other in combinations(things, 2))


@dataclass(frozen=True, kw_only=True)
class _Habits:
    """What the things of one scene have in common."""

    colours: list[str]
    kinds: list[str]
    moving_share: float
    event_share: float
    blink_share: float
    mark_share: float
    largest: float


def _palette(rng: np.random.Generator, names: tuple[str, ...]) -> list[str]:
    size = len(names) if rng.random() < 0.5 else int(rng.integers(1, 4))
    return [names[i] for i in rng.permutation(len(names))[:size]]


def _filmed(
    rng: np.random.Generator,
    things: tuple[Thing, ...],
    aspect: float,
    duration_seconds: float,
    all_still: bool,
) -> Scene:
    """Put a backdrop, a camera and light around things."""
    shake = pan_x = pan_y = flicker = 0.0
    camera = rng.random()
    if not all_still and camera < 0.2:
        shake = float(np.round(rng.uniform(0.004, 0.015), 4))
    elif not all_still and camera < 0.35:
        pan_x, pan_y = (float(v) for v in np.round(rng.uniform(-0.08, 0.08, 2), 4))
    if rng.random() < 0.3:
        flicker = float(np.round(rng.uniform(0.15, 0.45), 3))
    return Scene(
        things=things,
        aspect=aspect,
        duration_seconds=duration_seconds,
        backdrop_seed=int(rng.integers(2**31)),
        clutter=float(np.round(rng.uniform(0.0, 1.0), 3)),
        shake=shake,
        pan=(pan_x, pan_y),
        flicker=flicker,
        flicker_period=float(np.round(rng.uniform(0.3, 2.0), 3)),
    )


def _draw_thing(
    rng: np.random.Generator,
    habits: _Habits,
    *,
    held_out: bool = False,
    span: tuple[float, float] | None = None,
) -> Thing:
    colours, kinds = habits.colours, habits.kinds
    while True:
        colour = colours[int(rng.integers(len(colours)))]
        kind = kinds[int(rng.integers(len(kinds)))]
        moves = rng.random() < habits.moving_share
        motion = MOTIONS[int(rng.integers(1, 5))] if moves else "still"
        if held_out:
            colours, kinds = list(COLOURS), list(KINDS)
        if is_held_out(colour, kind, motion) == held_out:
            break
        # A scene of one colour and one kind may have nothing else to offer.
        if rng.random() < 0.2:
            colours, kinds = list(COLOURS), list(KINDS)
    shade = np.clip(COLOURS[colour] + rng.integers(-14, 15, 3), 0, 255)
    red, green, blue = (int(channel) for channel in shade)
    radius = float(np.exp(rng.uniform(np.log(SMALLEST_RADIUS), np.log(habits.largest))))
    mark = ""
    if kind in MARKED_KINDS and rng.random() < habits.mark_share and habits.largest >= 0.11:
        mark = _choose(rng, (FACES, FACES, DIGITS, LETTERS)[int(rng.integers(4))])
        radius = float(rng.uniform(MARKED_RADIUS, max(habits.largest, MARKED_RADIUS + 0.03)))
    appears, vanishes = span or (0.0, 1.0)
    blinks: tuple[tuple[float, float], ...] = ()
    if rng.random() < habits.event_share:
        appears, vanishes = _draw_event(rng)
    elif rng.random() < habits.blink_share:
        blinks = _draw_blinks(rng)
    start, stop = _draw_path(rng, motion, radius, vanishes - appears, brief=span is not None)
    return Thing(
        kind=kind,
        colour=colour,
        radius=round(radius, 4),
        shade=(red, green, blue),
        motion=motion,
        start=start,
        stop=stop,
        appears=appears,
        vanishes=vanishes,
        mark=mark,
        blinks=blinks,
    )


def _choose(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _draw_event(rng: np.random.Generator) -> tuple[float, float]:
    form = rng.random()
    appears = round(float(rng.uniform(0.12, 0.7)), 3) if form < 0.6 else 0.0
    vanishes = 1.0
    if form >= 0.4:
        vanishes = round(float(rng.uniform(max(0.3, appears + 0.2), 0.9)), 3)
    return appears, vanishes


def _draw_blinks(rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """Return stretches without light, each long enough to be met by sixteen frames."""
    count = int(rng.integers(1, MAX_BLINKS + 1))
    off = 0.13
    gaps = rng.dirichlet(np.ones(count + 1)) * (1.0 - count * off - (count + 1) * off)
    blinks, at = [], 0.0
    for gap in gaps[:count]:
        at += off + float(gap)
        blinks.append((round(at, 3), round(at + off, 3)))
        at += off
    return tuple(blinks)


def _draw_path(
    rng: np.random.Generator, motion: str, radius: float, visible_share: float, *, brief: bool
) -> tuple[tuple[float, float], tuple[float, float]]:
    low, high = min(radius, 0.45), max(1.0 - radius, 0.55)
    x, y = (_clear_of_borders(rng, low, high) for _ in range(2))
    dx, dy = DIRECTIONS[motion]
    travel = float(rng.uniform(0.28, 0.8))
    if not brief:
        # What is seen for a short while is not faster for it.
        travel *= max(visible_share, 0.45)
    travel = min(max(travel, 0.22), (high - low) * 0.98)
    if dx:
        x = float(rng.uniform(low, high - travel)) + (travel if dx < 0 else 0.0)
    if dy:
        y = float(rng.uniform(low, high - travel)) + (travel if dy < 0 else 0.0)
    stop = (x + dx * travel, y + dy * travel)
    return (round(x, 4), round(y, 4)), (round(stop[0], 4), round(stop[1], 4))


def _clear_of_borders(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a coordinate, mostly where the ninths of a picture do not meet."""
    for _ in range(3):
        value = float(rng.uniform(low, high))
        if min(abs(value - 1 / 3), abs(value - 2 / 3)) >= _CELL_MARGIN:
            break
    return value


def _compatible(one: Thing, other: Thing, aspect: float, crossing: bool) -> bool:
    if not crossing or one.motion == other.motion == "still":
        return _apart(one, other, aspect, _MOMENTS)
    # They may pass each other, but begin and end apart.
    ends = np.array([one.appears, one.vanishes, other.appears, other.vanishes])
    return _apart(one, other, aspect, ends)


def _apart(one: Thing, other: Thing, aspect: float, moments: np.ndarray) -> bool:
    across, down = (aspect, 1.0) if aspect >= 1.0 else (1.0, 1.0 / aspect)
    needed = 1.05 * (one.radius + other.radius)
    for moment in moments:
        (x0, y0), (x1, y1) = one.centre(moment), other.centre(moment)
        if ((x0 - x1) * across) ** 2 + ((y0 - y1) * down) ** 2 < needed**2:
            return False
    return True
