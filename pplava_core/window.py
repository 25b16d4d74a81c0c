"""Sizes of pooling windows: how a kernel and a stride cut a grid of patches (Eq. 2).

Whole numbers only. Knows nothing of tensors, so that a command line can read and check
a window without loading torch; what happens inside a window is `pooling`'s business.
Sizes are always ``(T, H, W)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from pplava_core.errors import ShapeError, UsageError

Size = tuple[int, int, int]

AXES = ("T", "H", "W")


@dataclass(frozen=True)
class Window:
    """A box of patches and the step from one box to the next, along ``(T, H, W)``.

    Raises:
        ShapeError: an extent or a step is not a positive whole number.
    """

    kernel: Size
    "Patches merged along time, height and width."
    stride: Size | None = None
    "Step between windows; left out, it is the kernel: windows touch and never overlap."

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", _checked("kernel", self.kernel))
        stride = self.kernel if self.stride is None else _checked("stride", self.stride)
        object.__setattr__(self, "stride", stride)

    @classmethod
    def parse(cls, kernel: str, stride: str | None = None) -> Window:
        """Read a window written as ``"2,3,3"`` (time, height, width), its stride likewise.

        Raises:
            UsageError: the text is not three positive whole numbers with commas between.
        """
        return cls(_parsed("kernel", kernel), None if stride is None else _parsed("stride", stride))

    @property
    def step(self) -> Size:
        """The stride, which is the kernel where none was given."""
        return self.kernel if self.stride is None else self.stride

    @property
    def volume(self) -> int:
        """How many patches one window holds."""
        return math.prod(self.kernel)

    @property
    def overlaps(self) -> bool:
        """Whether a patch may lie in two windows."""
        return any(step < extent for step, extent in zip(self.step, self.kernel, strict=True))

    def output_size(self, grid_size: Size) -> Size:
        """Return ``(T', H', W')``: the windows that fit; a rest that fills none is dropped.

        Eq. 2 of the paper, with a floor.

        Raises:
            ShapeError: the kernel is longer than an axis of the grid.
        """
        for axis, extent, length in zip(AXES, self.kernel, grid_size, strict=True):
            if extent > length:
                raise ShapeError(
                    f"a window of {_text(self.kernel)} does not fit a grid of {_text(grid_size)}: "
                    f"axis {axis} has only {length}; choose a smaller kernel"
                )
        frames, rows, columns = (
            (length - extent) // step + 1
            for length, extent, step in zip(grid_size, self.kernel, self.step, strict=True)
        )
        return frames, rows, columns

    def token_count(self, grid_size: Size) -> int:
        """Return how many tokens the window leaves of a grid.

        Raises:
            ShapeError: the kernel is longer than an axis of the grid.
        """
        return math.prod(self.output_size(grid_size))

    def fitted(self, grid_size: Size) -> Window:
        """Return this window with its kernel cut to the grid, so that it can be used there.

        A still picture has one frame: the window ``(2, 3, 3)`` becomes ``(1, 3, 3)`` on it.
        """
        kernel = _sized(map(min, self.kernel, grid_size))
        return Window(kernel, _sized(map(min, self.step, grid_size)))


def window_for_output_size(
    grid_size: Size,
    output_size: Size,
    *,
    kernel: Size | None = None,
    stride: Size | None = None,
) -> Window:
    """Return the window that leaves exactly ``output_size`` of a grid.

    With neither kernel nor stride the windows cover the whole grid: the step is
    ``I // O`` and the kernel what is left, ``I - (O - 1) * step``. With a stride the
    kernel follows by the same rule; with a kernel the widest stride that still fits.

    Args:
        grid_size: ``(T, H, W)`` before pooling.
        output_size: ``(T', H', W')`` after it.
        kernel: fixes the kernel; not together with ``stride``.
        stride: fixes the stride; not together with ``kernel``.

    Raises:
        ShapeError: no window does that on this grid.
        UsageError: both kernel and stride are given.
    """
    if kernel is not None and stride is not None:
        raise UsageError(
            "an output size takes a kernel or a stride beside it, not both; leave one out"
        )
    lengths, counts = _checked("grid size", grid_size), _checked("output size", output_size)
    steps = stride
    if kernel is not None:
        steps = _sized(map(_widest_step, lengths, counts, kernel))
    elif steps is None:
        steps = _sized(length // count for length, count in zip(lengths, counts, strict=True))
    spans = [(count - 1) * step for count, step in zip(counts, steps, strict=True)]
    extents = kernel or _sized(length - span for length, span in zip(lengths, spans, strict=True))
    if min(*steps, *extents) >= 1:
        window = Window(extents, steps)
        if window.output_size(lengths) == counts:
            return window
    raise ShapeError(
        f"no window leaves {_text(counts)} of a grid of {_text(lengths)}"
        f"{f' with kernel {_text(kernel)}' if kernel else ''}"
        f"{f' with stride {_text(stride)}' if stride else ''}; choose other sizes"
    )


def window_for_budget(grid_size: Size, max_tokens: int, *, preferred: Window) -> Window:
    """Return the window nearest to ``preferred`` that leaves at most ``max_tokens`` tokens.

    Nearest: the smallest change of kernel and stride, as ratios (root of the summed squared
    logarithms); of equals, the one with more tokens. A window that has to change along an
    axis covers that axis to its end. The preferred window itself is returned when it fits.

    Args:
        grid_size: ``(T, H, W)`` before pooling.
        max_tokens: at least 1.
        preferred: what the model would use without a budget; cut to the grid first.

    Raises:
        UsageError: ``max_tokens`` is less than 1.
    """
    if max_tokens < 1:
        raise UsageError(f"a budget of {max_tokens} tokens is no budget; give at least 1")
    start = preferred.fitted(grid_size)
    if start.token_count(grid_size) <= max_tokens:
        return start
    choices = product(*(_axis_choices(grid_size, start, axis) for axis in range(3)))
    allowed = (boxes for boxes in choices if math.prod(box.count for box in boxes) <= max_tokens)
    best = min(
        allowed,
        key=lambda boxes: (
            round(sum(box.change for box in boxes), 9),
            -math.prod(box.count for box in boxes),
            abs(boxes[1].extent - boxes[2].extent),
        ),
    )
    return Window(_sized(box.extent for box in best), _sized(box.step for box in best))


@dataclass(frozen=True, kw_only=True)
class _AxisChoice:
    """A way to cut one axis, and how far it is from the preferred one."""

    extent: int
    step: int
    count: int
    change: float


def _axis_choices(grid_size: Size, start: Window, axis: int) -> list[_AxisChoice]:
    """Return the ways to cut one axis that no other beats in both count and change."""
    length, extent, step = grid_size[axis], start.kernel[axis], start.step[axis]
    count = start.output_size(grid_size)[axis]
    choices = [_AxisChoice(extent=extent, step=step, count=count, change=0.0)]
    for fewer in range(count - 1, 0, -1):
        other_step = length // fewer
        other_extent = length - (fewer - 1) * other_step
        change = math.log(other_extent / extent) ** 2 + math.log(other_step / step) ** 2
        choices.append(
            _AxisChoice(extent=other_extent, step=other_step, count=fewer, change=change)
        )
    return [
        choice
        for choice in choices
        if not any(
            other.count <= choice.count and other.change < choice.change for other in choices
        )
    ]


def _widest_step(length: int, count: int, extent: int) -> int:
    """Return the widest step (of use) at which ``count`` windows of ``extent`` fit ``length``."""
    return length if count == 1 else (length - extent) // (count - 1)


def _sized(values: Iterable[int]) -> Size:
    """Return three whole numbers as a tuple of known length."""
    frames, rows, columns = values
    return frames, rows, columns


def _checked(what: str, size: Iterable[int]) -> Size:
    """Return a size as a tuple of three positive whole numbers."""
    values = tuple(size)
    if len(values) != 3 or not all(isinstance(value, int) and value >= 1 for value in values):
        raise ShapeError(f"a {what} is three positive whole numbers (T, H, W), not {values}")
    return values[0], values[1], values[2]


def _parsed(what: str, text: str) -> Size:
    """Read ``"2,3,3"``."""
    try:
        return _checked(what, tuple(int(part) for part in text.split(",")))
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not a {what}; write three whole numbers as time,height,width: 2,3,3"
        ) from error


def _text(size: Size) -> str:
    """Write a size as people do: ``16x24x24``."""
    return "x".join(map(str, size))
