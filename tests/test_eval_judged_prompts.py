"""What models and judges are asked about answers in free words: golden files.

``UPDATE_GOLDEN=1 python -m pytest tests/test_eval_judged_prompts.py`` rewrites the golden files.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eval_judged_datasets import BUILDERS
from golden_texts import assert_golden_text

from pplava_core.evals.base import PROTOCOLS, Prediction, Settings
from pplava_core.evals.judges.judge_prompts import our_prompts
from pplava_core.evals.registry import find_benchmark


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("datasets")
    return {name: build(root / name) for name, build in BUILDERS.items()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", BUILDERS)
def test_golden_prompts(name, protocol, folders):
    """Hold the first item's prompt and each aspect's first conversation against the file."""
    benchmark, settings = find_benchmark(name), Settings(protocol=protocol)
    items = benchmark.items(folders[name], settings)
    answers = {item.id: Prediction(id=item.id, text=f"Answer to {item.id}.") for item in items}
    prompts = our_prompts(protocol).prompts
    judge = {}
    for request in benchmark.judge_requests(items, answers, settings):
        judge.setdefault(request.aspect, prompts[request.aspect].messages(request.fields))
    asked = {"model": vars(benchmark.prompt(items[0], settings)), "judge": judge}
    text = json.dumps(asked, indent=1, ensure_ascii=False) + "\n"
    assert_golden_text(f"{name}-{protocol}.json", text)
