"""Which things a film shows: counted sort by sort, and listed in tokens of their own.

A language model that describes what it sees has to come to every thing once. To find what it has
not named yet is hard for attention, which asks what is alike; to go down a list is easy. Knows
states of the tally's tokens; no films and no words.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

COLOURS, KINDS = 8, 6
"How many of each there are. A thing of one and of the other is of a sort."
SORTS = COLOURS * KINDS
MOST_LISTED = 9
"How long a list is; as a number of things it stands for all above it, too."
_WEIGHED_APART = 4
"Numbers of one sort from this one on are weighed alike: so many are rare."
_HIDDEN_WIDTH = 256
_ADDING_WIDTH = 128
_SURE = 4.0
"By how much, as a logit, a number is less likely for each thing that the sum is off it."
_LEAST = 1e-3
_UNLIKELY = 1e-6
_SPREAD = 0.5
"How large tokens are on average at first, as those of windows are."


class Listed(NamedTuple):
    """What was read off ``N`` windows."""

    density: Tensor
    "``(B, N, SORTS)`` float32: how many things of each sort are new in each window."
    counts: Tensor
    "``(B, SORTS, MOST_LISTED + 1)`` float32: logits of how many of each sort ever come."
    shown: Tensor
    "``(B, SORTS, D_llm)``: what the windows are like in which things of a sort are new."


class Listing(nn.Module):
    """Counts the asked-for things of each sort.

    How many of each sort are new in a window is read off the tokens and added up, as all things
    are counted (`nano_tally.Counting`). How likely each number is follows from how near the sum
    is, and from what all the sums together are.

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
        tell = nn.Linear(_HIDDEN_WIDTH, SORTS)
        nn.init.zeros_(tell.weight)
        nn.init.zeros_(tell.bias)
        self.read = nn.Sequential(nn.Linear(llm_width, _HIDDEN_WIDTH), nn.GELU(), tell)
        self.weigh = nn.Sequential(
            nn.Linear(2 * SORTS, _ADDING_WIDTH),
            nn.GELU(),
            nn.Linear(_ADDING_WIDTH, SORTS * (_WEIGHED_APART + 1)),
        )

    def forward(self, known: Tensor, size: float) -> Listed:
        """Count every sort.

        Args:
            known: ``(B, N, entry_width)``, of all tokens.
            size: of a window, as a multiple of the usual one's.
        """
        state = self.enter(known)
        for look in self.look:
            state = look(state)
        state = self.norm(state)
        density = self.read(state).float() * size
        # Each is learned from its own truth.
        came = density.sum(1).detach()
        sums = torch.cat([came, came.round()], dim=-1)
        whole = torch.arange(MOST_LISTED + 1, device=came.device)
        near = -_SURE * (came.unsqueeze(-1) - whole).abs()
        weighed = self.weigh(sums.to(state.dtype)).float().unflatten(-1, (SORTS, -1))
        weighed = weighed[..., whole.clamp(max=_WEIGHED_APART)]
        shares = density.detach().clamp(min=0.0)
        shares = shares / shares.sum(1, keepdim=True).clamp(min=_LEAST)
        shown = torch.einsum("bns,bnd->bsd", shares.to(state.dtype), state)
        return Listed(density=density, counts=near + weighed, shown=shown)


class ListTokens(nn.Module):
    """Makes a token of each listed thing, by colour, then by kind; those that are left say so.

    Args:
        width: of the tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.colour = nn.Embedding(COLOURS, width)
        self.kind = nn.Embedding(KINDS, width)
        self.shown = nn.Linear(width, width, bias=False)
        self.place = nn.Embedding(MOST_LISTED, width)
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
        tokens: Tensor = self.norm(thing + self.place.weight)
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
