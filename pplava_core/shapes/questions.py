"""Questions about a scene, with the one right answer to each.

Everything is read off the scene, never off pixels. For every type the answer is chosen
first, evenly among those the scene allows, and a question that has it second: without
that, one answer would be right most of the time and accuracy would mean little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pplava_core.shapes.scene import COLOURS, KINDS, Scene, Thing

STATIC_TYPES = ("count", "count_colour", "count_kind", "colour", "kind", "position", "presence")
MOVING_TYPES = ("motion", "order", "event")
TYPES = (*STATIC_TYPES, *MOVING_TYPES, "choice", "caption")
DETAILS = ("short", "normal", "long")
_CELL_MARGIN = 0.035
_COLUMNS, _ROWS = ("left", "", "right"), ("top", "", "bottom")

_WORDINGS: dict[str, tuple[str, ...]] = {
    "count": (
        "how many objects are there?",
        "how many objects?",
        "how many shapes are there in total?",
        "how many things can you see?",
        "count the objects.",
        "how many different objects appear in the video?",
    ),
    "count_colour": (
        "how many {0} objects are there?",
        "how many {0} shapes can you see?",
        "how many objects are {0}?",
        "count the {0} things.",
        "how many {0} ones are there?",
    ),
    "count_kind": (
        "how many {0}s are there?",
        "how many {0}s can you see?",
        "count the {0}s.",
        "what is the number of {0}s?",
    ),
    "colour": (
        "what colour is {0}?",
        "what color is {0}?",
        "which colour does {0} have?",
        "tell me the colour of {0}.",
    ),
    "kind": (
        "what shape is {0}?",
        "what kind of shape is {0}?",
        "which shape does {0} have?",
        "what is {0}?",
    ),
    "position": (
        "where is {0}?",
        "in which part of the picture is {0}?",
        "where can {0} be found?",
        "where do you see {0}?",
    ),
    "presence": (
        "is there a {0}?",
        "is there a {0} in the video?",
        "can you see a {0}?",
        "does a {0} appear?",
        "do you see any {0}?",
    ),
    "motion": (
        "which way does {0} move?",
        "in which direction does {0} go?",
        "where is {0} moving?",
        "how does {0} move?",
    ),
    "order": (
        "which appears first, {0} or {1}?",
        "what comes first, {0} or {1}?",
        "which is seen first, {0} or {1}?",
    ),
    "event": (
        "does {0} vanish before the end?",
        "does {0} disappear?",
        "is {0} gone at the end?",
    ),
    "caption_short": (
        "describe the video briefly.",
        "describe the video in a few words.",
        "what is in the video?",
    ),
    "caption_normal": (
        "describe the video.",
        "what happens in the video?",
        "describe what you see.",
    ),
    "caption_long": (
        "describe the video in detail.",
        "give a long description of the video.",
        "describe everything that happens in the video.",
    ),
}
_LEAD_INS = (
    "please answer: ",
    "look closely at the video. ",
    "i have a question about this clip: ",
    "watch the whole video carefully, then tell me, ",
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question about one scene."""

    type: str
    "One of `TYPES`."
    text: str
    answer: str
    targets: tuple[int, ...]
    "Numbers of the things that the question is about; empty when nothing in the scene is."
    named: bool
    "Whether it names things to be found, as against asking about all of them."


def ask(scene: Scene, rng: np.random.Generator, types: Sequence[str]) -> list[Question]:
    """Return one question of each given type that the scene allows, answers chosen evenly."""
    questions = []
    for name in types:
        candidates = _CANDIDATES[name](scene, rng)
        if candidates:
            questions.append(_pick_evenly(candidates, rng))
    return questions


def with_lead_in(question: str, rng: np.random.Generator) -> str:
    """Put a polite phrase before a question, as people do."""
    return _LEAD_INS[int(rng.integers(len(_LEAD_INS)))] + question


def caption(scene: Scene, detail: str) -> str:
    """Describe a scene from left to right: what, and with more detail also where and whither.

    Raises:
        KeyError: the detail is none of `DETAILS`.
    """
    describe = {"short": _name, "normal": _name_and_motion, "long": _sentence}[detail]
    parts = [describe(scene.things[number]) for number in _left_to_right(scene)]
    if detail == "long":
        return f"there {_are(len(parts))}. {' '.join(parts)}"
    return f"{_objects(len(parts))}: {_join(parts)}."


def caption_wordings(detail: str) -> tuple[str, ...]:
    """Return the ways in which training asked for a description of this detail."""
    return _WORDINGS[f"caption_{detail}"]


