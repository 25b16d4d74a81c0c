"""What every report begins with: how many questions there are, and what became of each."""

from __future__ import annotations

import pytest
from eval_datasets import BUILDERS
from eval_judged_datasets import BUILDERS as JUDGED_BUILDERS

from pplava_core.evals.base import Item, Prediction, Settings
from pplava_core.evals.registry import BENCHMARKS, find_benchmark
from pplava_core.evals.results.reports import facts, question_records, summarise
from pplava_core.evals.results.tables import mean_row

MAKERS = BUILDERS | JUDGED_BUILDERS


def questions_of(name, folder):
    if name in MAKERS:
        return find_benchmark(name).items(MAKERS[name](folder), Settings())
    groups = {"question type": "colour", "files": "seen"}
    return [
        Item(id=str(n), video=None, video_id="a", question="?", answer="red", groups=groups)
        for n in range(8)
    ]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_counts_alike(name, tmp_path):
    benchmark = find_benchmark(name)
    items = questions_of(name, tmp_path)
    names = [item.id for item in items]
    predictions = {
        names[0]: Prediction(id=names[0], text="C. red"),
        names[1]: Prediction(id=names[1], error="its film is damaged"),
        names[2]: Prediction(id=names[2], text=""),
        "of another run": Prediction(id="of another run", text="B"),
    }
    report = benchmark.report(items, predictions, Settings())
    counts = report.counts
    assert list(counts)[:7] == [
        *("total", "answered", "unextracted", "degenerate", "random", "errors", "missing")
    ]
    assert (counts["total"], counts["answered"], counts["errors"]) == (len(items), 2, 1)
    assert counts["missing"] == len(items) - 3
    said_nothing = ("unextracted", "degenerate", "random")
    assert [counts[kind] for kind in said_nothing] == {
        "mvbench": [0, 1, 0],
        "longvideobench": [0, 0, 1],
    }.get(name, [1, 0, 0])


@pytest.mark.parametrize(
    "details",
    [
        {"frames": 3},
        {"frames": "3", "visual_tokens": None, "answer_tokens": 1, "max_new_tokens": 2},
        {"index": "a", "whole": 3, "answer": []},
        {"judge": 3},
        {"judge": {"match": 3, "correctness": {"reply": 4}, "detail": {"score": 5}}},
    ],
)
def test_what_other_programs_write_beside_an_answer_is_passed_over(details, tmp_path):
    for name in BENCHMARKS:
        benchmark = find_benchmark(name)
        items = questions_of(name, tmp_path / name)
        predictions = {item.id: Prediction(id=item.id, text="A", details=details) for item in items}
        summary = summarise(benchmark, items, predictions, Settings(), {})
        assert summary["counts"]["answered"] == len(items)
        assert summary["counts"].get("judged", 0) == 0
        assert dict(facts(summary)).keys() == {"protocol", "counts"}
        assert len(question_records(benchmark, items, predictions, Settings())) == len(items)


def test_a_mean_score_has_an_interval_on_the_scale():
    low, high = mean_row("few", [0, 0, 4]), mean_row("few", [5, 5, 1])
    assert (low.low, high.high) == (0.0, 5.0)
    assert low.high < 5.0
    assert high.low > 0.0
