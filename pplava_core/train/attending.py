"""Where the language model must look: at a thing's tokens, or at a word that it is to repeat.

The answer to "which is larger, the ring or the star?" stands in the question, and what a
description names next stands in some of the visual tokens. That a model knows which does not
make it look there: of all that it learns, attention that copies comes last. So the instruct stage
tells one head of some layers where to look, and another which token of the tally's list, and asks
of every visual token how many of the things that were asked for it holds, and of what is read off
its patches how many things of every sort. Knows attention, states
and coverage; no pixels and no words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pplava_core.models.backbones.nano_list import MOST_LISTED, Listed, in_order
from pplava_core.models.backbones.nano_tally import MOST_COUNTED, Counted
from pplava_core.models.backbones.nano_things import HELD, SORTS
from pplava_core.models.backbones.nano_tokens import zero_linear
from pplava_core.shapes.descriptions import telling_order
from pplava_core.shapes.scene import COLOURS, KINDS, MARKS, Scene, Thing
from pplava_core.train.notes import Notes
from pplava_core.train.packs import Pack
from pplava_core.window import Window

_HEAD, _LIST_HEAD = -1, -2
"The head of a layer that is told where to look, and the one that goes by the list."
_COLOURS = tuple(COLOURS)
_SEEN = 0.15
"Patches' worth of a thing below which a frame does not count it."
_HOLDS = 0.25
"Part of the most that any token holds of a thing, from which on a token is one to look at."
_LEAST = 1e-3
_MOSTLY = 0.7
"Part of the most that any moment shows of a thing, from which on the thing has come."
_APART_SHARE = 20.0
_FIRST_SHARE = 0.5
_SORT_APART_SHARE, _SORT_SHARE = 5.0, 0.5
_SHARES = {"looking": 0.08, "copying": 0.15, "density": 0.2, "listing": 0.2, "tally": 0.05}
"""A tally's gradients are many times as long as the others. AdamW does not care, but the clipping
of all together does."""


class Held(NamedTuple):
    """What pooled tokens hold of the things of their clips."""

    shown: Tensor
    "``(C, things, N)``: part of a token's window that a thing covers."
    counted: Tensor
    "``(C, things, T, N / T)``: part of a thing that lies in a token's window, over its time."
    new: Tensor
    "``(C, things, T, N / T)``: the same where a thing is first seen, and 0 everywhere else."


def held_by_tokens(coverage: Tensor, window: Window) -> Held:
    """Pool coverage ``(C, things, T, H, W)`` as the tokens are pooled."""
    density = shared_out(coverage)
    _, rows, columns = window.kernel
    shown, shares = (
        functional.avg_pool3d(one, window.kernel, window.step) for one in (coverage, density)
    )
    counted = shares.flatten(3) * (rows * columns)
    return Held(shown=shown.flatten(2), counted=counted, new=_first_seen(counted))


def _first_seen(counted: Tensor) -> Tensor:
    """Keep of each thing ``(C, things, T, N)`` the first moment that holds most of it, made whole.

    So that the sum over all tokens is how many things ever come, as a question asks it.
    """
    whole = counted.sum(3, keepdim=True)
    seen = whole >= _MOSTLY * whole.amax(2, keepdim=True)
    first = seen & (seen.cumsum(2) == 1)
    return torch.where(first, counted / whole.clamp(min=_LEAST), 0.0)


class SortDensities(NamedTuple):
    """What the windows of packs hold, sort by sort."""

    held: Tensor
    "``(P, T, N / T, HELD)``: how many things of each sort and mark, whatever is asked."
    there: Tensor
    "``(P, T, N / T, SORTS)``: how many of the asked-for things of each sort."
    new: Tensor
    "``(P, T, N / T, SORTS)``: how many of them are first seen there."

    @property
    def come(self) -> Tensor:
        """``(P, T, SORTS)``: how many of each sort had come by each moment."""
        return self.new.sum(2).cumsum(1).round().long().clamp(max=MOST_LISTED)

    def to(self, device: torch.device) -> SortDensities:
        """Return the same on a device."""
        return SortDensities(*(one.to(device) for one in self))


class DensityHeads(nn.Module):
    """Read off a visual token how many of the asked-for things lie in its window.

    Once of all that are there, so that the sum over the tokens of a moment is their number, as in
    counting by density maps; and once of those alone that were not there before, so that the
    sum over all tokens is how many there ever are.

    Args:
        width: of the states.
        depths: after how many of the language model's layers they read.
    """

    def __init__(self, width: int, depths: int) -> None:
        super().__init__()
        self.read = nn.ModuleList(zero_linear(width, 2) for _ in range(depths))

    def loss(self, states: Sequence[Tensor], there: Tensor, new: Tensor) -> Tensor:
        """Return how far what is read off ``(P, N, D)`` is from the true, the mean over depths.

        Args:
            states: after each depth.
            there: see `density_loss`.
            new: see `density_loss`.
        """
        told = [read(state) for read, state in zip(self.read, states, strict=True)]
        return torch.stack([density_loss(one, there, new) for one in told]).mean()


def density_loss(told: Tensor, there: Tensor, new: Tensor) -> Tensor:
    """Return how far two densities ``(P, N, 2)`` are from the true ones ``(P, T, N / T)``.

    Each token's by itself, the sums of each moment, and the sum of all that is new.
    """
    told_there, told_new = told.float().view(*there.shape, 2).unbind(-1)
    every = functional.smooth_l1_loss(told_new.sum((1, 2)), new.sum((1, 2)))
    return _density_missed(told_there, there) + _density_missed(told_new, new) + every


def _density_missed(told: Tensor, true: Tensor) -> Tensor:
    """Return how far a density ``(P, T, N)`` is from the true one, and its moments' sums."""
    moments = functional.smooth_l1_loss(told.sum(2), true.sum(2))
    return _APART_SHARE * functional.mse_loss(told, true) + moments


