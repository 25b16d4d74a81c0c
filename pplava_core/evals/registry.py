"""The names of the benchmarks and where each stands. Importing this imports none of them.

Adding a benchmark is a file with a `Benchmark` in it and a line here.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from pplava_core.errors import UsageError
from pplava_core.evals.base import Benchmark

BENCHMARKS = {
    "videomme": "pplava_core.evals.benchmarks.videomme:VideoMME",
    "mvbench": "pplava_core.evals.benchmarks.mvbench:MVBench",
    "nextqa": "pplava_core.evals.benchmarks.nextqa:NextQA",
    "egoschema": "pplava_core.evals.benchmarks.egoschema:EgoSchema",
    "longvideobench": "pplava_core.evals.benchmarks.longvideobench:LongVideoBench",
    "activitynetqa": "pplava_core.evals.benchmarks.activitynetqa:ActivityNetQA",
    "msvdqa": "pplava_core.evals.benchmarks.msvdqa:MSVDQA",
    "msrvttqa": "pplava_core.evals.benchmarks.msrvttqa:MSRVTTQA",
    "vcgbench": "pplava_core.evals.benchmarks.vcgbench:VCGBench",
    "shapes": "pplava_core.evals.benchmarks.shapes_benchmark:Shapes",
}
"As it is typed, and its class."


def find_benchmark(name: str) -> Benchmark:
    """Return the benchmark of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in BENCHMARKS:
        close = get_close_matches(name, BENCHMARKS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(BENCHMARKS)}"
        raise UsageError(f"there is no benchmark {name!r}: {hint}")
    module, _, class_name = BENCHMARKS[name].partition(":")
    benchmark: Benchmark = getattr(import_module(module), class_name)()
    return benchmark


def all_benchmarks() -> list[Benchmark]:
    """Return every benchmark, in the order of `BENCHMARKS`."""
    return [find_benchmark(name) for name in BENCHMARKS]
