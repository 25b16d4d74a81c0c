"""What the language model must know where a question speaks of a thing.

Answers alone teach slowly: "is the red star left of the ring?" gives one bit, and only a model
that has found both things can make sense of it. The renderer knows all about both, so the
instruct stage also has small heads, thrown away afterwards, that read the thing's facts off the
state of the words that speak of it (how many, what, where, when, whither, how fast), off the state
in which a comparison is answered how the two things differ, and off the state of each option
its letter and whether it is the right one. Knows scenes and states; no pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pplava_core.models.backbones.nano_tokens import zero_linear
from pplava_core.shapes.asking import is_clear
from pplava_core.shapes.descriptions import telling_order
from pplava_core.shapes.prompts import OPTION_LETTERS
from pplava_core.shapes.scene import (
    COLOURS,
    KINDS,
    MARKS,
    MAX_BLINKS,
    MAX_THINGS,
    MOTIONS,
    Scene,
)
from pplava_core.train.notes import Notes

_MARKS = ("", *MARKS)
CLASSES = {
    "count": MAX_THINGS + 1,
    "colour": len(COLOURS),
    "kind": len(KINDS),
    "mark": len(_MARKS),
    "motion": len(MOTIONS),
    "blinks": MAX_BLINKS + 1,
}
"How many values each fact that is named has."
MEASURES = (
    "start_x", "start_y", "stop_x", "stop_y", "appears", "vanishes", "appears_seconds",
    "vanishes_seconds", "lasts_seconds", "size", "speed",
)  # fmt: skip
"The facts that are measured, each about as wide as 1."
DIFFERENCES = ("right_of", "below", "larger", "later", "faster")
"By how much the first of two things is more than the second."
_SIZES = [*CLASSES.values(), len(MEASURES), 1, len(DIFFERENCES), len(OPTION_LETTERS), MAX_THINGS]
"""What a head tells: classes, measures, of an option whether it is right, differences, its letter,
and which of all things a thing is, as they are told."""
UNKNOWN = -100
_SHORT_SECONDS = 4.0
"By which times are divided; longer ones grow like a logarithm."


Facts = tuple[list[int], list[float]]


def facts(scene: Scene, things: Sequence[int]) -> Facts:
    """Return what is to be known of things that some words speak of.

    Returns:
        A class for each of `CLASSES`, `UNKNOWN` where there is none, and a number for each of
        `MEASURES`, nan where there is none. Of several things, or none, only the count is known.
    """
    count = min(len(things), MAX_THINGS)
    if len(things) != 1:
        return [count, *[UNKNOWN] * (len(CLASSES) - 1)], [math.nan] * len(MEASURES)
    thing = scene.things[things[0]]
    whole = thing.appears == 0.0 and thing.vanishes == 1.0
    classes = [
        count,
        list(COLOURS).index(thing.colour),
        KINDS.index(thing.kind) if is_clear(scene, thing) else UNKNOWN,
        _MARKS.index(thing.mark),
        MOTIONS.index(thing.motion),
        len(thing.blinks) if whole else UNKNOWN,
    ]
    seconds = [
        share * scene.duration_seconds
        for share in (thing.appears, thing.vanishes, thing.vanishes - thing.appears)
    ]
    measures = [
        *(4.0 * (place - 0.5) for place in (*thing.start, *thing.stop)),
        4.0 * (thing.appears - 0.5),
        4.0 * (thing.vanishes - 0.5),
        *(math.asinh(one / _SHORT_SECONDS) for one in seconds),
        2.0 * math.log(thing.radius / 0.09),
        2.0 * thing.speed,
    ]
    return classes, measures


def differences(scene: Scene, one: int, other: int) -> list[float]:
    """Return a number for each of `DIFFERENCES` of two things that a question compares."""
    first, second = scene.things[one], scene.things[other]
    return [
        4.0 * (first.start[0] - second.start[0]),
        4.0 * (first.start[1] - second.start[1]),
        2.0 * math.log(first.radius / second.radius),
        4.0 * (first.appears - second.appears),
        2.0 * (first.speed - second.speed),
    ]


class Reading(NamedTuple):
    """What a head reads off states ``(M, D)``."""

    classes: Sequence[Tensor]
    "``(M, size)`` for each of `CLASSES`."
    measures: Tensor
    "``(M, R)``."
    right: Tensor
    "``(M,)``: whether an option is the right one, as a logit."
    differences: Tensor
    "``(M, 5)``."
    letters: Tensor
    "``(M, 4)``: which letter an option has."
    ranks: Tensor
    "``(M, MAX_THINGS)``: which of all things it is, as they are told."


class MentionHeads(nn.Module):
    """Read facts and right options off states of the language model.

    Args:
        width: of the states.
        layers: after which of the language model's layers, counted from 1; each has its heads.
    """

    def __init__(self, width: int, layers: Sequence[int]) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.read = nn.ModuleList(zero_linear(width, sum(_SIZES)) for _ in self.layers)

    def facts_loss(self, states: Sequence[Tensor], noted: Sequence[Facts]) -> Tensor:
        """Return how far the facts read off are from what is true, the mean over layers.

        Args:
            states: ``(M, D)`` of each layer, where the words end.
            noted: the facts of each, at least one.
        """
        device = states[0].device
        classes = torch.tensor([one for one, _ in noted], device=device)
        measures = torch.tensor([two for _, two in noted], device=device)
        known = ~measures.isnan()
        losses = []
        for told in self._told(states):
            named = [
                functional.cross_entropy(one, column, ignore_index=UNKNOWN, reduction="sum")
                / math.log(size)
                for one, column, size in zip(told.classes, classes.T, CLASSES.values(), strict=True)
            ]
            gaps = functional.smooth_l1_loss(told.measures[known], measures[known], reduction="sum")
            losses.append((sum(named) + gaps) / len(noted))
        return torch.stack(losses).mean()

    def options_loss(self, states: Sequence[Tensor], right: Tensor, letters: Tensor) -> Tensor:
        """Return the cross-entropy of which options are right and which letters they have.

        Args:
            states: ``(O, D)`` of each layer, where the options end.
            right: ``(O,)`` of 0 and 1.
            letters: ``(O,)``, numbers in `OPTION_LETTERS`.
        """
        losses = [
            functional.binary_cross_entropy_with_logits(told.right, right)
            + functional.cross_entropy(told.letters, letters)
            for told in self._told(states)
        ]
        return torch.stack(losses).mean()

    def differences_loss(self, states: Sequence[Tensor], true: Tensor) -> Tensor:
        """Return how far the differences of two things ``(P, 5)`` read off are from the true."""
        losses = [
            functional.smooth_l1_loss(told.differences, true, reduction="sum") / len(true)
            for told in self._told(states)
        ]
        return torch.stack(losses).mean()

    def ranks_loss(self, states: Sequence[Tensor], ranks: Tensor) -> Tensor:
        """Return the cross-entropy of which of all things ``(M,)`` is told of."""
        losses = [functional.cross_entropy(told.ranks, ranks) for told in self._told(states)]
        return torch.stack(losses).mean() / math.log(MAX_THINGS)

    def _told(self, states: Sequence[Tensor]) -> Iterator[Reading]:
        """Yield what is read off the states of each layer."""
        for read, state in zip(self.read, states, strict=True):
            every = read(state).float().split(_SIZES, dim=-1)
            *classes, measures, right, apart, letters, ranks = every
            yield Reading(classes, measures, right[:, 0], apart, letters, ranks)


def noted_loss(
    heads: MentionHeads,
    states: Sequence[Tensor],
    notes: Sequence[Notes],
    scenes: Sequence[Scene],
    before: int,
) -> Tensor:
    """Return how badly the states of a batch tell what is noted of them.

    Args:
        heads: read the states.
        states: ``(P, L, D)`` after each of the heads' layers.
        notes: of each row ``P``.
        scenes: what each row is about.
        before: what is to be added to a note's place.
    """
    rows = [*zip(range(len(notes)), notes, scenes, strict=True)]

    def at(places: Sequence[tuple[int, int]]) -> list[Tensor]:
        chosen = torch.tensor(places, device=states[0].device)
        return [each[chosen[:, 0], before + chosen[:, 1]] for each in states]

    loss = states[0].new_zeros((), dtype=torch.float32)
    mentions = [(row, place) for row, note, _ in rows for place, _ in note.mentions]
    if mentions:
        noted = [facts(scene, things) for _, note, scene in rows for _, things in note.mentions]
        loss = loss + heads.facts_loss(at(mentions), noted)
    options = [(row, place) for row, note, _ in rows for place, _, _ in note.options]
    if options:
        offered = [(letter, right) for _, note, _ in rows for _, letter, right in note.options]
        right = torch.tensor([float(one) for _, one in offered], device=loss.device)
        letters = [OPTION_LETTERS.index(letter) for letter, _ in offered]
        letter_numbers = torch.tensor(letters, device=loss.device)
        loss = loss + heads.options_loss(at(options), right, letter_numbers)
    pairs = [(row, place) for row, note, _ in rows for place, _ in note.pairs]
    if pairs:
        apart = [differences(scene, *two) for _, note, scene in rows for _, two in note.pairs]
        true = torch.tensor(apart, device=loss.device)
        loss = loss + heads.differences_loss(at(pairs), true)
    told = [(row, place) for row, note, _ in rows for place, _ in note.told]
    if told:
        ranks = [
            telling_order(scene).index(thing) for _, note, scene in rows for _, thing in note.told
        ]
        loss = loss + heads.ranks_loss(at(told), torch.tensor(ranks, device=loss.device))
    return loss