def cell_name(x: float, y: float) -> str | None:
    """Name the ninth of the picture around a point, or None too close to a border of two."""
    for value in (x, y):
        if min(abs(value - 1 / 3), abs(value - 2 / 3)) < _CELL_MARGIN:
            return None
    words = (_ROWS[min(int(y * 3), 2)], _COLUMNS[min(int(x * 3), 2)])
    return " ".join(word for word in words if word) or "centre"


def _pick_evenly(candidates: Sequence[Question], rng: np.random.Generator) -> Question:
    answers = sorted({candidate.answer for candidate in candidates})
    answer = answers[int(rng.integers(len(answers)))]
    matching = [candidate for candidate in candidates if candidate.answer == answer]
    return matching[int(rng.integers(len(matching)))]


def _word(name: str, rng: np.random.Generator, *parts: str) -> str:
    wordings = _WORDINGS[name]
    return wordings[int(rng.integers(len(wordings)))].format(*parts)


def _references(scene: Scene, number: int) -> list[str]:
    """Return the ways to point at one thing and no other."""
    thing = scene.things[number]
    colours = Counter(other.colour for other in scene.things)
    kinds = Counter(other.kind for other in scene.things)
    phrases = Counter(other.phrase for other in scene.things)
    ways = []
    if phrases[thing.phrase] == 1:
        ways.append(f"the {thing.phrase}")
    if colours[thing.colour] == 1:
        ways += [f"the {thing.colour} object", f"the {thing.colour} shape"]
    if kinds[thing.kind] == 1:
        ways.append(f"the {thing.kind}")
    return ways


def _pointing(
    name: str, scene: Scene, rng: np.random.Generator, answer_of: Callable[[Thing], str | None]
) -> list[Question]:
    """Return questions about single things: any way to point at it that hides no answer."""
    questions = []
    for number, thing in enumerate(scene.things):
        answer = answer_of(thing)
        ways = [way for way in _references(scene, number) if answer and answer not in way.split()]
        if answer and ways:
            way = ways[int(rng.integers(len(ways)))]
            text = _word(name, rng, way)
            questions.append(_make(name, text, answer, (number,), named=True))
    return questions


def _make(name: str, text: str, answer: str, targets: Iterable[int], *, named: bool) -> Question:
    return Question(type=name, text=text, answer=answer, targets=tuple(targets), named=named)


def _everything(scene: Scene) -> tuple[int, ...]:
    return tuple(range(len(scene.things)))


def _count(scene: Scene, rng: np.random.Generator) -> list[Question]:
    answer = str(len(scene.things))
    return [_make("count", _word("count", rng), answer, _everything(scene), named=False)]


def _count_by(
    name: str, attribute: str, values: Iterable[str], scene: Scene, rng: np.random.Generator
) -> list[Question]:
    questions = []
    for value in values:
        owners = [n for n, thing in enumerate(scene.things) if getattr(thing, attribute) == value]
        text = _word(name, rng, _plural_stem(value))
        questions.append(_make(name, text, str(len(owners)), owners, named=True))
    return questions


def _count_colour(scene: Scene, rng: np.random.Generator) -> list[Question]:
    return _count_by("count_colour", "colour", COLOURS, scene, rng)


def _count_kind(scene: Scene, rng: np.random.Generator) -> list[Question]:
    return _count_by("count_kind", "kind", KINDS, scene, rng)


def _plural_stem(word: str) -> str:
    return "crosse" if word == "cross" else word


def _colour(scene: Scene, rng: np.random.Generator) -> list[Question]:
    return _pointing("colour", scene, rng, lambda thing: thing.colour)


def _kind(scene: Scene, rng: np.random.Generator) -> list[Question]:
    return _pointing("kind", scene, rng, lambda thing: thing.kind)


def _position(scene: Scene, rng: np.random.Generator) -> list[Question]:
    def place(thing: Thing) -> str | None:
        return cell_name(*thing.start) if thing.motion == "still" else None

    return _pointing("position", scene, rng, place)


def _motion(scene: Scene, rng: np.random.Generator) -> list[Question]:
    def direction(thing: Thing) -> str:
        return "it stays still" if thing.motion == "still" else thing.motion

    return _pointing("motion", scene, rng, direction)


def _event(scene: Scene, rng: np.random.Generator) -> list[Question]:
    return _pointing("event", scene, rng, lambda thing: "yes" if thing.vanishes < 1.0 else "no")


