"""Every benchmark of multiple choice reads the official cases by the protocol's own rule."""

from __future__ import annotations

import json

import pytest
from eval_choice_cases import DATA

from pplava_core.evals.base import Item, Prediction, Settings
from pplava_core.evals.benchmarks.choice import WHOLE
from pplava_core.evals.registry import find_benchmark

PROTOCOLS = {
    "videomme": ("videomme", ("official", "ppllava")),
    "videomme_lmms": ("videomme", ("lmms",)),
    "mvbench": ("mvbench", ("official", "ppllava")),
    "mvbench_lmms": ("mvbench", ("lmms",)),
    "nextqa_lmms": ("nextqa", ("lmms",)),
    "egoschema_lmms": ("egoschema", ("lmms",)),
    "longvideobench_lmms": ("longvideobench", ("official", "ppllava", "lmms")),
}
"Benchmark and protocols that a case belongs to."
COUNTS = {"videomme": 4, "mvbench": 5, "nextqa": 5, "egoschema": 5, "longvideobench": 5}


def cases():
    lines = (DATA / "extraction_cases_choice.jsonl").read_text(encoding="utf-8").splitlines()
    for case in map(json.loads, lines):
        name, protocols = PROTOCOLS[case["bench"]]
        for protocol in protocols:
            yield pytest.param(case, name, protocol, id=f"{name}-{protocol}-{case['id']}")


def options_of(case, name):
    """Take a case's options as the benchmark's items hold them; letters are not part of them."""
    options = case.get("options")
    if isinstance(options, dict):
        return tuple(options.values())
    if isinstance(options, list):
        return tuple(option.removeprefix(f"{'ABCDE'[n]}. ") for n, option in enumerate(options))
    return tuple(f"option {number}" for number in range(COUNTS[name]))


@pytest.mark.parametrize(("case", "name", "protocol"), list(cases()))
def test_official_cases(case, name, protocol):
    benchmark, settings = find_benchmark(name), Settings(protocol=protocol)
    options = options_of(case, name)
    prediction = Prediction(id="1", text=case["raw"], details={WHOLE: True})
    found = []
    for answer in range(len(options)):
        item = Item(id="1", video=None, video_id="1", question="?", options=options, answer=answer)
        read = benchmark.read(item, prediction, settings)
        if read.how == "random":
            assert case["official"] == "RANDOM"
            return
        if benchmark.points(item, prediction, settings):
            found.append("ABCDE"[answer])
    assert "".join(found) == case["official"]