def tally_loss(
    counted: Counted, there: Tensor, new: Tensor, true: SortDensities | None = None
) -> Tensor:
    """Return how far what a tally counted is from the true densities ``(P, T, N / T)``.

    Args:
        counted: by the tally.
        there: see `density_loss`.
        new: see `density_loss`.
        true: the same sort by sort; needed where the tally lists.
    """
    first = _density_missed(counted.first.view(there.shape), there)
    come = functional.cross_entropy(counted.come.flatten(0, 1), true_come(new).flatten())
    loss = density_loss(counted.density, there, new) + _FIRST_SHARE * first + come
    if counted.listed is None:
        return loss
    assert counted.held is not None
    assert true is not None
    return loss + held_loss(counted.held, true.held) + listing_loss(counted.listed, true)


def listing_loss(listed: Listed, true: SortDensities) -> Tensor:
    """Return how far what was read off of each sort is from what is there.

    Args:
        listed: by the tally.
        true: by the renderer.
    """
    come = true.come
    by_moment = functional.cross_entropy(listed.come.flatten(0, 2), come.flatten())
    counts = functional.cross_entropy(listed.counts.flatten(0, 1), come[:, -1].flatten())
    loss = held_loss(listed.there, true.there) + held_loss(listed.new, true.new)
    return loss + SORTS * _SORT_SHARE * (by_moment + counts)


def held_loss(told: Tensor, true: Tensor) -> Tensor:
    """Return how far densities ``(P, N, K)`` are from true ones ``(P, T, N / T, K)``.

    Each window's or patch's by itself, and the sums of each moment.
    """
    told = told.view(true.shape)
    apart = functional.mse_loss(told, true)
    moments = functional.smooth_l1_loss(told.sum(2), true.sum(2))
    return true.shape[-1] * (_SORT_APART_SHARE * apart + _SORT_SHARE * moments)


