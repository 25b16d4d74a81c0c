"""The curve of a training run as a picture. Reads the log, knows nothing of models."""

from __future__ import annotations

import json
from pathlib import Path

from pplava_core.atomic import replacing


def plot_curve(log: Path, target: Path) -> None:
    """Draw loss and validation scores against steps from a run's log into a PNG."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.rcsetup import cycler

    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    loss_axis, score_axis = figure.subplots(1, 2)
    losses = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    loss_axis.plot(*zip(*losses, strict=True), color="#30638e", linewidth=1)
    loss_axis.set(xlabel="step", ylabel="loss", yscale="log", title="training loss")
    names = sorted({name for line in lines for name in line if name.startswith("validation_")})
    # The instruct stage has more scores than there are colours that can be told apart.
    colours = cycler(color=colormaps["tab20"](range(20)))
    score_axis.set_prop_cycle(cycler(linestyle=("-", "--")) * colours)
    for name in names:
        points = [(line["step"], line[name]) for line in lines if name in line]
        label = name.removeprefix("validation_")
        score_axis.plot(*zip(*points, strict=True), marker=".", label=label)
    score_axis.set(xlabel="step", title="validation")
    if names:
        score_axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for axis in (loss_axis, score_axis):
        axis.grid(alpha=0.3)
    with replacing(target) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)  # type: ignore[no-untyped-call]
