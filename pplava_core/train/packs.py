"""What the instruct stage learns from: packs of questions about one clip.

Questions about the same things look at the same patches, so they share one set of pooled
tokens: a pack is one guide, which pools, and several questions, which do not see each other.
Or it is a conversation, whose questions see all that was said before. Knows scenes and words;
no tensors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pplava_core.models.backbones.nano import NanoParts
from pplava_core.shapes import questions as world
from pplava_core.shapes.drawing import key_things
from pplava_core.shapes.prompts import long_prompt, with_lead_in
from pplava_core.shapes.questions import Question
from pplava_core.shapes.scene import Scene
from pplava_core.train.recipe import Data

_TYPE_WEIGHTS = {
    "count": 5.0, "count_colour": 4.0, "count_kind": 4.0, "colour": 1.2, "kind": 0.6,
    "presence": 1.2, "position": 2.5, "motion": 1.2, "face": 1.2, "read": 2.0, "relation": 2.0,
    "larger": 2.5, "order": 3.0, "before": 1.2, "faster": 6.0, "event": 0.7, "blink": 2.5,
    "when": 2.0, "duration": 1.2, "choice": 4.5, "caption": 20.0,
}  # fmt: skip
"How often a type leads a pack; those that are learned last lead more often."
_FILLERS = (
    "colour", "kind", "position", "motion", "read", "when", "duration", "blink", "event", "order",
    "before", "larger", "faster", "relation", "count", "count_colour", "count_kind", "choice",
)  # fmt: skip
"""Types that go along in a pack. Not those whose answer is known from their company: that a
thing is there, when all the others ask about it."""
COUNTS = ("count", "count_colour", "count_kind")
_MOST_SHARE = 0.5
"""How often a count by colour or kind that leads is the greatest of its scene. Most scenes have
none or one of what is asked for, and numbers that are seldom right are learned last."""
_DESCRIPTIONS = 2
"How many descriptions a pack has that one leads: each teaches as much as many short answers."
_LEAD_IN_SHARE = 0.1
_TURNS = 5
_ANOTHER_SUBJECT_SHARE = 0.4
"How many conversations end with a question of any type, about anything."
_FREE_SHARE = 0.2
"How many of all conversations are nothing but such questions; they are among those."
_THERE_SHARE = 0.8
"""How many of all these are about something that is there. After words about one thing it is easy
to deny another, and a question about nothing is worded like any other."""


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Questions about one clip that share what was pooled for them."""

    clip: int
    "Which clip of the batch."
    guide: str
    "The text that pools."
    targets: tuple[int, ...]
    "The things that the guide is about."
    questions: tuple[Question, ...]
    talk: bool = False
    "Whether each question comes after those before it, as in a conversation."
    untaught: int = 0
    "First questions of a conversation that are about other things: their answers are not learned."


def draw_pack(clip: int, scene: Scene, kind: str, rng: np.random.Generator, data: Data) -> Pack:
    """Draw a pack about a scene.

    Args:
        clip: the scene's number in its batch.
        scene: what is asked about.
        kind: of clip, `films`, `stills` or `long`.
        rng: decides everything.
        data: shares and sizes.
    """
    if kind == "films" and rng.random() < data.history_share:
        turns = world.dialogue(scene, rng, int(rng.integers(2, _TURNS + 1)))
        if len(turns) > 1:
            dice = rng.random()
            if dice < _FREE_SHARE:
                turns[:-1] = [_another(scene, rng) for _ in turns[:-1]]
            if dice < _ANOTHER_SUBJECT_SHARE:
                turns[-1] = _another(scene, rng)
            return _conversation(clip, turns)
    asked = _allowed(scene, kind, world.all_questions(scene, rng))
    lead = _spoken(_lead(asked, rng, data.count_weight), scene, rng, data)
    leading = [lead]
    if lead.type == "caption":
        more = min(_DESCRIPTIONS, data.questions_per_clip) - 1
        leading += world.ask(scene, rng, ["caption"] * more)
    company = [
        question
        for name in _FILLERS
        if name != lead.type and name in asked
        for question in asked[name]
        if _goes_along(question, lead)
    ]
    chosen = rng.permutation(len(company))[: data.questions_per_clip - len(leading)]
    questions = (*leading, *(company[number] for number in chosen))
    return Pack(clip=clip, guide=lead.text, targets=lead.targets, questions=questions)