def sort_densities(held: Held, packs: Sequence[Pack], scenes: Sequence[Scene]) -> SortDensities:
    """Return what the windows of each pack hold, sort by sort.

    Args:
        held: of the clips, thing by thing.
        packs: what is asked.
        scenes: what the clips show.
    """
    shape = held.counted.shape[2:]
    every = torch.stack([by_sort(*one) for one in zip(held.counted, scenes, strict=True)])
    there, new = torch.zeros(2, len(packs), *shape, SORTS)
    for row, pack in enumerate(packs):
        for target in pack.targets:
            sort = sort_of(scenes[pack.clip].things[target])
            there[row, ..., sort] += held.counted[pack.clip, target]
            new[row, ..., sort] += held.new[pack.clip, target]
    return SortDensities(held=every[[pack.clip for pack in packs]], there=there, new=new)


def by_sort(shares: Tensor, scene: Scene) -> Tensor:
    """Add up what is held of each of a scene's things, ``(things, ...)``, to ``(..., HELD)``."""
    held = torch.zeros(*shares.shape[1:], HELD)
    for number, thing in enumerate(scene.things):
        held[..., sort_of(thing)] += shares[number]
        if thing.mark:
            held[..., SORTS + MARKS.index(thing.mark)] += shares[number]
    return held


def shared_out(coverage: Tensor) -> Tensor:
    """Return which part of a thing each patch holds, where enough of the thing is seen.

    Args:
        coverage: ``(..., H, W)``: how much of each patch a thing covers.
    """
    whole = coverage.sum((-2, -1), keepdim=True)
    return torch.where(whole >= _SEEN, coverage / whole.clamp(min=_SEEN), 0.0)


def sort_of(thing: Thing) -> int:
    """Return the number of a thing's sort, by colour, then by kind."""
    return _COLOURS.index(thing.colour) * len(KINDS) + KINDS.index(thing.kind)


def true_come(new: Tensor) -> Tensor:
    """Return ``(P, T)``: how many of the new things ``(P, T, N / T)`` had come by each moment."""
    return new.sum(2).cumsum(1).round().long().clamp(max=MOST_COUNTED)


