"""Every question that a scene allows, type by type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import permutations

from pplava_core.shapes.asking import NOTHING, Asker, Question, is_clear, pick_evenly
from pplava_core.shapes.descriptions import DETAILS, caption, cell_words, telling_order
from pplava_core.shapes.prompts import CHOICE_FORMS, OPTION_LETTERS
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
from pplava_core.shapes.truths import ANSWERS, STAYS, is_faster, side_of

_NOTHING_SHARE, _DULL_SHARE = 0.2, 0.35
"""How often a question may be about nothing, and how often one is asked that nothing but the
commonest answer is right for: without this they would be most of what is asked."""
_CHOICE_TYPES = (
    "colour", "kind", "count", "count_colour", "count_kind", "position", "motion",
)  # fmt: skip
_CELLS = tuple(cell_words(x / 3 + 0.1, y / 3 + 0.1) for y in range(3) for x in range(3))
_OPTIONS: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "kind": KINDS,
    "count": tuple("12345678"),
    "count_colour": tuple("012345"),
    "count_kind": tuple("012345"),
    "position": _CELLS,
    "motion": (STAYS, *MOTIONS[1:]),
}


def _everything(scene: Scene) -> tuple[int, ...]:
    return tuple(range(len(scene.things)))


def _count(asker: Asker) -> list[Question]:
    everything = _everything(asker.scene)
    return [asker.make("count", asker.word("count"), str(len(everything)), everything, named=False)]


def _count_by(asker: Asker, name: str, attribute: str, values: Iterable[str]) -> list[Question]:
    questions = []
    for value in values:
        owners = [n for n, t in enumerate(asker.scene.things) if getattr(t, attribute) == value]
        stem = _plural_stem(value)
        text, spoken = asker.word(name, stem), [(stem, owners)]
        questions.append(asker.make(name, text, str(len(owners)), owners, mentions=spoken))
    return questions


def _count_colour(asker: Asker) -> list[Question]:
    return _count_by(asker, "count_colour", "colour", COLOURS)


def _count_kind(asker: Asker) -> list[Question]:
    if not all(is_clear(asker.scene, thing) for thing in asker.scene.things):
        return []
    return _count_by(asker, "count_kind", "kind", KINDS)


def _plural_stem(word: str) -> str:
    return "crosse" if word == "cross" else word


def _one_thing(name: str, *, or_nothing: bool = False) -> Callable[[Asker], list[Question]]:
    """Return a maker of questions of a type about single things."""

    def candidates(asker: Asker) -> list[Question]:
        found = asker.pointing(name, lambda thing: ANSWERS[name](asker.scene, thing))
        if or_nothing and asker.rng.random() < _NOTHING_SHARE:
            found += asker.pointing_at_nothing(name)
        return found

    return candidates


def _event(asker: Asker) -> list[Question]:
    found = asker.pointing("event", lambda thing: ANSWERS["event"](asker.scene, thing))
    return _unless_dull(asker, found, "no")


def _blink(asker: Asker) -> list[Question]:
    found = asker.pointing("blink", lambda thing: ANSWERS["blink"](asker.scene, thing))
    return _unless_dull(asker, found, "0")


def _unless_dull(asker: Asker, found: list[Question], common: str) -> list[Question]:
    """Drop most questions of scenes in which the common answer is the only one."""
    dull = all(question.answer == common for question in found)
    return [] if dull and asker.rng.random() >= _DULL_SHARE else found


def _when(asker: Asker) -> list[Question]:
    scene = asker.scene
    return [
        *asker.pointing("when", lambda t: ANSWERS["when"](scene, t), wording="appears"),
        *asker.pointing("when", lambda t: ANSWERS["vanishes"](scene, t), wording="vanishes"),
    ]


def _presence(asker: Asker) -> list[Question]:
    things = asker.scene.things
    questions = []
    for number, thing in enumerate(things):
        owners = [n for n, other in enumerate(things) if other.phrase == thing.phrase]
        if number == owners[0]:
            text, spoken = asker.word("presence", thing.phrase), [(thing.phrase, owners)]
            questions.append(asker.make("presence", text, "yes", owners, mentions=spoken))
        absent = asker.absent_phrases()
        if absent:
            phrase = asker.choose(absent)
            text = asker.word("presence", phrase)
            questions.append(asker.make("presence", text, "no", (), mentions=[(phrase, ())]))
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
        targets, spoken = (one, other), [(way, (one,)), (other_way, (other,))]
        for offset, less, more in ((across, "left", "right"), (down, "above", "below")):
            if abs(offset) >= 0.15:
                asked = asker.choose((less, more))
                answer = "yes" if (offset < 0) == (asked == less) else "no"
                text = asker.word(asked, way, other_way)
                questions.append(asker.make("relation", text, answer, targets, mentions=spoken))
        side = side_of(across, down)
        if side:
            text = asker.word("side", way, other_way)
            questions.append(asker.make("relation", text, side, targets, mentions=spoken))
    return questions


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
            spoken = [(way, (one,)), (other_way, (other,))]
            questions.append(asker.make(name, text, way, (one, other), mentions=spoken))
    return [questions[int(asker.rng.integers(len(questions)))]] if questions else []


def _order(asker: Asker) -> list[Question]:
    return _comparison(asker, "order", lambda one, other: other.appears - one.appears >= 0.12)


def _larger(asker: Asker) -> list[Question]:
    return _comparison(asker, "larger", lambda one, other: one.radius >= 1.35 * other.radius)


def _faster(asker: Asker) -> list[Question]:
    # Faster in a squared picture, which is what training shows; see `clear_on_screen`.
    return _comparison(asker, "faster", lambda one, other: is_faster(one, other, 1.0))


def _before(asker: Asker) -> list[Question]:
    things = asker.scene.things
    questions = []
    for one, other, way, other_way in _pairs(asker):
        lead = things[other].appears - things[one].appears
        # In a long film a few seconds are a small part of it.
        if abs(lead) * max(asker.scene.duration_seconds / 20.0, 1.0) >= 0.15:
            text = asker.word("before", way, other_way)
            answer = "yes" if lead > 0 else "no"
            spoken = [(way, (one,)), (other_way, (other,))]
            questions.append(asker.make("before", text, answer, (one, other), mentions=spoken))
    return questions


def _choice(asker: Asker) -> list[Question]:
    asked = asker.choose(_CHOICE_TYPES)
    candidates = [q for q in CANDIDATES[asked](asker) if q.answer in _OPTIONS[asked]]
    if not candidates:
        return []
    question = pick_evenly(candidates, asker.rng)
    wrong = [option for option in _OPTIONS[asked] if option != question.answer]
    options = [wrong[i] for i in asker.rng.permutation(len(wrong))[:3]]
    right = int(asker.rng.integers(4))
    options.insert(right, question.answer)
    form = asker.choose(("({}) {}", "{}. {}"))
    listed = tuple(map(form.format, OPTION_LETTERS, options))
    text = asker.choose(CHOICE_FORMS).format(question.text, " ".join(listed))
    letter = OPTION_LETTERS[right]
    return [replace(question, type="choice", text=text, answer=letter, options=listed)]


def _caption(asker: Asker) -> list[Question]:
    detail = asker.choose(DETAILS)
    text, scene = asker.word(f"caption_{detail}"), asker.scene
    told, everything = caption(scene, detail), _everything(scene)
    named = [(scene.things[number].phrase, (number,)) for number in telling_order(scene)]
    return [asker.make("caption", text, told, everything, named=False, mentions=named)]


CANDIDATES: dict[str, Callable[[Asker], list[Question]]] = {
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
