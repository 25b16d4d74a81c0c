"""How much the order of projector and pooling costs, on the CPU, at the size of a 7B model.

    python benchmarks/projector_order.py

One clip of 32 x 24 x 24 patches, 1024 -> 4096 -> 4096, window 2 x 3 x 3, weighting `authors`.
Three ways, alternating in one process, so that a busy machine slows all of them alike:
the released order as its authors run it (project every patch, then pool), the same number
with the second layer after the pooling, and the paper's order (pool, then project).
Prints the least seconds of several rounds (other work on the machine only ever adds), the
ratios, and how far the first two are apart. Takes up to 2 GB of memory.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import torch

from pplava_core.models.projector import Projector
from pplava_core.pooling import Window, pool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    projector = Projector(1024, 4096, 4096)
    features = torch.randn(1, 32, 24, 24, 1024)
    relevance = (3 * torch.randn(1, 32 * 24 * 24)).softmax(-1).view(1, 32, 24, 24)
    pooled = partial(pool, relevance=relevance, window=Window((2, 3, 3)))
    ways = {
        "project every patch, then pool": projector.project_then_pool,
        "the same, second layer after pooling": projector.project_then_weigh,
        "pool, then project": projector.pool_then_project,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    outputs = {}
    with torch.inference_mode():
        for _ in range(arguments.rounds):
            for name, way in ways.items():
                start = time.perf_counter()
                outputs[name] = way(features, pooled)
                seconds[name].append(time.perf_counter() - start)

    plain, cheap, _ = outputs.values()
    slowest = min(seconds["project every patch, then pool"])
    print(f"torch {torch.__version__}, {arguments.threads} threads, best of {arguments.rounds}")
    for name, times in seconds.items():
        print(f"{min(times):8.2f} s  {slowest / min(times):5.1f} x  {name}")
    print(f"largest difference of the first two: {(plain - cheap).abs().max():.1e}", end=" ")
    print(f"on values up to {plain.abs().max():.2f}")


if __name__ == "__main__":
    main()
