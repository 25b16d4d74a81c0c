"""How many of the asked-for things a film shows: counted window by window, added up over moments.

Attention averages, and a count is a sum; so nano counts before its language model begins, and
tells every token what came out. What lists the things, `nano_list`, begins with what is known here.
Knows pooled tokens; no films and no words.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pplava_core.errors import ModelError
from pplava_core.models.backbones.nano_list import (
    MOST_LISTED,
    Listed,
    Listing,
    ListTokens,
    added_up,
    by_moment,
    in_all,
    in_order,
    likeliest,
    spelled,
)
from pplava_core.models.backbones.nano_things import HELD, SORTS
from pplava_core.models.backbones.nano_tokens import zero_linear
from pplava_core.window import Window

_HEAD_WIDTH = 32
_LOOKS_AFTER = 2
_LOOKS_TO_LIST = 3
_BEFORE_WIDTH, _BEFORE_KEPT = 64, 48
_ADDING_WIDTH = 64
_THERE_SPREAD = 0.3
MOST_COUNTED = MOST_LISTED
"Numbers are told apart up to this one, which stands for all above it, too."


class Counted(NamedTuple):
    """What was counted in ``T'`` moments of ``N / T'`` windows each."""

    first: Tensor
    "``(B, N)`` float32: how many things lie in each window, by the first look at it."
    density: Tensor
    "``(B, N, 2)`` float32: how many things lie in each window, and how many of them are new."
    come: Tensor
    """``(B, T', MOST_COUNTED + 1)`` float32: logits of how many had come by each moment; those of
    the last moment are of how many ever come, as far as the moments tell."""
    held: Tensor | None
    """``(B, N, HELD)`` float32: how many things of each sort and mark lie in each window, whatever
    is asked; None where the model tells no list."""
    listed: Listed | None
    "What was counted sort by sort; None where the model tells no list."

    def in_all(self) -> Tensor:
        """Return ``(B, MOST_COUNTED + 1)`` float32: logits of how many things ever come.

        Where they are counted by sort as well, it is as likely as both ways of counting say
        together. Nothing is learned through it.
        """
        ever = self.come[:, -1].detach()
        if self.listed is None:
            return ever
        return ever.log_softmax(-1) + in_all(self.listed.counts.detach())

    def by_sort(self) -> Tensor:
        """Return ``(B, SORTS)``: how many of each sort are listed, as many as ever come.

        Raises:
            ModelError: the model tells no list.
        """
        if self.listed is None:
            raise ModelError("a tally without tells_list counts no sorts")
        return likeliest(self.listed.counts.detach(), self.in_all().argmax(-1))


class Tally(nn.Module):
    """Tells every token how many of the asked-for things there are, which at first changes nothing.

    All tokens of a moment are told the same: how many things are there, how many had come by
    then, and how many ever come. Where it lists, each is also told which things its own window
    holds, and tokens follow that stand for a thing each, or for the end of the list.

    Args:
        width: of the features that are averaged.
        llm_width: of the tokens.
        window: the model's own; what is read off a larger one counts for as many of it.
        lists: whether things are listed, too.
    """

    def __init__(self, width: int, llm_width: int, window: Window, *, lists: bool = False) -> None:
        super().__init__()
        self.count = Counting(width, llm_width, window, lists=lists)
        self.tell = zero_linear(3 * (MOST_COUNTED + 2), llm_width, bias=False)
        self.tell_held: nn.Linear | None = None
        self.list: ListTokens | None = None
        if lists:
            self.tell_held = zero_linear(HELD, llm_width, bias=False)
            self.list = ListTokens(llm_width)

    def forward(
        self, tokens: Tensor, averages: Tensor, window: Window, held: Tensor | None = None
    ) -> Tensor:
        """Return tokens that know how many things there are, and after them those of the list.

        Args:
            tokens: ``(B, T', H', W', D_llm)``, with their places.
            averages: ``(B, T', H', W', D)``, standardised.
            window: what was averaged.
            held: ``(B, T', H', W', HELD)``, what the windows' patches hold on average; needed where
                it lists.

        Returns:
            ``(B, N, D_llm)``, time slowest; ``N`` is ``T' H' W'``, and where it lists the length of
            a list more.
        """
        counted: Counted = self.count(tokens, averages, window, held)
        # Counts are learned from the true ones alone, whatever an answer would like them to be.
        there = by_moment(counted.density, tokens.shape[1])[..., 0].detach()
        come = _weighed(counted.come.detach().softmax(-1))
        ever = _weighed(counted.in_all().softmax(-1)).unsqueeze(1)
        numbers = torch.cat([spelled(there), come, ever.expand_as(come)], dim=-1)
        added = self.tell(numbers.to(tokens.dtype))[:, :, None, None]
        told: Tensor = (tokens + added).flatten(1, 3)
        if self.list is None or self.tell_held is None:
            return told
        assert counted.held is not None
        assert counted.listed is not None
        told = told + self.tell_held(counted.held.detach().to(told.dtype))
        listed = self.list(in_order(counted.by_sort()), counted.listed.shown.detach())
        return torch.cat([told, listed], dim=1)


class Counting(nn.Module):
    """Counts the asked-for things of a film.

    Every token first looks at all the others, which tells it what is asked for, and how many such
    things lie in its window is read off its average, and in a model that lists off what its patches
    hold as well. Then it is compared with the windows around
    it at the three moments before, and looks at all the others again; now two numbers are read
    off: how many things lie in the window, and how many of them are seen for the first time. A
    thing that moves, hides or blinks is easily taken for new in part, so the sums are not
    simply added up: a recurrent network goes through the moments' sums, the most that were there
    and all that were new, and says how many have come.

    Args:
        width: of the features that are averaged.
        llm_width: of the tokens.
        window: the model's own.
        lists: whether things are listed, too.
    """

    def __init__(self, width: int, llm_width: int, window: Window, *, lists: bool = False) -> None:
        super().__init__()
        self.patches = _patches_of(window)
        read_width = width + (HELD if lists else 0)
        self.enter = nn.Linear(llm_width + read_width, llm_width)
        self.look = _look(llm_width)
        self.first = Density(read_width, llm_width, 1)
        self.tell_first = nn.Linear(1, llm_width)
        nn.init.normal_(self.tell_first.weight, std=_THERE_SPREAD)
        nn.init.zeros_(self.tell_first.bias)
        self.before = Before(llm_width)
        self.look_again = nn.ModuleList(_look(llm_width) for _ in range(_LOOKS_AFTER))
        self.density = Density(read_width, llm_width, 2)
        self.add = nn.GRU(4 * (MOST_COUNTED + 2), _ADDING_WIDTH, batch_first=True)
        self.come = zero_linear(_ADDING_WIDTH, MOST_COUNTED + 1)
        self.list: Listing | None = None
        if lists:
            looks = nn.ModuleList(_look(llm_width) for _ in range(_LOOKS_TO_LIST))
            self.list = Listing(read_width + 2 * llm_width + 2, llm_width, looks)

    def forward(
        self, tokens: Tensor, averages: Tensor, window: Window, held: Tensor | None = None
    ) -> Counted:
        """Count; see `Tally.forward` for what is taken."""
        grid_size = tokens.shape[1:4]
        size = _patches_of(window) / self.patches
        averages = averages.flatten(1, 3)
        if self.list is not None:
            assert held is not None
            held = held.flatten(1, 3).float() * _patches_of(window)
            averages = torch.cat([averages, held.detach().to(averages.dtype)], dim=-1)
        shown = torch.cat([tokens.flatten(1, 3), averages], dim=-1)
        state = self.look(self.enter(shown))
        first = self.first(state, averages, size)
        # Each of the numbers is learned from its own truth.
        known = first.detach().to(state.dtype)
        state = state + self.tell_first(known)
        state = state + self.before(state, known, grid_size)
        for look in self.look_again:
            state = look(state)
        density = self.density(state, averages, size)
        sums = added_up(*by_moment(density, grid_size[0]).detach().unbind(-1))
        added, _ = self.add(spelled(sums).flatten(-2).to(state.dtype))
        come: Tensor = self.come(added).float()
        listed = None
        if self.list is not None:
            assert held is not None
            # What lists things would rather know of them must not cost what counts them.
            seen = [shown, state.detach(), density.detach().to(state.dtype)]
            sorts = held.detach()[..., :SORTS]
            listed = self.list(torch.cat(seen, dim=-1), sorts, grid_size[0], size)
        return Counted(
            first=first.squeeze(-1), density=density, come=come, held=held, listed=listed
        )


class Before(nn.Module):
    """What a window's surroundings were like at the three moments before; at first nothing.

    Args:
        width: of the states.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(width, _BEFORE_KEPT)
        self.near = nn.Conv3d(_BEFORE_KEPT + 1, _BEFORE_WIDTH, (3, 3, 3))
        self.far = nn.Conv3d(_BEFORE_WIDTH, _BEFORE_WIDTH, (2, 3, 3))
        self.leave = zero_linear(_BEFORE_WIDTH, width)

    def forward(self, state: Tensor, known: Tensor, grid_size: torch.Size) -> Tensor:
        """Return ``(B, N, D)`` for states ``(B, N, D)`` and counts ``(B, N, 1)`` of a grid."""
        told = torch.cat([self.enter(state), known], dim=-1)
        maps = told.transpose(1, 2).reshape(len(told), -1, *grid_size)
        for convolution in (self.near, self.far):
            moments = convolution.kernel_size[0] - 1
            # Filled up in front only: a moment knows nothing of later ones.
            maps = functional.pad(maps, (1, 1, 1, 1, moments, 0))
            maps = functional.gelu(convolution(maps))
        compared: Tensor = self.leave(maps.flatten(2).transpose(1, 2))
        return compared


class Density(nn.Module):
    """Reads numbers off every token that can be added up, as in counting by density maps.

    They are linear in the plain average, and in what the patches hold where that is read, of which
    the state decides the channels.

    Args:
        width: of these.
        llm_width: of the states.
        numbers: how many to read.
    """

    def __init__(self, width: int, llm_width: int, numbers: int) -> None:
        super().__init__()
        self.numbers = numbers
        self.norm = nn.LayerNorm(llm_width)
        self.channels = zero_linear(llm_width, numbers * width)
        self.rest = zero_linear(llm_width, numbers)

    def forward(self, state: Tensor, averages: Tensor, size: float) -> Tensor:
        """Return the densities of every token.

        Args:
            state: ``(B, N, D_llm)``.
            averages: ``(B, N, width)``.
            size: of a window, as a multiple of the usual one's.

        Returns:
            ``(B, N, numbers)`` float32.
        """
        state = self.norm(state)
        channels = self.channels(state).unflatten(-1, (self.numbers, -1))
        read = (channels * averages.unsqueeze(-2)).float().mean(-1)
        density: Tensor = (read + self.rest(state).float()) * size
        return density


def _weighed(likely: Tensor) -> Tensor:
    """Return ``(..., K)``: how likely ``(..., K - 1)`` each number is, and how large on average."""
    whole = torch.arange(MOST_COUNTED + 1, device=likely.device, dtype=likely.dtype)
    return torch.cat([likely, (likely @ whole).unsqueeze(-1) / MOST_COUNTED], dim=-1)


def _look(width: int) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        width,
        max(width // _HEAD_WIDTH, 1),
        dim_feedforward=2 * width,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )


def _patches_of(window: Window) -> int:
    """Return how many patches of a frame lie in a window."""
    _, rows, columns = window.kernel
    return rows * columns
