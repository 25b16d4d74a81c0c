"""Accuracy against certificate length: for how much of a film what is asked about is to be seen.

    pplava shapes render redundant --set redundant --questions 1000
    pplava eval shapes --data redundant -o redundant.json
    python benchmarks/certificate_length.py redundant redundant.json [--picture certificate.png]

The certificate of a question is for how long the thing is there that it asks about; of several,
the one that is there the shortest. Nothing is asked again: the answers are read from the file that
the second command wrote. Prints a table with 95 % intervals, over seconds and
over the share of the film, and draws both if asked to.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pplava_core.atomic import replacing
from pplava_core.evals.results.tables import wilson_interval
from pplava_core.shapes.dataset import Item, read_dataset

SECONDS = (0.0, 3.5, 4.5, 6.0, 12.0, 30.0, 60.0, 600.0)
SHARES = (0.0, 0.03, 0.06, 0.12, 0.25, 0.99, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of `pplava shapes render`")
    parser.add_argument("answers", type=Path, help="file of `pplava eval shapes --output`")
    parser.add_argument("--picture", type=Path, help="a PNG of the curves")
    chosen = parser.parse_args()
    items = read_dataset(chosen.data)
    answers = json.loads(chosen.answers.read_text())["answers"]
    if [item.question.text for item in items] != [one["question"] for one in answers]:
        parser.error(f"{chosen.answers} has answers to other questions than {chosen.data} asks")
    measured = [
        (certificate_seconds(item), item.film.scene.duration_seconds, one["right"])
        for item, one in zip(items, answers, strict=True)
        if item.question.targets
    ]
    curves = {
        "seconds": binned([(seconds, right) for seconds, _, right in measured], SECONDS),
        "share of the film": binned([(s / whole, right) for s, whole, right in measured], SHARES),
    }
    for name, bins in curves.items():
        print(f"| {name} | questions | right | 95 % interval |\n|---|---|---|---|")
        for one in bins:
            print(
                f"| {one['from']:g} – {one['to']:g} | {one['count']} | {one['right']:.1%} "
                f"| {one['low']:.1%} – {one['high']:.1%} |"
            )
        print()
    if chosen.picture:
        draw(curves, chosen.picture)


def certificate_seconds(item: Item) -> float:
    """Return for how long the thing of a question that is seen least is there."""
    scene = item.film.scene
    things = [scene.things[number] for number in item.question.targets]
    return min(thing.vanishes - thing.appears for thing in things) * scene.duration_seconds


def binned(
    measured: Sequence[tuple[float, bool]], borders: Sequence[float]
) -> list[dict[str, float]]:
    """Return how much is right between each two borders, the upper one included."""
    bins = []
    for low, high in pairwise(borders):
        hits = [right for value, right in measured if low < value <= high]
        if hits:
            interval = wilson_interval(sum(hits), len(hits))
            bins.append(
                {
                    "from": low,
                    "to": high,
                    "count": len(hits),
                    "right": sum(hits) / len(hits),
                    "low": interval[0],
                    "high": interval[1],
                }
            )
    return bins


def draw(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Draw the curves beside each other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(9, 3.6), layout="constrained")
    for axis, (name, bins) in zip(figure.subplots(1, 2, sharey=True), curves.items(), strict=True):
        places = range(len(bins))
        right = [one["right"] for one in bins]
        margins = [
            [one["right"] - one["low"] for one in bins],
            [one["high"] - one["right"] for one in bins],
        ]
        axis.errorbar(places, right, yerr=margins, marker="o", capsize=3, color="#30638e")
        axis.set_xticks(list(places), [f"{one['from']:g}–{one['to']:g}" for one in bins])
        axis.set(xlabel=f"certificate, {name}", ylim=(0, 1))
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("right")
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)


if __name__ == "__main__":
    main()
