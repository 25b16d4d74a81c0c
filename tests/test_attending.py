"""Where the language model is told to look, and what its tokens are told to count."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from small_models import small_model
from torch.nn import functional

from pplava_core.models.backbones.nano_list import MOST_LISTED, Listed
from pplava_core.models.backbones.nano_things import HELD, SORTS
from pplava_core.shapes import questions as world
from pplava_core.shapes.descriptions import telling_order
from pplava_core.shapes.drawing import draw_scene
from pplava_core.shapes.film import film_for_training
from pplava_core.shapes.scene import COLOURS, KINDS
from pplava_core.train.attending import (
    DensityHeads,
    SortDensities,
    copying_loss,
    following_loss,
    held_by_tokens,
    listing_loss,
    looking_loss,
    sort_densities,
    sort_of,
    told_sorts,
)
from pplava_core.train.notes import Notes
from pplava_core.train.packs import Pack
from pplava_core.train.rows import row_of
from pplava_core.window import Window


@pytest.fixture(scope="module")
def words():
    return small_model().words


def asked(types, numbers=range(120)):
    for number in numbers:
        scene, rng = draw_scene(number), np.random.default_rng(number)
        yield from ((scene, question) for question in world.ask(scene, rng, types))


def said(row, places, words):
    return words.tokenizer.decode(
        [row.ids[place] for place in places if row.ids[place] >= 0]
    ).strip()


def row_about(question, words):
    return row_of(Pack(clip=0, guide="x", targets=(), questions=(question,)), words)


def test_a_copied_word_is_the_word_that_is_foretold(words):
    seen = {"larger": 0, "order": 0, "faster": 0}
    for _, question in asked([*seen]):
        row = row_about(question, words)
        told = said(row, [place + 1 for place, _ in row.notes.copies], words)
        assert told == said(row, [source for _, source in row.notes.copies], words)
        assert told == question.answer.lower()
        assert all(source < row.places[0] for _, source in row.notes.copies)
        seen[question.type] += 1
    assert min(seen.values()) > 10


def test_a_letter_is_copied_from_where_the_right_option_ends(words):
    chosen = set()
    for _, question in asked(["choice"]):
        row = row_about(question, words)
        ((place, source),) = row.notes.copies
        assert place == row.places[0]
        right = next(
            o
            for o, letter in zip(question.options, "ABCD", strict=True)
            if letter == question.answer
        )
        assert said(row, range(source + 1), words).endswith(right.lower())
        chosen.add(question.answer)
    assert chosen == set("ABCD")


def test_nothing_is_copied_where_the_answer_is_not_in_the_question(words):
    others = sorted(set(world.TYPES) - {"larger", "order", "faster", "choice"})
    assert not any(row_about(question, words).notes.copies for _, question in asked(others))


def test_a_description_looks_at_a_thing_before_each_of_its_words(words):
    for _, question in asked(["caption"], range(30)):
        row = row_about(question, words)
        count = len(question.mentions)
        after, before = row.notes.looks[:count], row.notes.looks[count:]
        for (end, things), mention in zip(after, question.mentions, strict=True):
            first, *others = [place for place, same in before if same == things]
            assert things == mention.things
            assert said(row, range(first + 1, end + 1), words) == mention.words
            assert others == list(range(first + 1, end))
        assert row.notes.told == [(place, *things) for place, things in row.notes.looks]


def test_a_descriptions_names_count_more_than_its_other_words(words):
    for _, question in asked(["caption"], range(30)):
        row = row_about(question, words)
        least = len(row.labels) ** -0.5
        more = [number for number, weight in enumerate(row.weights) if weight > least]
        named = {place for place, _ in row.notes.told}
        assert {row.places[number] for number in more} == named
        assert {row.weights[number] for number in more} == {3 * least}
    for _, question in asked(set(world.TYPES) - {"caption"}, range(5)):
        row = row_about(question, words)
        assert set(row.weights) == {len(row.labels) ** -0.5}


def test_what_is_not_there_is_not_looked_for(words):
    for _, question in asked(["presence", "colour"]):
        looks = row_about(question, words).notes.looks
        assert bool(looks) == bool(question.targets)
        assert all(things for _, things in looks)


@pytest.mark.parametrize("kernel", [(2, 3, 3), (2, 6, 6)])
def test_tokens_hold_as_many_things_as_a_moment_shows(kernel):
    torch.manual_seed(0)
    coverage = torch.zeros(1, 3, 4, 12, 12)
    coverage[0, 0, :, 2:4, 2:4] = torch.rand(4, 2, 2) + 0.5
    coverage[0, 1, :2, 5:8, 5:8] = 1.0  # across four windows, in the first half only
    held = held_by_tokens(coverage, Window(kernel))
    a_moment = held.counted.sum(-1)
    assert torch.allclose(a_moment[0], torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]))
    assert held.shown.shape[2] == 2 * (12 // kernel[1]) ** 2


def test_every_thing_is_new_once_and_whole():
    coverage = torch.zeros(1, 4, 6, 12, 12)
    coverage[0, 0, :, 2:4, 2:4] = 1.0
    coverage[0, 1, 3:, 5:8, 5:8] = 1.0  # comes in the second half of the second window
    coverage[0, 2, 4:, 0:1, 0:3] = 0.5
    held = held_by_tokens(coverage, Window((2, 3, 3)))
    when = held.new[0].sum(-1)
    assert torch.allclose(when, torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 0]]))
    where = held.new[0, 1, 2]
    assert torch.allclose(where, held.counted[0, 1, 2])


def test_things_are_summed_by_their_sorts_and_where_they_are_asked_for():
    fours = (s for s in map(draw_scene, range(100)) if len(s.things) == 4)
    scene = next(s for s in fours if s.things[2].colour != s.things[0].colour)
    twin = dataclasses.replace(scene.things[1], colour=scene.things[0].colour)
    twin = dataclasses.replace(twin, kind=scene.things[0].kind, mark="7")
    first, *others = (dataclasses.replace(thing, mark="") for thing in scene.things)
    scene = dataclasses.replace(scene, things=(first, twin, *others[1:]))
    coverage = torch.zeros(1, 4, 4, 12, 12)
    coverage[0, 0, :, 0:3, 0:3] = 1.0
    coverage[0, 1, 2:, 0:3, 3:6] = 0.5  # comes in the second window
    coverage[0, 2, :, 0:1, 3:4] = 0.5
    held = held_by_tokens(coverage, Window((2, 3, 3)))
    sorts = [sort_of(thing) for thing in scene.things]

    def true_of(*targets):
        true = sort_densities(
            held, [Pack(clip=0, guide="x", targets=targets, questions=())], [scene]
        )
        assert true.there.shape == true.new.shape == (1, 2, 16, SORTS)
        asked_for = held.counted[0, list(targets)].sum((0, 2))
        torch.testing.assert_close(true.there[0].sum((1, 2)), asked_for)
        assert torch.equal(true.come[0, -1], true.new[0].sum((0, 1)).round().long())
        every = held.counted[0].sum((0, 2)) + held.counted[0, 1].sum(1)  # and the digit
        torch.testing.assert_close(true.held[0].sum((1, 2)), every)
        torch.testing.assert_close(true.held[0, ..., SORTS + 8], held.counted[0, 1])
        assert true.held.shape[-1] == HELD
        new = true.new.flatten(1, 2)
        return {(n, s): round(new[0, n, s].item(), 4) for _, n, s in new.nonzero().tolist()}

    first, second, third = ({(n, sorts[t]): 1.0} for n, t in ((0, 0), (17, 1), (1, 2)))
    assert sorts[0] == sorts[1] != sorts[2]
    assert true_of(0, 1, 2) == first | second | third
    assert true_of(1, 2) == second | third
    assert true_of() == {}


def test_things_are_told_by_their_sorts():
    thing = draw_scene(0).things[0]
    ordered = [
        sort_of(dataclasses.replace(thing, colour=colour, kind=kind))
        for colour in COLOURS
        for kind in KINDS
    ]
    assert ordered == list(range(SORTS))
    for number in range(20):
        scene = draw_scene(number)
        told = [sort_of(scene.things[thing]) for thing in telling_order(scene)]
        assert told == sorted(told)


def test_a_list_that_is_right_costs_little():
    new = torch.zeros(2, 2, 4, SORTS)
    new[0, 1, 1, 5] = new[0, 1, 2, 5] = new[1, 0, 0, 40] = 1.0
    true = SortDensities(held=new, there=new, new=new)
    sure = 20 * functional.one_hot(true.come, MOST_LISTED + 1).float()
    none = torch.zeros(2, SORTS, 8)

    def loss_of(*, there=new, new=new, come=sure, counts=sure[:, -1]):
        there, new = there.flatten(1, 2), new.flatten(1, 2)
        return listing_loss(
            Listed(there=there, new=new, come=come, counts=counts, shown=none), true
        )

    assert loss_of() < 1e-3
    assert loss_of(there=torch.zeros_like(new)) > 0.3
    assert loss_of(new=torch.zeros_like(new)) > 0.3
    assert loss_of(come=sure.roll(1, dims=1)) > 4
    assert loss_of(counts=sure[:, -1].roll(1, dims=1)) > 10


def test_alike_things_are_told_one_after_the_other(words):
    alike = 0
    for scene, question in asked(["caption"], range(30)):
        told = told_sorts(row_about(question, words).notes, scene)
        after, before = told[: len(scene.things)], told[len(scene.things) :]
        assert list(dict.fromkeys(one[1:] for one in before)) == [one[1:] for one in after]
        assert len({one[1:] for one in after}) == len(scene.things)
        assert [one[1:] for one in after] == sorted(one[1:] for one in after)
        alike += any(earlier for _, _, earlier in after)
    assert alike > 3


def test_attention_is_to_follow_the_list():
    told = [[(4, 7, 0), (5, 9, 1), (6, 30, 0), (6, 7, 1)], []]
    listed = torch.tensor([[7, 9, 9], [7, -1, -1]])  # the last two of what is told are not on it
    for source, right in ((7, True), (6, False), (5, False), (3, False)):
        attention = attention_on([(7, 5), (8, source)], rows=2, head=-2)
        assert (following_loss(attention, told, listed, 5, 3) < 0.01) == right
    assert following_loss(attention_on([(7, 5), (8, 7)], rows=2), told, listed, 5, 3) > 1
    assert following_loss(attention_on([], rows=2), [[(6, 30, 0)], []], listed, 5, 3) == 0
    assert following_loss(attention_on([], rows=2), [[], []], listed, 5, 3) == 0


def attention_on(places, length=12, heads=2, rows=1, head=-1):
    attention = torch.full((rows, heads, length, length), 1e-9)
    for place, source in places:
        attention[0, head, place, source] = 1.0
    return attention


def test_attention_that_copies_costs_nothing_and_any_other_much():
    notes = [Notes(copies=[(4, 2), (5, 3)])]
    right = copying_loss(attention_on([(7, 5), (8, 6)]), notes, 3)
    assert right == pytest.approx(0.0, abs=2e-3)
    half = copying_loss(attention_on([(7, 5), (8, 5)]), notes, 3)
    assert half == pytest.approx(-math.log(1e-3) / 2, rel=0.01)
    assert copying_loss(attention_on([]), [Notes()], 3) == 0


def test_attention_is_to_be_on_the_tokens_of_a_thing():
    shown = torch.tensor([[0.0, 0.8, 0.6, 0.1], [0.0, 0.0, 0.0, 0.0]])  # the second is never seen
    notes = [Notes(looks=[(4, (0,)), (5, (1,))])]
    for source, right in ((1, False), (2, True), (3, True), (4, False), (6, False)):
        loss = looking_loss(attention_on([(7, source)]), notes, [shown], 3)
        assert (loss < 0.01) == right
    assert looking_loss(attention_on([]), [Notes(looks=[(5, (1,))])], [shown], 3) == 0


def test_the_density_is_read_off_rendered_films():
    torch.manual_seed(0)
    held = []
    for number in range(12):
        scene = draw_scene(number)
        _, coverage = film_for_training(
            scene,
            [0.3, 0.6],
            np.random.default_rng(number),
            size=96,
            grid=(12, 12),
            codec_share=0.0,
        )
        held.append(held_by_tokens(torch.from_numpy(coverage)[None].float(), Window((2, 3, 3))))
    there = torch.stack([one.counted[0].sum(0) for one in held])
    new = torch.stack([one.new[0].sum(0) for one in held])
    assert new.sum((1, 2)).round().max() >= 5
    assert (new.sum((1, 2)) > there.mean(1).sum(1) + 0.3).any()
    states = torch.randn(12, 16, 32).requires_grad_()
    heads = DensityHeads(32, 2)
    optimiser = torch.optim.Adam([*heads.parameters(), states], 0.05)
    losses = []
    for _ in range(150):
        loss = heads.loss([states, 2 * states], there, new)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
