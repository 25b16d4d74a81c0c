"""Which things a film shows: counted sort by sort, and listed in tokens of their own.

A language model that describes what it sees has to come to every thing once. To find what it has
not named yet is hard for attention, which asks what is alike; to go down a list is easy. Knows
states of the tally's tokens and what their windows hold; no films and no words.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pplava_core.models.backbones.nano_things import COLOURS, KINDS, SORTS
from pplava_core.models.backbones.nano_tokens import zero_linear

MOST_LISTED = 9
"How long a list is; as a number of things it stands for all above it, too."
_WEIGHED_APART = 4
"Numbers of one sort from this one on are weighed alike: so many are rare."
_HIDDEN_WIDTH = 256
_ADDING_WIDTH, _WEIGHING_WIDTH = 64, 128
_NONE_AT_FIRST = 8.0
"Of most sorts there is none; all alike would say before training that there are many things."
_LEAST = 1e-3
_UNLIKELY = 1e-6
_SPREAD = 0.5
"How large tokens are on average at first, as those of windows are."


class Listed(NamedTuple):
    """What was read off the ``N`` windows of ``T'`` moments."""

    there: Tensor
    "``(B, N, SORTS)`` float32: how many of the asked-for things of each sort lie in each window."
    new: Tensor
    "``(B, N, SORTS)`` float32: how many of them are new there."
    come: Tensor
    """``(B, T', SORTS, MOST_LISTED + 1)`` float32: logits of how many of each sort had come by each
    moment, as far as that sort's own sums tell."""
    counts: Tensor
    "``(B, SORTS, MOST_LISTED + 1)`` float32: logits of how many of each sort ever come."
    shown: Tensor
    "``(B, SORTS, D_llm)``: what the windows are like in which things of a sort are new."


class Listing(nn.Module):
    """Counts the asked-for things of each sort.

    Which things a window holds is known. What is read off its token says how many of them were
    asked for and how many are new. The sums of every moment go through a recurrent network, as
    those of all things do (`nano_tally.Counting`), the same one for every sort; how likely each
    number is also follows from what the sums of all sorts are together.

    Args:
        entry_width: of what is known of a token.
        llm_width: of the states.
        layers: that let every token look at all the others.
    """

    def __init__(self, entry_width: int, llm_width: int, layers: nn.ModuleList) -> None:
        super().__init__()
        self.enter = nn.Linear(entry_width, llm_width)
        self.look = layers
        self.norm = nn.LayerNorm(llm_width)
        self.read = nn.Sequential(
            nn.Linear(llm_width, _HIDDEN_WIDTH), nn.GELU(), zero_linear(_HIDDEN_WIDTH, 4 * SORTS)
        )
        self.add = nn.GRU(4 * (MOST_LISTED + 2), _ADDING_WIDTH, batch_first=True)
        self.come = zero_linear(_ADDING_WIDTH, MOST_LISTED + 1)
        with torch.no_grad():
            self.come.bias[0] = _NONE_AT_FIRST
        self.weigh = nn.Sequential(
            nn.Linear(2 * SORTS, _WEIGHING_WIDTH),
            nn.GELU(),
            zero_linear(_WEIGHING_WIDTH, SORTS * (_WEIGHED_APART + 1)),
        )

    def forward(self, known: Tensor, held: Tensor, moments: int, size: float) -> Listed:
        """Count every sort.

        Args:
            known: ``(B, N, entry_width)``, of all tokens, time slowest.
            held: ``(B, N, SORTS)``: how many things of each sort lie in each window.
            moments: ``T'``, in which the tokens lie.
            size: of a window, as a multiple of the usual one's.
        """
        state = self.enter(known)
        for look in self.look:
            state = look(state)
        state = self.norm(state)
        asked, beside, coming, beside_new = self.read(state).float().chunk(4, dim=-1)
        there = held * (1.0 + asked) + beside * size
        new = held * coming + beside_new * size
        # Each is learned from its own truth.
        sums = added_up(by_moment(there.detach(), moments), by_moment(new.detach(), moments))
        each = spelled(sums).flatten(-2).transpose(1, 2)
        added, _ = self.add(each.flatten(0, 1).to(state.dtype))
        come = self.come(added).float().unflatten(0, (-1, SORTS)).transpose(1, 2)
        whole = torch.arange(MOST_LISTED + 1, device=come.device).clamp(max=_WEIGHED_APART)
        ever = sums[:, -1, :, 2:].flatten(1)
        weighed = self.weigh(ever.to(state.dtype)).float().unflatten(-1, (SORTS, -1))
        shares = new.detach().clamp(min=0.0)
        shares = shares / shares.sum(1, keepdim=True).clamp(min=_LEAST)
        shown = torch.einsum("bns,bnd->bsd", shares.to(state.dtype), state)
        counts = come[:, -1] + weighed[..., whole]
        return Listed(there=there, new=new, come=come, counts=counts, shown=shown)


