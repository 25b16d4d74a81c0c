"""What every maker of questions needs: the question itself, and ways to point at a thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pplava_core.shapes.scene import COLOURS, KINDS, Scene, Thing
from pplava_core.shapes.wordings import worded

NOTHING = "there is no such thing"
"The answer to a question about something that is not in the film."
_CLEAR_RADIUS = 0.04


@dataclass(frozen=True, kw_only=True)
class Mention:
    """A few words of a question, and what they speak of."""

    words: str
    things: tuple[int, ...]
    "Numbers of the things; none where there is no such thing."


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question about one scene."""

    type: str
    "One of `questions.TYPES`."
    text: str
    answer: str
    targets: tuple[int, ...]
    "Numbers of the things that the question is about; empty when nothing in the scene is."
    named: bool
    "Whether it names things to be found, as against asking about all of them."
    mentions: tuple[Mention, ...] = field(default=(), compare=False)
    "What its words speak of; of a description, what its answer speaks of, in that order."
    options: tuple[str, ...] = field(default=(), compare=False)
    "What can be chosen from, as it stands in the text; the first is A."


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Somebody who asks about a scene: with which dice, and in whose words."""

    scene: Scene
    rng: np.random.Generator
    paraphrased: bool = False
    "In wordings that training never used."

    def word(self, name: str, *parts: str) -> str:
        """Put a question into words; see `wordings.worded`."""
        return worded(name, self.rng, *parts, paraphrased=self.paraphrased)

    def choose(self, options: Sequence[str]) -> str:
        """Take one of some texts."""
        return options[int(self.rng.integers(len(options)))]

    def make(
        self,
        name: str,
        text: str,
        answer: str,
        targets: Iterable[int],
        *,
        named: bool = True,
        mentions: Sequence[tuple[str, Iterable[int]]] = (),
    ) -> Question:
        """Return a question."""
        spoken = (Mention(words=words, things=tuple(things)) for words, things in mentions)
        return Question(
            type=name,
            text=text,
            answer=answer,
            targets=tuple(targets),
            named=named,
            mentions=tuple(spoken),
        )

    def references(self, number: int) -> list[str]:
        """Return the ways to point at one thing and no other."""
        things = self.scene.things
        thing = things[number]
        ways = []
        if Counter(other.phrase for other in things)[thing.phrase] == 1:
            ways.append(f"the {thing.phrase}")
        if Counter(other.colour for other in things)[thing.colour] == 1:
            ways += [f"the {thing.colour} object", f"the {thing.colour} shape"]
        if Counter(other.kind for other in things)[thing.kind] == 1:
            ways.append(f"the {thing.kind}")
        return ways

    def absent_phrases(self) -> list[str]:
        """Return names of things that are not there, like in colour or shape to what is."""
        present = {thing.phrase for thing in self.scene.things}
        colours = [thing.colour for thing in self.scene.things]
        kinds = [thing.kind for thing in self.scene.things]
        near = (
            f"{self.choose(colours)} {self.choose(KINDS)}",
            f"{self.choose(list(COLOURS))} {self.choose(kinds)}",
            f"{self.choose(colours)} {self.choose(kinds)}",
        )
        return [phrase for phrase in near if phrase not in present]

    def pointing(
        self,
        name: str,
        answer_of: Callable[[Thing], str | None],
        *,
        wording: str | None = None,
        numbers: Iterable[int] | None = None,
    ) -> list[Question]:
        """Return questions about single things: any way to point at it that hides no answer.

        Args:
            name: the question's type.
            answer_of: the answer for a thing; None where it cannot be asked about.
            wording: a key of the wordings; None is the type.
            numbers: the things to ask about; None is all.
        """
        questions = []
        for number in range(len(self.scene.things)) if numbers is None else numbers:
            answer = answer_of(self.scene.things[number])
            ways = self.references(number) if answer else []
            ways = [way for way in ways if answer not in way.split()]
            if answer and ways:
                way = self.choose(ways)
                text = self.word(wording or name, way)
                spoken = [(way, (number,))]
                questions.append(self.make(name, text, answer, (number,), mentions=spoken))
        return questions

    def pointing_at_nothing(self, name: str, wording: str | None = None) -> list[Question]:
        """Return a question about one thing that is not there, if there is such a thing."""
        things = self.scene.things
        colours = sorted(set(COLOURS) - {thing.colour for thing in things})
        kinds = sorted(set(KINDS) - {thing.kind for thing in things})
        # Asking for its colour points with its shape alone, and the other way about.
        if name == "colour":
            missing = kinds
        elif name == "kind":
            missing = [f"{colour} {word}" for colour in colours for word in ("object", "shape")]
        else:
            missing = self.absent_phrases()
        if not missing:
            return []
        way = f"the {self.choose(missing)}"
        return [self.make(name, self.word(wording or name, way), NOTHING, (), mentions=[(way, ())])]


def pick_evenly(candidates: Sequence[Question], rng: np.random.Generator) -> Question:
    """Choose an answer evenly among those that there are, then a question that has it."""
    answers = sorted({candidate.answer for candidate in candidates})
    answer = answers[int(rng.integers(len(answers)))]
    matching = [candidate for candidate in candidates if candidate.answer == answer]
    return matching[int(rng.integers(len(matching)))]


def is_clear(scene: Scene, thing: Thing) -> bool:
    """Whether a thing is large enough for its shape to be told."""
    return thing.radius * min(1.0, scene.aspect, 1.0 / scene.aspect) >= _CLEAR_RADIUS
