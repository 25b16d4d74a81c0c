"""Questions about a scene, with the one right answer to each.

Everything is read off the scene, never off pixels. For every type the answer is chosen
first, evenly among those the scene allows, and a question that has it second: without
that, one answer would be right most of the time and accuracy would mean little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np

from pplava_core.shapes.asking import NOTHING, Asker, Question, is_clear
from pplava_core.shapes.descriptions import DETAILS, caption, cell_words
from pplava_core.shapes.scene import (
    COLOURS,
    DIGITS,
    FACES,
    KINDS,
    LETTERS,
    MOTIONS,
    Scene,
    Thing,
)
from pplava_core.shapes.wordings import CHOICE_FORMS, WORDINGS

__all__ = [
    "BRIEF_TYPES",
    "DETAILS",
    "NOTHING",
    "TYPES",
    "Question",
    "all_questions",
    "ask",
    "caption",
    "clear_on_screen",
    "dialogue",
    "pick_evenly",
]

STATIC_TYPES = (
    "count", "count_colour", "count_kind", "colour", "kind", "position", "presence", "face",
    "read", "relation", "larger",
)  # fmt: skip
MOVING_TYPES = (
    "motion", "order", "before", "event", "faster", "blink", "when", "duration",
)  # fmt: skip
TYPES = (*STATIC_TYPES, *MOVING_TYPES, "choice", "caption")
BRIEF_TYPES = (
    "colour", "kind", "position", "presence", "motion", "read", "face", "order", "before", "choice",
)  # fmt: skip
"What can be asked about the few seconds that matter in a long film."
STEP_SECONDS = 0.5
"Moments and durations are told in steps of this."
_CELL_MARGIN = 0.035
_NOTHING_SHARE, _DULL_SHARE = 0.2, 0.35
"""How often a question may be about nothing, and how often one is asked that nothing but the
commonest answer is right for: without this they would be most of what is asked."""
_CHOICE_TYPES = (
    "colour", "kind", "count", "count_colour", "count_kind", "position", "motion",
)  # fmt: skip
_CELLS = tuple(cell_words(x / 3 + 0.1, y / 3 + 0.1) for y in range(3) for x in range(3))
_STAYS = "it stays still"
_OPTIONS: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "kind": KINDS,
    "count": tuple("12345678"),
    "count_colour": tuple("012345"),
    "count_kind": tuple("012345"),
    "position": _CELLS,
    "motion": (_STAYS, *MOTIONS[1:]),
}
_FOLLOW_UPS = ("colour", "kind", "position", "motion", "event", "blink", "appears")


def ask(
    scene: Scene,
    rng: np.random.Generator,
    types: Sequence[str],
    *,
    about: Sequence[int] | None = None,
    paraphrased: bool = False,
) -> list[Question]:
    """Return one question of each given type that the scene allows, answers chosen evenly.

    Args:
        scene: what is asked about.
        rng: chooses.
        types: some of `TYPES`.
        about: only questions about one of these things, or about what is not there.
        paraphrased: in wordings that training never used.
    """
    asker = Asker(scene=scene, rng=rng, paraphrased=paraphrased)
    questions = []
    for name in types:
        candidates = _CANDIDATES[name](asker)
        if about is not None:
            candidates = [q for q in candidates if not q.targets or set(q.targets) & set(about)]
        if candidates:
            questions.append(pick_evenly(candidates, rng))
    return questions


def all_questions(scene: Scene, rng: np.random.Generator) -> dict[str, list[Question]]:
    """Return every question of every type that the scene allows, each in one wording."""
    asker = Asker(scene=scene, rng=rng)
    return {name: found for name in TYPES if (found := _CANDIDATES[name](asker))}


def pick_evenly(candidates: Sequence[Question], rng: np.random.Generator) -> Question:
    """Choose an answer evenly among those that there are, then a question that has it."""
    answers = sorted({candidate.answer for candidate in candidates})
    answer = answers[int(rng.integers(len(answers)))]
    matching = [candidate for candidate in candidates if candidate.answer == answer]
    return matching[int(rng.integers(len(matching)))]


def dialogue(
    scene: Scene, rng: np.random.Generator, turns: int, *, paraphrased: bool = False
) -> list[Question]:
    """Return questions that follow each other, of which some say no more than "it".

    The first names a thing; later ones ask on about it, and now and then about something
    else that is named again.
    """
    asker = Asker(scene=scene, rng=rng, paraphrased=paraphrased)
    numbers = [n for n in range(len(scene.things)) if asker.references(n)]
    if not numbers:
        types = [TYPES[int(n)] for n in rng.integers(0, 6, turns)]
        return ask(scene, rng, types, paraphrased=paraphrased)
    asked: list[Question] = []
    left: list[str] = []
    number, way = -1, ""
    while len(asked) < turns:
        if not left or rng.random() < 0.15:
            number = numbers[int(rng.integers(len(numbers)))]
            way = asker.choose(asker.references(number))
            left = [_FOLLOW_UPS[i] for i in rng.permutation(len(_FOLLOW_UPS))]
            by_name = True
        name = left.pop()
        question = _about(asker, name, number, way if by_name else "it", known=way)
        if question is not None:
            if asked and rng.random() < 0.3:
                question = replace(question, text=f"and {question.text}")
            asked.append(question)
            by_name = False
        elif not left:
            asked += ask(scene, rng, ["count"], paraphrased=paraphrased)
    return asked


def clear_on_screen(scene: Scene, question: Question) -> bool:
    """Whether an answer is as right in a film of the scene's own aspect ratio as in a square one.

    A wide picture makes what moves across faster than it is in the square one that a model
    may see, so that which of two things is faster may depend on who looks.
    """
    if question.type != "faster":
        return True
    one, other = (scene.things[number] for number in question.targets)
    return _is_faster(one, other, scene.aspect)


def caption_wordings(detail: str) -> tuple[str, ...]:
    """Return the ways in which training asked for a description of this detail."""
    return WORDINGS[f"caption_{detail}"]


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


def _about(asker: Asker, name: str, number: int, way: str, *, known: str) -> Question | None:
    """Return a question about one thing, pointed at by `way`; None where it has no answer."""
    scene = asker.scene
    thing = scene.things[number]
    kind = "when" if name == "appears" else name
    answer = _ANSWERS[kind](scene, thing)
    if answer is None or answer in known.split():
        return None
    text = asker.word(name, way)
    return asker.make(kind, text, answer, (number,))


def _everything(scene: Scene) -> tuple[int, ...]:
    return tuple(range(len(scene.things)))


def _count(asker: Asker) -> list[Question]:
    everything = _everything(asker.scene)
    return [asker.make("count", asker.word("count"), str(len(everything)), everything, named=False)]


def _count_by(asker: Asker, name: str, attribute: str, values: Iterable[str]) -> list[Question]:
    questions = []
    for value in values:
        owners = [n for n, t in enumerate(asker.scene.things) if getattr(t, attribute) == value]
        text = asker.word(name, _plural_stem(value))
        questions.append(asker.make(name, text, str(len(owners)), owners))
    return questions


def _count_colour(asker: Asker) -> list[Question]:
    return _count_by(asker, "count_colour", "colour", COLOURS)


def _count_kind(asker: Asker) -> list[Question]:
    if not all(is_clear(asker.scene, thing) for thing in asker.scene.things):
        return []
    return _count_by(asker, "count_kind", "kind", KINDS)


def _plural_stem(word: str) -> str:
    return "crosse" if word == "cross" else word


def _colour_of(scene: Scene, thing: Thing) -> str:
    return thing.colour


def _kind_of(scene: Scene, thing: Thing) -> str | None:
    return thing.kind if is_clear(scene, thing) else None


def _place_of(scene: Scene, thing: Thing) -> str | None:
    still = thing.motion == "still" and scene.pan == (0.0, 0.0)
    return cell_name(*thing.start) if still else None


def _direction_of(scene: Scene, thing: Thing) -> str:
    return _STAYS if thing.motion == "still" else thing.motion


def _fate_of(scene: Scene, thing: Thing) -> str:
    return "yes" if thing.vanishes < 1.0 else "no"


def _blinks_of(scene: Scene, thing: Thing) -> str | None:
    # What comes or goes might be taken for blinking.
    whole = thing.appears == 0.0 and thing.vanishes == 1.0
    return str(len(thing.blinks)) if whole else None


def _appearance_of(scene: Scene, thing: Thing) -> str | None:
    return in_steps(thing.appears * scene.duration_seconds) if thing.appears > 0 else None


def _vanishing_of(scene: Scene, thing: Thing) -> str | None:
    return in_steps(thing.vanishes * scene.duration_seconds) if thing.vanishes < 1 else None


def _length_of(scene: Scene, thing: Thing) -> str | None:
    if thing.blinks:
        return None
    return in_steps((thing.vanishes - thing.appears) * scene.duration_seconds)


_ANSWERS: dict[str, Callable[[Scene, Thing], str | None]] = {
    "colour": _colour_of,
    "kind": _kind_of,
    "position": _place_of,
    "motion": _direction_of,
    "event": _fate_of,
    "blink": _blinks_of,
    "when": _appearance_of,
    "duration": _length_of,
}


def _one_thing(name: str, *, or_nothing: bool = False) -> Callable[[Asker], list[Question]]:
    """Return a maker of questions of a type about single things."""

    def candidates(asker: Asker) -> list[Question]:
        found = asker.pointing(name, lambda thing: _ANSWERS[name](asker.scene, thing))
        if or_nothing and asker.rng.random() < _NOTHING_SHARE:
            found += asker.pointing_at_nothing(name)
        return found

    return candidates


def _event(asker: Asker) -> list[Question]:
    found = asker.pointing("event", lambda thing: _fate_of(asker.scene, thing))
    return _unless_dull(asker, found, "no")


def _blink(asker: Asker) -> list[Question]:
    found = asker.pointing("blink", lambda thing: _blinks_of(asker.scene, thing))
    return _unless_dull(asker, found, "0")


def _unless_dull(asker: Asker, found: list[Question], common: str) -> list[Question]:
    """Drop most questions of scenes in which the common answer is the only one."""
    dull = all(question.answer == common for question in found)
    return [] if dull and asker.rng.random() >= _DULL_SHARE else found


def _when(asker: Asker) -> list[Question]:
    scene = asker.scene
    return [
        *asker.pointing("when", lambda t: _appearance_of(scene, t), wording="appears"),
        *asker.pointing("when", lambda t: _vanishing_of(scene, t), wording="vanishes"),
    ]


def _presence(asker: Asker) -> list[Question]:
    things = asker.scene.things
    questions = []
    for number, thing in enumerate(things):
        owners = [n for n, other in enumerate(things) if other.phrase == thing.phrase]
        if number == owners[0]:
            text = asker.word("presence", thing.phrase)
            questions.append(asker.make("presence", text, "yes", owners))
        absent = asker.absent_phrases()
        if absent:
            text = asker.word("presence", asker.choose(absent))
            questions.append(asker.make("presence", text, "no", ()))
    return questions


def _face(asker: Asker) -> list[Question]:
    questions = []
    for face in FACES:
        owners = [n for n, thing in enumerate(asker.scene.things) if thing.mark == face]
        text = asker.word(face)
        if not owners and asker.rng.random() < _NOTHING_SHARE:
            questions.append(asker.make("face", text, NOTHING, ()))
        elif len(owners) == 1:
            answer = f"the {asker.scene.things[owners[0]].phrase}"
            questions.append(asker.make("face", text, answer, owners))
    return questions


def _read(asker: Asker) -> list[Question]:
    def glyph(alphabet: Sequence[str]) -> Callable[[Thing], str | None]:
        return lambda thing: thing.mark.lower() if thing.mark in alphabet else None

    return [
        *asker.pointing("read", glyph(DIGITS), wording="digit"),
        *asker.pointing("read", glyph(LETTERS), wording="letter"),
    ]


def _pairs(asker: Asker) -> Iterable[tuple[int, int, str, str]]:
    """Yield the ordered pairs of things that can each be pointed at, and how."""
    ways = [asker.references(number) for number in _everything(asker.scene)]
    for one, other in permutations(_everything(asker.scene), 2):
        if ways[one] and ways[other]:
            yield one, other, ways[one][0], ways[other][0]


def _relation(asker: Asker) -> list[Question]:
    things = asker.scene.things
    questions = []
    for one, other, way, other_way in _pairs(asker):
        if things[one].motion != "still" or things[other].motion != "still":
            continue
        (x0, y0), (x1, y1) = things[one].start, things[other].start
        across, down = x0 - x1, y0 - y1
        targets = (one, other)
        for offset, less, more in ((across, "left", "right"), (down, "above", "below")):
            if abs(offset) >= 0.15:
                asked = asker.choose((less, more))
                answer = "yes" if (offset < 0) == (asked == less) else "no"
                text = asker.word(asked, way, other_way)
                questions.append(asker.make("relation", text, answer, targets))
        side = _side(across, down)
        if side:
            text = asker.word("side", way, other_way)
            questions.append(asker.make("relation", text, side, targets))
    return questions


def _side(across: float, down: float) -> str | None:
    """Name the side by which a thing lies, None where two would do."""
    if max(abs(across), abs(down)) < 0.15:
        return None
    if abs(across) > 2 * abs(down):
        return "left" if across < 0 else "right"
    if abs(down) > 2 * abs(across):
        return "above" if down < 0 else "below"
    return None


def _comparison(asker: Asker, name: str, wins: Callable[[Thing, Thing], bool]) -> list[Question]:
    """Return a question which of two things wins, evenly over the pairs.

    Not over the answers: each is right in about as many films.
    """
    questions = []
    for one, other, way, other_way in _pairs(asker):
        if wins(asker.scene.things[one], asker.scene.things[other]):
            names = [way, other_way]
            swapped = asker.rng.random() < 0.5
            text = asker.word(name, *(names[::-1] if swapped else names))
            questions.append(asker.make(name, text, way, (one, other)))
    return [questions[int(asker.rng.integers(len(questions)))]] if questions else []


def _order(asker: Asker) -> list[Question]:
    return _comparison(asker, "order", lambda one, other: other.appears - one.appears >= 0.12)


def _larger(asker: Asker) -> list[Question]:
    return _comparison(asker, "larger", lambda one, other: one.radius >= 1.35 * other.radius)


def _faster(asker: Asker) -> list[Question]:
    # Faster in a squared picture, which is what training shows; see `clear_on_screen`.
    return _comparison(asker, "faster", lambda one, other: _is_faster(one, other, 1.0))


def _is_faster(one: Thing, other: Thing, aspect: float) -> bool:
    """Whether one moving thing is clearly faster than another in a picture so wide."""
    speeds = [
        thing.speed * (aspect if thing.motion in ("left", "right") else 1.0)
        for thing in (one, other)
    ]
    return other.motion != "still" and speeds[0] >= 1.6 * speeds[1]


def _before(asker: Asker) -> list[Question]:
    things = asker.scene.things
    questions = []
    for one, other, way, other_way in _pairs(asker):
        lead = things[other].appears - things[one].appears
        # In a long film a few seconds are a small part of it.
        if abs(lead) * max(asker.scene.duration_seconds / 20.0, 1.0) >= 0.15:
            text = asker.word("before", way, other_way)
            answer = "yes" if lead > 0 else "no"
            questions.append(asker.make("before", text, answer, (one, other)))
    return questions


def _choice(asker: Asker) -> list[Question]:
    asked = asker.choose(_CHOICE_TYPES)
    candidates = [q for q in _CANDIDATES[asked](asker) if q.answer in _OPTIONS[asked]]
    if not candidates:
        return []
    question = pick_evenly(candidates, asker.rng)
    wrong = [option for option in _OPTIONS[asked] if option != question.answer]
    options = [wrong[i] for i in asker.rng.permutation(len(wrong))[:3]]
    right = int(asker.rng.integers(4))
    options.insert(right, question.answer)
    form = asker.choose(("({}) {}", "{}. {}"))
    listed = " ".join(form.format("ABCD"[i], option) for i, option in enumerate(options))
    text = asker.choose(CHOICE_FORMS).format(question.text, listed)
    return [asker.make("choice", text, "ABCD"[right], question.targets, named=question.named)]


def _caption(asker: Asker) -> list[Question]:
    detail = asker.choose(DETAILS)
    text, scene = asker.word(f"caption_{detail}"), asker.scene
    return [asker.make("caption", text, caption(scene, detail), _everything(scene), named=False)]


_CANDIDATES: dict[str, Callable[[Asker], list[Question]]] = {
    "count": _count,
    "count_colour": _count_colour,
    "count_kind": _count_kind,
    "colour": _one_thing("colour", or_nothing=True),
    "kind": _one_thing("kind", or_nothing=True),
    "position": _one_thing("position", or_nothing=True),
    "presence": _presence,
    "face": _face,
    "read": _read,
    "relation": _relation,
    "larger": _larger,
    "motion": _one_thing("motion", or_nothing=True),
    "order": _order,
    "before": _before,
    "event": _event,
    "faster": _faster,
    "blink": _blink,
    "when": _when,
    "duration": _one_thing("duration"),
    "choice": _choice,
    "caption": _caption,
}