class ListTokens(nn.Module):
    """Makes a token of each listed thing, by colour, then by kind; those that are left say so.

    Each also says what stands before it on the list (before training, nothing of it), so that what
    comes next in a description is found by what has just been named.

    Args:
        width: of the tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.colour = nn.Embedding(COLOURS, width)
        self.kind = nn.Embedding(KINDS, width)
        self.shown = nn.Linear(width, width, bias=False)
        self.place = nn.Embedding(MOST_LISTED, width)
        self.after = nn.Embedding(SORTS + 1, width)
        nn.init.zeros_(self.after.weight)
        self.nothing = nn.Parameter(torch.zeros(width))
        self.norm = nn.RMSNorm(width)
        nn.init.constant_(self.norm.weight, _SPREAD)

    def forward(self, sorts: Tensor, shown: Tensor) -> Tensor:
        """Return ``(B, MOST_LISTED, D_llm)``.

        Args:
            sorts: see `in_order`.
            shown: see `Listed`.
        """
        known = sorts.clamp(min=0)
        own = shown.gather(1, known.unsqueeze(-1).expand(-1, -1, shown.shape[-1]))
        thing = self.colour(known // KINDS) + self.kind(known % KINDS) + self.shown(own)
        thing = torch.where((sorts < 0).unsqueeze(-1), self.nothing, thing)
        before = functional.pad(sorts[:, :-1], (1, 0), value=-1) + 1
        tokens: Tensor = self.norm(thing + self.place.weight + self.after(before))
        return tokens


def in_all(counts: Tensor) -> Tensor:
    """Return ``(B, MOST_LISTED + 1)`` float32: log of how likely each number of things is.

    That is the distribution of a sum of numbers that know nothing of each other.

    Args:
        counts: ``(B, SORTS, MOST_LISTED + 1)``, see `Listed`.
    """
    # A sum's distribution is the product of the others' transforms; the points hold the largest.
    points = SORTS * MOST_LISTED + 1
    every = torch.fft.rfft(counts.float().softmax(-1), n=points).prod(1)
    likely = torch.fft.irfft(every, n=points)
    few, many = likely[:, :MOST_LISTED], likely[:, MOST_LISTED:].sum(1, keepdim=True)
    return torch.cat([few, many], dim=1).clamp(min=_UNLIKELY).log()


def likeliest(counts: Tensor, number: Tensor) -> Tensor:
    """Return ``(B, SORTS)``: how many of each sort are listed, so many in all as were counted.

    Args:
        counts: ``(B, SORTS, MOST_LISTED + 1)``, see `Listed`.
        number: ``(B,)``, of all things together.
    """
    likely = counts.softmax(-1)
    at_least = likely.flip(-1).cumsum(-1).flip(-1)[..., 1:].flatten(1)
    places = at_least.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    chosen = places < number.unsqueeze(1)
    return chosen.view(len(counts), SORTS, MOST_LISTED).sum(-1)


def in_order(counts: Tensor) -> Tensor:
    """Return ``(B, MOST_LISTED)``: the sort of each thing on the list, -1 where it has ended.

    Args:
        counts: ``(B, SORTS)``, see `likeliest`.
    """
    ends = counts.cumsum(-1)
    places = torch.arange(MOST_LISTED, device=counts.device).expand(len(counts), -1).contiguous()
    sorts = torch.searchsorted(ends, places, right=True)
    return torch.where(places < ends[:, -1:], sorts, -1)


def spelled(numbers: Tensor) -> Tensor:
    """Return ``(..., K)``: how near numbers ``(...)`` are to each whole one, and how large."""
    whole = torch.arange(MOST_LISTED + 1, device=numbers.device)
    near = (1.0 - (numbers.unsqueeze(-1) - whole).abs()).clamp(min=0.0)
    return torch.cat([near, numbers.unsqueeze(-1) / MOST_LISTED], dim=-1)


def by_moment(density: Tensor, moments: int) -> Tensor:
    """Add ``(B, N, numbers)`` up to ``(B, moments, numbers)``."""
    return density.view(len(density), moments, -1, density.shape[-1]).sum(2)


def added_up(there: Tensor, new: Tensor) -> Tensor:
    """Return ``(B, T', ..., 4)``: both sums, the most that were there by then, all that were new.

    Args:
        there: ``(B, T', ...)``, how many things are there at each moment.
        new: the same of those that are new.
    """
    return torch.stack([there, new, there.cummax(1).values, new.cumsum(1)], dim=-1)
