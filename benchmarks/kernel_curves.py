"""Accuracy and time against kernel size, like the paper's Fig. 3 and 4.

    python benchmarks/ablation.py runs/ablation --aligned runs/nano-align/model \\
        --kernel 1,3,3 --kernel 2,3,3 --kernel 4,3,3 --kernel 8,3,3
    python benchmarks/kernel_curves.py runs/ablation/table.json [--picture kernels.png]

Accuracies are those of the table that `ablation.py` wrote, where a variant was trained at two
kernels or more. Times are measured here: what pooling a film, putting its tokens into the language
model and answering with one token takes the embedded model, as a multiple of the smallest kernel's
in the same run, the kernels alternating; no pooling is among them. Prints both as tables.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from pplava_core.atomic import replacing
from pplava_core.models.catalog import find_model
from pplava_core.models.checkpoint import load_model
from pplava_core.window import Window

KERNELS = ((1, 1, 1), (1, 3, 3), (2, 3, 3), (4, 3, 3), (8, 3, 3), (2, 6, 6))
QUESTION = "how many objects are there?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="table.json of `ablation.py`")
    parser.add_argument("--picture", type=Path, help="a PNG of the curves")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    curves = accuracies(json.loads(chosen.table.read_text()))
    for name, lines in curves.items():
        for line in sorted(lines, key=lambda one: -one["tokens"]):
            plain, redundant = (line[kind]["mean"] for kind in ("plain", "redundant"))
            print(
                f"| {name} | {line['kernel']} | {line['tokens']} | {plain:.1%} | {redundant:.1%} |"
            )
    seconds = timed(chosen.rounds)
    least = min(each for _, each in seconds.values())
    print("\n| kernel | tokens | time |\n|---|---|---|")
    for kernel, (tokens, each) in seconds.items():
        print(f"| {kernel} | {tokens} | {each / least:.1f} |")
    if chosen.picture:
        draw(curves, {kernel: (n, each / least) for kernel, (n, each) in seconds.items()}, chosen)


def accuracies(table: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the lines of each variant that was trained at several kernels of small windows."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in table:
        if line["kernel"].endswith("3×3"):
            groups[line["variant"]].append(line)
    return {name: lines for name, lines in sorted(groups.items()) if len(lines) > 1}


@torch.inference_mode()
def timed(rounds: int) -> dict[str, tuple[int, float]]:
    """Return of each kernel the tokens it leaves and the median seconds up to a first word."""
    model = load_model(find_model("nano").folder)
    torch.manual_seed(0)
    grid = (model.config.num_frames, model.parts.tower.rows, model.parts.tower.rows)
    features = torch.randn(1, *grid, model.config.tower["vision"]["hidden_size"])
    relevance = torch.rand(1, *grid)
    ids = torch.tensor([model.words.prompt_ids(QUESTION)])
    counts: dict[str, int] = {}
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for kernel in KERNELS:
            name = "×".join(map(str, kernel))
            started = time.perf_counter()
            visual = model.visual_tokens(features, relevance, window=Window(kernel))
            model.llm.model(inputs_embeds=model.prompt_embeddings(visual.tokens, ids))
            seconds[name].append(time.perf_counter() - started)
            counts[name] = visual.tokens.shape[1] - visual.listed
    return {name: (counts[name], statistics.median(each[1:])) for name, each in seconds.items()}


def draw(
    curves: dict[str, list[dict[str, Any]]],
    times: dict[str, tuple[int, float]],
    chosen: argparse.Namespace,
) -> None:
    """Draw accuracy on plain and on redundant films, and time, against visual tokens."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(12, 3.8), layout="constrained")
    *scored, timing = figure.subplots(1, 3)
    for axis, kind in zip(scored, ("plain", "redundant"), strict=True):
        for name, lines in curves.items():
            points = {line["tokens"]: line[kind] for line in lines}
            places = sorted(points)
            axis.errorbar(
                places,
                [100 * points[place]["mean"] for place in places],
                yerr=[100 * points[place]["spread"] for place in places],
                marker="o",
                capsize=3,
                label=name,
            )
        axis.set(title=kind, ylabel="right, %", ylim=(0, None))
    scored[0].legend(fontsize=8)
    places, heights = zip(*sorted(times.values()), strict=True)
    timing.plot(places, heights, marker="o", color="#30638e")
    timing.set(title="time of an answer's first token", ylabel="times the least", ylim=(0, None))
    ticks = sorted({tokens for tokens, _ in times.values()})
    for axis, shown in ((scored[0], ticks[:-1]), (scored[1], ticks[:-1]), (timing, ticks)):
        axis.set_xscale("log", base=2)
        axis.set_xticks(shown, [str(tick) for tick in shown])
        axis.set(xlabel="visual tokens of a film")
        axis.grid(alpha=0.3)
    with replacing(chosen.picture) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)


if __name__ == "__main__":
    main()
