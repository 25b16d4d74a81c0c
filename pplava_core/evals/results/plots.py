"""Runs as a picture: accuracy against visual tokens, and against the length and side of kernels.

The first panel is the paper's Fig. 1b, the others its Fig. 3 and 4; each of those appears
where the runs differ in that size alone. Knows what runs left in their folders.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pplava_core.atomic import replacing
from pplava_core.errors import UsageError
from pplava_core.evals.results.compare import Run
from pplava_core.evals.runs.predictions import unwritable

_COLOURS = ("#30638e", "#d1495b", "#4f772d", "#edae49", "#7b4b94", "#00798c", "#8d6a4f")
_MARKERS = "osD^vPX"
Window = tuple[int, int, int]


def plot_runs(runs: Sequence[Run], target: Path) -> None:
    """Draw runs into a PNG.

    Raises:
        UsageError: no run says how many visual tokens it took, or none has a figure.
        OutputError: the picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = [run for run in runs if run.visual_tokens and run.summary["value"] is not None]
    if not drawn:
        raise UsageError("none of the runs tells its visual tokens and a figure to draw")
    curves = [curve for curve in (_by_length(drawn), _by_side(drawn)) if curve[1]]
    figure = Figure(figsize=(5.2 * (1 + len(curves)), 4.2), layout="constrained")
    axes = figure.subplots(1, 1 + len(curves), squeeze=False)[0]
    _draw_tokens(axes[0], drawn)
    for axis, (label, series) in zip(axes[1:], curves, strict=True):
        _draw_series(axis, series)
        axis.set(xlabel=label, title=f"{label.capitalize()}, all else alike")
        _tick(axis, series)
    for axis in axes:
        axis.set(ylabel=_figure_label(drawn[0]))
        axis.grid(alpha=0.3)
    try:
        with replacing(target) as temporary:
            FigureCanvasAgg(figure).print_png(temporary)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise unwritable(target, error) from error


def _draw_tokens(axis: Any, runs: Sequence[Run]) -> None:
    series: dict[str, list[tuple[float, Run]]] = defaultdict(list)
    for run in runs:
        series[_kind(run)].append((run.visual_tokens or 0.0, run))
    _draw_series(axis, series)
    axis.set(xscale="log", xlabel="visual tokens", title="Accuracy against visual tokens")
    _tick(axis, series)
    axis.tick_params(axis="x", labelrotation=45)


def _draw_series(axis: Any, series: dict[str, list[tuple[float, Run]]]) -> None:
    """Draw a line a series, with the figures' 95 % intervals."""
    for number, (name, points) in enumerate(sorted(series.items())):
        points = sorted(points, key=lambda point: point[0])
        values = [_scaled(run, "value") for _, run in points]
        ends = [
            [abs(_scaled(run, end) - _scaled(run, "value")) for _, run in points]
            for end in ("low", "high")
        ]
        axis.errorbar(
            [size for size, _ in points],
            values,
            yerr=ends,
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=6,
            alpha=0.85,
            capsize=3,
            linewidth=1.2,
            label=name,
            color=_COLOURS[number % len(_COLOURS)],
        )
    axis.legend(fontsize=8)


def _tick(axis: Any, series: dict[str, list[tuple[float, Run]]]) -> None:
    """Mark the sizes that there are, and no others."""
    sizes = sorted({size for points in series.values() for size, _ in points})
    axis.set_xticks(sizes, [f"{size:g}" for size in sizes], fontsize=8)
    axis.set_xticks([], minor=True)


def _by_length(runs: Sequence[Run]) -> tuple[str, dict[str, list[tuple[float, Run]]]]:
    """Put runs together whose kernels differ in their number of frames alone."""
    return "frames in a kernel", _curves(runs, lambda kernel: (kernel[1:], kernel[0]))


def _by_side(runs: Sequence[Run]) -> tuple[str, dict[str, list[tuple[float, Run]]]]:
    """Put runs together whose kernels differ in their square side alone."""
    square = [run for run in runs if (kernel := _kernel(run)) and kernel[1] == kernel[2]]
    return "side of a kernel, in patches", _curves(square, lambda kernel: (kernel[0], kernel[1]))


def _curves(
    runs: Sequence[Run], split: Callable[[Window], tuple[Any, int]]
) -> dict[str, list[tuple[float, Run]]]:
    found: dict[tuple[str, Any], dict[int, Run]] = defaultdict(dict)
    for run in runs:
        kernel = _kernel(run)
        if kernel is not None:
            rest, size = split(kernel)
            found[_kind(run), rest].setdefault(size, run)
    return {
        f"{kind}, {_rest(rest)}": [(float(size), run) for size, run in sizes.items()]
        for (kind, rest), sizes in found.items()
        if len(sizes) > 1
    }


def _rest(rest: Any) -> str:
    return "×".join(map(str, rest)) if isinstance(rest, tuple) else f"{rest} frames"


def _kernel(run: Run) -> Window | None:
    """Return the kernel of a run, where it was the same for all its questions."""
    windows = run.summary["asked"].get("window", [])
    if len(windows) != 1 or windows[0] is None:
        return None
    frames, rows, columns = windows[0][0]
    return frames, rows, columns


def _kind(run: Run) -> str:
    model = run.summary["manifest"].get("model", {}).get("name", "?")
    return f"{model}, {'/'.join(run.summary['asked']['weighting'])}"


def _scaled(run: Run, end: str) -> float:
    value = run.summary[end]
    value = run.summary["value"] if value is None else value
    return float(value) * (100 if run.summary["unit"] == "share" else 1)


def _figure_label(run: Run) -> str:
    unit = " (%)" if run.summary["unit"] == "share" else ""
    return f"{run.summary['title']}, {run.summary['headline']}{unit}"