def _presence(scene: Scene, rng: np.random.Generator) -> list[Question]:
    present = {thing.phrase for thing in scene.things}
    colours = [thing.colour for thing in scene.things]
    kinds = [thing.kind for thing in scene.things]
    questions = []
    for number, thing in enumerate(scene.things):
        owners = [n for n, other in enumerate(scene.things) if other.phrase == thing.phrase]
        if number == owners[0]:
            questions.append(_presence_question(thing.phrase, "yes", owners, rng))
        # The absent one shares its colour or its shape with something that is there.
        near = (
            f"{thing.colour} {_choose(KINDS, rng)}",
            f"{_choose(list(COLOURS), rng)} {thing.kind}",
            f"{_choose(colours, rng)} {_choose(kinds, rng)}",
        )
        absent = [phrase for phrase in near if phrase not in present]
        if absent:
            questions.append(_presence_question(_choose(absent, rng), "no", (), rng))
    return questions


def _presence_question(
    phrase: str, answer: str, targets: Iterable[int], rng: np.random.Generator
) -> Question:
    text = _word("presence", rng, phrase).replace(" a orange", " an orange")
    return _make("presence", text, answer, targets, named=True)


def _choose(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _order(scene: Scene, rng: np.random.Generator) -> list[Question]:
    questions = []
    for first, one in enumerate(scene.things):
        for second, other in enumerate(scene.things):
            ways, other_ways = _references(scene, first), _references(scene, second)
            if other.appears - one.appears < 0.12 or not ways or not other_ways:
                continue
            names = [ways[0], other_ways[0]]
            swapped = rng.random() < 0.5
            text = _word("order", rng, *(names[::-1] if swapped else names))
            questions.append(_make("order", text, names[0], (first, second), named=True))
    # Evenly over the pairs, not over the answers: each is right in about as many films.
    return [questions[int(rng.integers(len(questions)))]] if questions else []


def _choice(scene: Scene, rng: np.random.Generator) -> list[Question]:
    asked = _choose(("colour", "kind", "count"), rng)
    candidates = _CANDIDATES[asked](scene, rng)
    if not candidates:
        return []
    question = _pick_evenly(candidates, rng)
    others = {"colour": tuple(COLOURS), "kind": KINDS, "count": tuple("12345678")}[asked]
    wrong = [option for option in others if option != question.answer]
    options = [wrong[i] for i in rng.permutation(len(wrong))[:3]]
    right = int(rng.integers(4))
    options.insert(right, question.answer)
    form = _choose(("({}) {}", "{}. {}"), rng)
    listed = " ".join(form.format("ABCD"[i], option) for i, option in enumerate(options))
    text = f"{question.text} {listed}"
    return [_make("choice", text, "ABCD"[right], question.targets, named=question.named)]


def _caption(scene: Scene, rng: np.random.Generator) -> list[Question]:
    detail = _choose(DETAILS, rng)
    text = _word(f"caption_{detail}", rng)
    return [_make("caption", text, caption(scene, detail), _everything(scene), named=False)]


def _left_to_right(scene: Scene) -> list[int]:
    def first_place(number: int) -> tuple[float, float]:
        thing = scene.things[number]
        return thing.centre(thing.appears)

    return sorted(_everything(scene), key=first_place)


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count} objects"


def _are(count: int) -> str:
    return f"{'is' if count == 1 else 'are'} {_objects(count)}"


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _name(thing: Thing) -> str:
    article = "an" if thing.colour[0] in "aeiou" else "a"
    return f"{article} {thing.phrase}"


def _name_and_motion(thing: Thing) -> str:
    if thing.motion == "still":
        return f"{_name(thing)} at the {_rough_cell(thing)}"
    return f"{_name(thing)} moving {thing.motion}"


def _sentence(thing: Thing) -> str:
    action = "stays" if thing.motion == "still" else f"moves {thing.motion} from"
    words = f"{_name(thing)} {action} at the {_rough_cell(thing)}".replace("from at", "from")
    if thing.appears > 0.0:
        words += " after appearing late"
    if thing.vanishes < 1.0:
        words += " and vanishes"
    return words + "."


def _rough_cell(thing: Thing) -> str:
    x, y = thing.centre(thing.appears)
    words = (_ROWS[min(int(y * 3), 2)], _COLUMNS[min(int(x * 3), 2)])
    return " ".join(word for word in words if word) or "centre"


_CANDIDATES: dict[str, Callable[[Scene, np.random.Generator], list[Question]]] = {
    "count": _count,
    "count_colour": _count_colour,
    "count_kind": _count_kind,
    "colour": _colour,
    "kind": _kind,
    "position": _position,
    "presence": _presence,
    "motion": _motion,
    "order": _order,
    "event": _event,
    "choice": _choice,
    "caption": _caption,
}
