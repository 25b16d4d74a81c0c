"""What is true of a thing in a scene, as answers say it; None where a question would be unfair."""

from __future__ import annotations

from collections.abc import Callable

from pplava_core.shapes.asking import is_clear
from pplava_core.shapes.descriptions import cell_words
from pplava_core.shapes.scene import Scene, Thing

STEP_SECONDS = 0.5
"Moments and durations are told in steps of this."
STAYS = "it stays still"
_CELL_MARGIN = 0.035


def cell_name(x: float, y: float) -> str | None:
    """Name the ninth of the picture around a point, or None too close to a border of two."""
    for value in (x, y):
        if min(abs(value - 1 / 3), abs(value - 2 / 3)) < _CELL_MARGIN:
            return None
    return cell_words(x, y)


def in_steps(seconds: float) -> str:
    """Tell a time or a length of time as answers do."""
    steps = round(seconds / STEP_SECONDS) * STEP_SECONDS
    return f"{steps:.1f} seconds"


def _colour_of(scene: Scene, thing: Thing) -> str:
    return thing.colour


def _kind_of(scene: Scene, thing: Thing) -> str | None:
    return thing.kind if is_clear(scene, thing) else None


def _place_of(scene: Scene, thing: Thing) -> str | None:
    still = thing.motion == "still" and scene.pan == (0.0, 0.0)
    return cell_name(*thing.start) if still else None


def _direction_of(scene: Scene, thing: Thing) -> str:
    return STAYS if thing.motion == "still" else thing.motion


def _fate_of(scene: Scene, thing: Thing) -> str:
    return "yes" if thing.vanishes < 1.0 else "no"


def _blinks_of(scene: Scene, thing: Thing) -> str | None:
    # What comes or goes might be taken for blinking.
    whole = thing.appears == 0.0 and thing.vanishes == 1.0
    return str(len(thing.blinks)) if whole else None


def _appearance_of(scene: Scene, thing: Thing) -> str | None:
    seconds = thing.appears * scene.duration_seconds
    # What comes a moment after the beginning is there from the beginning, as far as one can tell.
    return in_steps(seconds) if seconds > STEP_SECONDS / 2 else None


def _vanishing_of(scene: Scene, thing: Thing) -> str | None:
    return in_steps(thing.vanishes * scene.duration_seconds) if thing.vanishes < 1 else None


def _length_of(scene: Scene, thing: Thing) -> str | None:
    if thing.blinks:
        return None
    return in_steps((thing.vanishes - thing.appears) * scene.duration_seconds)


ANSWERS: dict[str, Callable[[Scene, Thing], str | None]] = {
    "colour": _colour_of,
    "kind": _kind_of,
    "position": _place_of,
    "motion": _direction_of,
    "event": _fate_of,
    "blink": _blinks_of,
    "when": _appearance_of,
    "vanishes": _vanishing_of,
    "duration": _length_of,
}


def side_of(across: float, down: float) -> str | None:
    """Name the side by which a thing lies, None where two would do."""
    if max(abs(across), abs(down)) < 0.15:
        return None
    if abs(across) > 2 * abs(down):
        return "left" if across < 0 else "right"
    if abs(down) > 2 * abs(across):
        return "above" if down < 0 else "below"
    return None


def is_faster(one: Thing, other: Thing, aspect: float) -> bool:
    """Whether one moving thing is clearly faster than another in a picture so wide."""
    speeds = [
        thing.speed * (aspect if thing.motion in ("left", "right") else 1.0)
        for thing in (one, other)
    ]
    return other.motion != "still" and speeds[0] >= 1.6 * speeds[1]