def attended_loss(
    heads: DensityHeads,
    states: Sequence[Tensor],
    attentions: Sequence[Tensor],
    notes: Sequence[Notes],
    packs: Sequence[Pack],
    scenes: Sequence[Scene],
    held: Held,
    before: int,
    counted: Counted | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Return how little a model looks where it should, and of what that is made.

    Args:
        heads: count.
        states: ``(P, L, D)`` off which each of them does.
        attentions: ``(P, heads, L, L)`` of the layers that look, and last of the one that copies.
        notes: of each row ``P``.
        packs: of each row.
        scenes: what the clips show.
        held: what the visual tokens of the clips hold.
        before: what is to be added to a note's place.
        counted: what a model that tells tokens how many there are counts itself.
    """
    *looks, copies = attentions
    shown = [held.shown[pack.clip] for pack in packs]
    looking = torch.stack([looking_loss(one, notes, shown, before) for one in looks]).mean()
    copying = copying_loss(copies, notes, before)
    there, new = (of_packs(each, packs).to(copies.device) for each in (held.counted, held.new))
    windows = there.shape[1] * there.shape[2]
    density = heads.loss([state[:, 1 : 1 + windows] for state in states], there, new)
    parts = {"looking": looking, "copying": copying, "density": density}
    if counted is not None:
        true = None
        if counted.listed is not None:
            true = sort_densities(held, packs, scenes).to(copies.device)
            told = [told_sorts(note, scenes[p.clip]) for note, p in zip(notes, packs, strict=True)]
            listed = in_order(counted.by_sort())
            going = [following_loss(one, told, listed, 1 + windows, before) for one in looks]
            parts["listing"] = torch.stack(going).mean()
        parts["tally"] = tally_loss(counted, there, new, true)
    loss = torch.stack([_SHARES[name] * part for name, part in parts.items()]).sum()
    return loss, {name: part.item() for name, part in parts.items()}


def of_packs(held: Tensor, packs: Sequence[Pack]) -> Tensor:
    """Add up what tokens hold ``(C, things, T, N / T)`` of each pack's things."""
    return torch.stack([held[pack.clip, list(pack.targets)].sum(0) for pack in packs])


def looking_loss(
    attention: Tensor, notes: Sequence[Notes], held: Sequence[Tensor], before: int
) -> Tensor:
    """Return how little of a head's attention is on the things that words speak of.

    Args:
        attention: ``(P, heads, L, L)`` of one layer.
        notes: of each row ``P``.
        held: ``(things, N)`` for each row, `Held.shown` of its clip.
        before: what is to be added to a note's place.
    """
    places, wanted = [], []
    for row, (note, shown) in enumerate(zip(notes, held, strict=True)):
        for place, things in note.looks:
            part = shown[list(things)].sum(0)
            if part.max() > 0:
                places.append((row, before + place))
                wanted.append(part >= _HOLDS * part.max())
    if not places:
        return attention.new_zeros((), dtype=torch.float32)
    looked = _attention_at(attention, places)
    goal = torch.stack(wanted).to(looked.device)
    return _missed(looked[:, 1 : 1 + goal.shape[1]], goal)


def told_sorts(notes: Notes, scene: Scene) -> list[tuple[int, int, int]]:
    """Return from where a description tells of a thing, its sort, and how many such came before."""
    order = telling_order(scene)
    sorts = [sort_of(scene.things[thing]) for thing in order]
    ranks = [(place, order.index(thing)) for place, thing in notes.told]
    return [(place, sorts[rank], sorts[:rank].count(sorts[rank])) for place, rank in ranks]


def following_loss(
    attention: Tensor,
    told: Sequence[Sequence[tuple[int, int, int]]],
    listed: Tensor,
    first: int,
    before: int,
) -> Tensor:
    """Return how little of a head's attention is on what the list says of a thing that is told.

    Args:
        attention: ``(P, heads, L, L)`` of one layer.
        told: of each row ``P``, see `told_sorts`.
        listed: ``(P, K)``, the sorts on the list.
        first: the place of the list's first token.
        before: what is to be added to a note's place.
    """
    places, wanted = [], []
    for row, (one, sorts) in enumerate(zip(told, listed.tolist(), strict=True)):
        for place, sort, earlier in one:
            if sorts.count(sort) > earlier:
                places.append((row, before + place))
                wanted.append(first + sorts.index(sort) + earlier)
    if not places:
        return attention.new_zeros((), dtype=torch.float32)
    looked = _attention_at(attention, places, _LIST_HEAD)
    goal = functional.one_hot(torch.tensor(wanted, device=looked.device), looked.shape[1]).bool()
    return _missed(looked, goal)


def copying_loss(attention: Tensor, notes: Sequence[Notes], before: int) -> Tensor:
    """Return how little of a head's attention is on the words that an answer repeats.

    Args:
        attention: ``(P, heads, L, L)`` of one layer.
        notes: of each row ``P``.
        before: what is to be added to a note's place.
    """
    copies = [(row, *copy) for row, note in enumerate(notes) for copy in note.copies]
    if not copies:
        return attention.new_zeros((), dtype=torch.float32)
    looked = _attention_at(attention, [(row, before + place) for row, place, _ in copies])
    goal = torch.zeros_like(looked, dtype=torch.bool)
    for number, (_, _, source) in enumerate(copies):
        goal[number, before + source] = True
    return _missed(looked, goal)


def _attention_at(
    attention: Tensor, places: Sequence[tuple[int, int]], head: int = _HEAD
) -> Tensor:
    """Return ``(M, L)``: what a head that is told looks at from each of some places."""
    chosen = torch.tensor(places, device=attention.device)
    return attention[chosen[:, 0], head, chosen[:, 1]].float()


def _missed(looked: Tensor, goal: Tensor) -> Tensor:
    """Return the mean of -log of the attention ``(M, L)`` that falls on the goal."""
    return -((looked * goal).sum(-1) + _LEAST).log().mean()