def _lead(
    asked: dict[str, list[Question]], rng: np.random.Generator, count_weight: float = 1.0
) -> Question:
    """Draw a question: first its type, by weight, then its answer."""
    names = list(asked)
    weights = np.array(
        [_TYPE_WEIGHTS.get(name, 1.0) * (count_weight if name in COUNTS else 1.0) for name in names]
    )
    chosen = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    found = asked[chosen]
    if chosen in COUNTS and rng.random() < _MOST_SHARE:
        most = max(int(question.answer) for question in found)
        found = [question for question in found if int(question.answer) == most]
    return world.pick_evenly(found, rng)


def _another(scene: Scene, rng: np.random.Generator) -> Question:
    """Draw a question to which a conversation turns."""
    asked = world.all_questions(scene, rng)
    if rng.random() < _THERE_SHARE:
        asked = {
            name: there for name, qs in asked.items() if (there := [q for q in qs if q.targets])
        }
    return _lead(asked, rng)


def _goes_along(question: Question, lead: Question) -> bool:
    """Whether what is pooled for a question will do for another one.

    That is about the same things, or about one of several: then the language model itself has to
    tell apart what was pooled together. Of one thing it need not say that it is one.
    """
    targets = set(question.targets)
    if question.type in COUNTS and len(targets) == 1:
        return False
    same = targets == set(lead.targets)
    return bool(targets) and (same or (len(targets) == 1 and targets < set(lead.targets)))


def _allowed(
    scene: Scene, kind: str, asked: dict[str, list[Question]]
) -> dict[str, list[Question]]:
    """Leave out what cannot be asked about a single picture, or misses the point of a long film."""
    if kind == "stills":
        return {name: found for name, found in asked.items() if name not in world.MOVING_TYPES}
    if kind != "long":
        return asked
    keys = set(key_things(scene))
    about = {
        name: [q for q in asked[name] if not q.targets or keys & set(q.targets)]
        for name in world.BRIEF_TYPES
        if name in asked
    }
    return {name: found for name, found in about.items() if found}


def _spoken(question: Question, scene: Scene, rng: np.random.Generator, data: Data) -> Question:
    """Put now and then a polite phrase, or a hundred words, before a question."""
    dice = rng.random()
    if dice < _LEAD_IN_SHARE:
        return dataclasses.replace(question, text=with_lead_in(question.text, rng))
    if dice < _LEAD_IN_SHARE + data.long_prompt_share:
        others = [f"the {thing.phrase}" for thing in scene.things]
        sentences = int(rng.integers(3, 9))
        text = long_prompt(question.text, rng, distractors=others, sentences=sentences)
        return dataclasses.replace(question, text=text)
    return question


def _conversation(clip: int, turns: Sequence[Question]) -> Pack:
    last = turns[-1]
    untaught = 0
    for number, turn in enumerate(turns):
        if set(turn.targets) != set(last.targets):
            untaught = number + 1
    guide = NanoParts.guide(last.text, [turn.text for turn in turns[:-1]])
    return Pack(
        clip=clip,
        guide=guide,
        targets=last.targets,
        questions=tuple(turns),
        talk=True,
        untaught=untaught,
    )


def question_packs(clip: int, questions: Sequence[Question]) -> list[Pack]:
    """Return a pack for each question, as each is asked when it is asked alone."""
    return [Pack(clip=clip, guide=q.text, targets=q.targets, questions=(q,)) for q in questions]
