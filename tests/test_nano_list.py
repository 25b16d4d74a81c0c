"""What nano's tally lists: how many of each sort, in which order, in tokens of their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from pplava_core.models.backbones.nano_list import (
    MOST_LISTED,
    Listing,
    ListTokens,
    in_all,
    in_order,
    likeliest,
)
from pplava_core.models.backbones.nano_things import COLOURS, HELD, KINDS, MARKS, SORTS, HeldThings
from pplava_core.shapes import scene
from pplava_core.train.attending import SortDensities, listing_loss


def counts_of(**odds):
    """Return logits ``(1, SORTS, K)`` of counts, of all sorts but some surely none."""
    logits = torch.full((1, SORTS, MOST_LISTED + 1), -20.0)
    logits[..., 0] = 20.0
    for name, shares in odds.items():
        logits[0, int(name.strip("s"))] = torch.tensor(
            [*shares, *[1e-6] * 10][: MOST_LISTED + 1]
        ).log()
    return logits


def test_sorts_are_as_many_as_the_world_has():
    assert (len(scene.COLOURS), len(scene.KINDS)) == (COLOURS, KINDS)
    assert len(scene.MARKS) == MARKS
    assert MOST_LISTED > scene.MAX_THINGS


def test_numbers_of_all_are_likely_as_those_of_each_sort_add_up():
    few = counts_of(s4=[0.1, 0.9], s9=[0.05, 0.2, 0.75])
    many = torch.full_like(few, -20.0)
    many[..., 1] = 20.0
    likely = in_all(torch.cat([few, many])).exp()
    expected = torch.zeros(2, MOST_LISTED + 1)
    expected[0, :4] = torch.tensor([0.005, 0.065, 0.255, 0.675])
    expected[1, MOST_LISTED] = 1.0
    torch.testing.assert_close(likely, expected, atol=1e-5, rtol=0.0)


def test_as_many_are_listed_as_were_counted_the_likeliest_first():
    counts = counts_of(s4=[0.1, 0.9], s9=[0.05, 0.2, 0.75], s30=[0.6, 0.4])
    found = {
        number: likeliest(counts, torch.tensor([number]))[0].nonzero().flatten().tolist()
        for number in range(5)
    }
    assert found == {0: [], 1: [9], 2: [4, 9], 3: [4, 9], 4: [4, 9, 30]}
    assert likeliest(counts, torch.tensor([3]))[0, 9] == 2
    assert likeliest(counts, torch.tensor([9])).sum() == 9


def test_many_of_one_sort_are_counted_and_listed():
    many = counts_of(s7=[*[1e-6] * 6, 0.4, 0.6])
    torch.testing.assert_close(in_all(many)[0, 6:8].exp(), torch.tensor([0.4, 0.6]))
    assert likeliest(many, torch.tensor([7]))[0, 7] == 7


def test_a_list_goes_by_colour_then_kind():
    counts = torch.zeros(2, SORTS, dtype=torch.long)
    counts[0, [40, 3, 17]] = torch.tensor([1, 2, 1])
    counts[1, 0] = MOST_LISTED
    listed = in_order(counts).tolist()
    assert listed[0] == [3, 3, 17, 40, *[-1] * (MOST_LISTED - 4)]
    assert listed[1] == [0] * MOST_LISTED
    assert in_order(counts[:0]).shape == (0, MOST_LISTED)


def test_tokens_tell_which_and_where_on_the_list():
    torch.manual_seed(0)
    tokens = ListTokens(16)
    counts = torch.zeros(2, SORTS, dtype=torch.long)
    counts[0, [3, 17]] = torch.tensor([2, 1])
    counts[1, [3, 18]] = 1
    shown = torch.randn(1, SORTS, 16).expand(2, -1, -1)
    one, other = tokens(in_order(counts), shown)
    assert one.shape == (MOST_LISTED, 16)
    same = torch.isclose(one, other).all(1)
    assert same.tolist() == [True, False, False, *[True] * (MOST_LISTED - 3)]
    assert not torch.isclose(one[0], one[1]).all()  # twins stand at places of their own
    assert not torch.isclose(one[-1], one[-2]).all()
    changed = tokens(in_order(counts), shown + 1.0)[0]
    assert torch.isclose(changed, one).all(1).tolist() == [False] * 3 + [True] * (MOST_LISTED - 3)


def test_tokens_tell_what_stands_before_them():
    torch.manual_seed(0)
    tokens = ListTokens(16)
    listed = torch.tensor([[3, 9, 9, -1], [5, 9, 9, -1]])
    listed = functional.pad(listed, (0, MOST_LISTED - 4), value=-1)
    shown = torch.zeros(2, SORTS, 16)
    one, other = tokens(listed, shown)
    assert torch.isclose(one, other).all(1).tolist() == [False, *[True] * (MOST_LISTED - 1)]
    nn.init.normal_(tokens.after.weight)
    one, other = tokens(listed, shown)
    assert torch.isclose(one, other).all(1).tolist() == [False, False, *[True] * (MOST_LISTED - 2)]


@pytest.mark.parametrize(("untold", "like", "unlike"), [("colour", 7, 2), ("kind", 2, 7)])
def test_a_sort_is_of_a_colour_and_a_kind(untold, like, unlike):
    torch.manual_seed(0)
    tokens = ListTokens(16)
    nn.init.zeros_(getattr(tokens, untold).weight)
    listed = torch.tensor([[1], [like], [unlike]]).expand(-1, MOST_LISTED)
    first, alike, apart = tokens(listed, torch.zeros(3, SORTS, 16))[:, 0]
    assert torch.isclose(first, alike).all()
    assert not torch.isclose(first, apart).all()


def test_a_list_is_learned():
    """Things of six sorts come at one of two moments, no two in one window; half are asked for."""
    torch.manual_seed(0)
    listing = Listing(2, 32, nn.ModuleList())
    optimiser = torch.optim.Adam(listing.parameters(), 3e-3)
    for _ in range(250):
        things = functional.one_hot(torch.randint(0, 6, (16, 4)) * 7, SORTS).float()
        asked = torch.rand(16, 1, 4, 1).gt(0.5).float().expand(-1, 2, -1, -1)
        comes = torch.rand(16, 1, 4, 1).gt(0.5).float()
        held = torch.stack([things * comes[:, 0], things], dim=1)
        new = torch.cat([comes, 1 - comes], dim=1)
        true = SortDensities(held=held, there=held * asked, new=held * asked * new)
        known = torch.cat([asked, new], dim=-1).flatten(1, 2)
        counted = listing(known, held.flatten(1, 2), 2, 1.0)
        loss = listing_loss(counted, true)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    number = true.come[:, -1].sum(1)
    right = likeliest(counted.counts, number) == true.come[:, -1]
    assert right.all(1).float().mean() > 0.8
    assert (counted.come.argmax(-1) == true.come).all(-1).float().mean() > 0.8


def test_a_window_of_twice_the_size_shows_twice_as_much_beside_what_its_patches_hold():
    torch.manual_seed(0)
    listing = Listing(2, 32, nn.ModuleList())
    known, held = torch.randn(1, 4, 2), torch.rand(1, 4, SORTS)
    once, twice = (listing(known, held, 2, size) for size in (1.0, 2.0))
    for one in (once, twice):  # all that is held was asked for, nothing is new
        assert torch.equal(one.there, held)
        assert not one.new.any()
    nn.init.normal_(listing.read[-1].bias)
    of_held, beside = (
        [listing(known, what, 2, size) for size in (1.0, 2.0)] for what in (held, held * 0)
    )
    for name in ("there", "new"):
        (once, twice), (little, much) = (
            [getattr(listed, name) for listed in both] for both in (of_held, beside)
        )
        torch.testing.assert_close(much, 2 * little)
        torch.testing.assert_close(twice - much, once - little)


def test_before_training_nothing_is_listed():
    listed = Listing(2, 32, nn.ModuleList())(torch.randn(1, 4, 2), torch.zeros(1, 4, SORTS), 2, 1.0)
    assert in_all(listed.counts).argmax() == 0


def test_which_thing_a_patch_shows_is_lost_in_an_average_and_not_in_what_is_read_off_it():
    """Red and blue, stars and rings: two films whose averages are alike hold other things."""
    torch.manual_seed(0)
    red, blue, star, ring = torch.eye(4)
    films = torch.stack([red + star, blue + ring, red + ring, blue + star]).view(2, 2, 4)
    true = torch.zeros(2, 2, HELD)
    for place, sort in enumerate((0, 7, 1, 6)):
        true[place // 2, place % 2, sort] = 1.0
    things = HeldThings(4)
    assert not things(films).any()
    optimiser = torch.optim.Adam(things.parameters(), 1e-2)
    mixed = torch.tensor([[0, 1], [2, 3], [0, 2], [1, 3], [0, 3], [1, 1]])  # also in other windows
    for _ in range(200):
        windows, held = films.flatten(0, 1)[mixed], true.flatten(0, 1)[mixed]
        loss = (things(windows).mean(1) - held.mean(1)).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    torch.testing.assert_close(things(films).mean(1), true.mean(1), atol=0.05, rtol=0.0)
    averaged = things(films.mean(1))
    torch.testing.assert_close(averaged[0], averaged[1])
