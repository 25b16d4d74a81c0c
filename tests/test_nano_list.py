"""What nano's tally lists: how many of each sort, in which order, in tokens of their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pplava_core.models.backbones.nano_list import (
    COLOURS,
    KINDS,
    MOST_LISTED,
    SORTS,
    Listing,
    ListTokens,
    in_all,
    in_order,
    likeliest,
)
from pplava_core.shapes import scene
from pplava_core.train.attending import listing_loss, true_counts


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
    """Windows show things of six sorts, no two in one; every one is to be listed."""
    torch.manual_seed(0)
    listing = Listing(16, 32, nn.ModuleList())
    optimiser = torch.optim.Adam(listing.parameters(), 3e-3)
    looks = torch.randn(SORTS, 16)
    for _ in range(200):
        things = torch.randint(0, 6, (16, 5)) * 7
        true = nn.functional.one_hot(things, SORTS).float()
        true[:, 4] = 0.0  # one window shows nothing
        counted = listing(true @ looks, 1.0)
        loss = listing_loss(counted, true)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    right = likeliest(counted.counts, torch.full((16,), 4)) == true_counts(true)
    assert right.all(1).float().mean() > 0.8
    twice = listing(true @ looks, 2.0)
    torch.testing.assert_close(twice.density, 2 * counted.density, atol=0.2, rtol=0.2)
