"""Descriptions of scenes, thing by thing."""

from __future__ import annotations

from collections.abc import Sequence

from pplava_core.shapes.scene import COLOURS, KINDS, Scene, Thing

DETAILS = ("short", "normal", "long")
_COLOURS = tuple(COLOURS)
COLUMNS, ROWS = ("left", "", "right"), ("top", "", "bottom")


def caption(scene: Scene, detail: str) -> str:
    """Describe a scene in `telling_order`: what, and in more detail where, whither and when.

    Args:
        scene: what is described.
        detail: one of `DETAILS`.

    Raises:
        KeyError: the detail is none of `DETAILS`.
    """
    describe = {"short": _name, "normal": _name_and_motion, "long": _sentence}[detail]
    parts = [describe(scene.things[number]) for number in telling_order(scene)]
    if detail == "long":
        return f"there {_are(len(parts))}. {' '.join(parts)}"
    return f"{_objects(len(parts))}: {_join(parts)}."


def telling_order(scene: Scene) -> list[int]:
    """Return the things' numbers by colour, then by kind, those alike from left to right."""
    keys = [(_COLOURS.index(one.colour), KINDS.index(one.kind), *one.start) for one in scene.things]
    return sorted(range(len(keys)), key=keys.__getitem__)


def cell_words(x: float, y: float) -> str:
    """Name the ninth of the picture around a point."""
    words = (ROWS[_third(y)], COLUMNS[_third(x)])
    return " ".join(word for word in words if word) or "centre"


def _third(value: float) -> int:
    return min(max(int(value * 3), 0), 2)


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count} objects"


def _are(count: int) -> str:
    return f"{'is' if count == 1 else 'are'} {_objects(count)}"


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _name(thing: Thing) -> str:
    return _with_article(thing.phrase)


def _with_article(words: str) -> str:
    """Put "a" or "an" before a word or, as it is read aloud, a letter."""
    sounds_open = words[0] in ("aefhlx" if len(words) == 1 else "aeiou") or words == "8"
    return f"{'an' if sounds_open else 'a'} {words}"


def _name_and_motion(thing: Thing) -> str:
    if thing.motion == "still":
        return f"{_name(thing)} at the {cell_words(*thing.start)}"
    return f"{_name(thing)} moving {thing.motion}"


def _sentence(thing: Thing) -> str:
    action = "stays" if thing.motion == "still" else f"moves {thing.motion} from"
    words = f"{_name(thing)} {action} at the {cell_words(*thing.start)}".replace("from at", "from")
    if thing.mark:
        words += f" with {_with_article(thing.mark.lower())} on it"
    if thing.appears > 0.0:
        words += " after appearing late"
    if thing.vanishes < 1.0:
        words += " and vanishes"
    return words + "."
