"""What is right in the rendered world: to the letter, but for times and descriptions.

Knows questions, answers and scenes; nothing of models, relevance or tables.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pplava_core.evals.benchmarks.shapes_pointing import Pointing, Timing
from pplava_core.shapes.asking import NOTHING
from pplava_core.shapes.dataset import Item
from pplava_core.shapes.scene import Scene, Thing
from pplava_core.shapes.truths import STEP_SECONDS

TIME_TYPES = ("when", "duration")
"Types whose answers are seconds, right when they are off by no more than one step."
_TOLERANCE_SECONDS = STEP_SECONDS + 1e-6
_LASTING_SECONDS = 1.0
"Who describes a film may leave out what is seen for no longer than this."
_NUMBER = re.compile(r"-?\d*\.?\d+")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One question, what was answered, and how right that is."""

    item: Item
    answer: str
    right: bool
    named_share: float | None
    "Descriptions: part of the things that are named."
    pointed: bool | None
    "Whether the peak is on a thing asked for; None where none is named, there or shown."
    mass: float | None
    "Part of the relevance on patches that show a thing asked for."
    chance: float | None = None
    "Part of the patches that show one: what a random peak hits, and the mass of an even map."
    hidden: bool = False
    "Whether what is asked for is there, but in none of the frames that were shown."
    names_all: bool | None = None
    "Descriptions: whether all that is seen for over a second is named."
    timing: Timing | None = None
    "When the relevance is, against when brief things are seen; None where none are asked for."
    token_count: int | None = None
    "Visual tokens the answer was made from."


def score(
    item: Item,
    answer: str,
    *,
    pointing: Pointing | None = None,
    timing: Timing | None = None,
    hidden: bool = False,
    token_count: int | None = None,
) -> Scored:
    """Judge one answer, and put beside it what was found out about the relevance."""
    question, scene = item.question, item.film.scene
    described = question.type == "caption"
    return Scored(
        item=item,
        answer=answer,
        right=is_right(question.type, question.answer, answer),
        named_share=named_share(answer, map(_phrase, scene.things)) if described else None,
        names_all=names_all(answer, scene) if described else None,
        pointed=None if pointing is None else pointing.hit,
        mass=None if pointing is None else pointing.mass,
        chance=None if pointing is None else pointing.chance,
        hidden=hidden,
        timing=timing,
        token_count=token_count,
    )


def plain(text: str) -> str:
    """Return a text without capitals, blanks too many and a full stop."""
    return " ".join(text.lower().strip(" .").split())


def is_right(question_type: str, right_answer: str, answer: str) -> bool:
    """Whether an answer counts: to the letter, times to half a second.

    Of a time the first number in the answer is taken, whatever the words around it.
    """
    wanted = _seconds(right_answer) if question_type in TIME_TYPES else None
    if wanted is None:
        return plain(answer) == plain(right_answer)
    said = _seconds(answer)
    return said is not None and abs(said - wanted) <= _TOLERANCE_SECONDS


def says_nothing_is_there(answer: str) -> bool:
    """Whether an answer denies that there is what was asked for."""
    return plain(answer) == plain(NOTHING)


def best_constant(question_type: str, right_answers: Sequence[str]) -> int:
    """Return how many questions of a type the best constant answer gets right."""
    candidates = set(right_answers)
    if question_type in TIME_TYPES:
        # The best time may be one that is never right itself, between two that are.
        known = [seconds for answer in right_answers if (seconds := _seconds(answer)) is not None]
        candidates |= {str(s + step) for s in known for step in (-STEP_SECONDS, STEP_SECONDS)}
    counts = Counter(right_answers)
    return max(
        sum(n for right, n in counts.items() if is_right(question_type, right, candidate))
        for candidate in candidates
    )


def named_share(answer: str, phrases: Iterable[str]) -> float:
    """Return the part of the things that a description names, each as often as it is there."""
    wanted = Counter(phrases)
    found = sum(min(count, answer.lower().count(phrase)) for phrase, count in wanted.items())
    return found / max(sum(wanted.values()), 1)


def names_all(answer: str, scene: Scene) -> bool | None:
    """Whether a description names whatever is seen for over a second, as often as it is there.

    None where nothing is seen for so long.
    """
    lasting = [t for t in scene.things if _seen_seconds(scene, t) > _LASTING_SECONDS]
    phrases = [thing.phrase for thing in lasting]
    return named_share(answer, phrases) == 1.0 if phrases else None


def _phrase(thing: Thing) -> str:
    return thing.phrase


def _seen_seconds(scene: Scene, thing: Thing) -> float:
    dark = sum(off - on for on, off in thing.blinks)
    return (thing.vanishes - thing.appears - dark) * scene.duration_seconds


def _seconds(answer: str) -> float | None:
    found = _NUMBER.search(answer)
    return None if found is None else float(found.group())
