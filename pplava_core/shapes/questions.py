"""Questions about a scene, with the one right answer to each.

Everything is read off the scene, never off pixels. For every type the answer is chosen
first, evenly among those the scene allows, and a question that has it second: without
that, one answer would be right most of the time and accuracy would mean little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pplava_core.shapes.asking import NOTHING, Asker, Question, pick_evenly
from pplava_core.shapes.descriptions import DETAILS, caption
from pplava_core.shapes.makers import CANDIDATES
from pplava_core.shapes.scene import Scene
from pplava_core.shapes.truths import ANSWERS, is_faster
from pplava_core.shapes.wordings import WORDINGS

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
        candidates = CANDIDATES[name](asker)
        if about is not None:
            candidates = [q for q in candidates if not q.targets or set(q.targets) & set(about)]
        if candidates:
            questions.append(pick_evenly(candidates, rng))
    return questions


def all_questions(scene: Scene, rng: np.random.Generator) -> dict[str, list[Question]]:
    """Return every question of every type that the scene allows, each in one wording.

    Args:
        scene: what is asked about.
        rng: words them.
    """
    asker = Asker(scene=scene, rng=rng)
    return {name: found for name in TYPES if (found := CANDIDATES[name](asker))}


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
    return is_faster(one, other, scene.aspect)


def caption_wordings(detail: str) -> tuple[str, ...]:
    """Return the ways in which training asked for a description of this detail."""
    return WORDINGS[f"caption_{detail}"]


def _about(asker: Asker, name: str, number: int, way: str, *, known: str) -> Question | None:
    """Return a question about one thing, pointed at by `way`; None where it has no answer."""
    scene = asker.scene
    thing = scene.things[number]
    kind = "when" if name == "appears" else name
    answer = ANSWERS[kind](scene, thing)
    if answer is None or answer in known.split():
        return None
    text = asker.word(name, way)
    return asker.make(kind, text, answer, (number,), mentions=[(way, (number,))])
