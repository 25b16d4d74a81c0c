"""Runs of one benchmark side by side: what differs, how sure that is, and on which questions.

Tests are paired, since runs answer the same questions: McNemar's exact test where answers are
right or wrong, and a bootstrap over videos of the mean difference, because questions about
one video are not independent. Reads what runs left in their folders, and no data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pplava_core.errors import UsageError
from pplava_core.evals.results.reports import read_questions, read_summary

RESAMPLES = 10_000
_CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a finished run left behind."""

    name: str
    "Of its folder."
    summary: Mapping[str, Any]
    questions: Mapping[str, Mapping[str, Any]]
    "By item."

    @property
    def visual_tokens(self) -> float | None:
        """Mean number of visual tokens, where it is known."""
        tokens = self.summary["asked"].get("visual_tokens")
        return None if tokens is None else float(tokens["mean"])


@dataclass(frozen=True, kw_only=True)
class Flip:
    """A question that two runs differ about."""

    id: str
    video: str
    question: str
    before: str
    after: str
    "What was written."
    points_before: float
    points_after: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A run held against another one, on the questions that both have points for."""

    before: str
    after: str
    common: int
    left_out: int
    "Questions that only one of them has points for."
    better: int
    "Questions that are worth more now."
    worse: int
    difference: float
    "Mean of the points now less that of the points before."
    low: float
    high: float
    "Ends of its 95 % interval."
    p_value: float | None
    "McNemar's, two-sided; None where points are not just 0 and 1."
    flips: tuple[Flip, ...]


def read_run(folder: Path) -> Run:
    """Read a finished run.

    Raises:
        InputError: the folder holds none.
    """
    questions = {record["id"]: record for record in read_questions(folder)}
    return Run(name=folder.resolve().name, summary=read_summary(folder), questions=questions)


def compare_runs(runs: Sequence[Run], *, seed: int = 0) -> list[Comparison]:
    """Hold every run but the first against the first.

    Raises:
        UsageError: there are fewer than two, they are of different benchmarks, or two have no
            question in common.
    """
    if len(runs) < 2:
        raise UsageError("one run has nothing to be compared with: name at least two folders")
    benchmarks = {run.summary["benchmark"] for run in runs}
    if len(benchmarks) > 1:
        raise UsageError(f"runs of {' and '.join(sorted(benchmarks))} cannot be compared")
    return [compare_pair(runs[0], other, seed=seed) for other in runs[1:]]


def compare_pair(before: Run, after: Run, *, seed: int = 0) -> Comparison:
    """Compare two runs question by question; see `compare_runs`."""
    pairs = [
        (question, after.questions[name])
        for name, question in before.questions.items()
        if name in after.questions
        and question["points"] is not None
        and after.questions[name]["points"] is not None
    ]
    if not pairs:
        raise UsageError(f"{before.name} and {after.name} have no scored question in common")
    old, new = (np.array([float(pair[side]["points"]) for pair in pairs]) for side in (0, 1))
    better, worse = int((new > old).sum()), int((new < old).sum())
    low, high = bootstrap_interval(new - old, [pair[0]["video"] for pair in pairs], seed=seed)
    binary = set(np.unique([old, new])) <= {0.0, 1.0}
    return Comparison(
        before=before.name,
        after=after.name,
        common=len(pairs),
        left_out=len({*before.questions, *after.questions}) - len(pairs),
        better=better,
        worse=worse,
        difference=float((new - old).mean()),
        low=low,
        high=high,
        p_value=mcnemar(better, worse) if binary else None,
        flips=tuple(_flip(*pair) for pair in pairs if pair[0]["points"] != pair[1]["points"]),
    )


def mcnemar(better: int, worse: int) -> float:
    """Return the two-sided exact p-value of McNemar's test (a binomial one with p = 1/2)."""
    count = better + worse
    tail = sum(math.comb(count, k) for k in range(min(better, worse) + 1))
    share: float = tail / 2**count  # whole numbers of any size, divided exactly
    return min(1.0, 2 * share)


def bootstrap_interval(
    differences: np.ndarray, videos: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the 95 % interval of a mean difference, by drawing whole videos.

    Args:
        differences: ``(N,)``, one a question.
        videos: which video each question is about.
        seed: the same seed gives the same interval.
        resamples: draws; the interval is their 2.5 and 97.5 percentiles.
    """
    _, places = np.unique(np.asarray(videos), return_inverse=True)
    sums = np.bincount(places, weights=differences)
    counts = np.bincount(places).astype(float)
    draw = np.random.default_rng(seed)
    means = []
    for start in range(0, resamples, _CHUNK):
        size = (min(_CHUNK, resamples - start), len(sums))
        drawn = draw.integers(0, len(sums), size=size)
        means.append(sums[drawn].sum(1) / counts[drawn].sum(1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def side_by_side(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Line up the rows of the runs' tables.

    Returns:
        Tables as `name` and `rows`; a row has a `name`, a `unit` and `values`, one a run, None
        where a run has no such row.
    """
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    for place, run in enumerate(runs):
        for table in run.summary["tables"]:
            rows = tables.setdefault(table["name"], {})
            for row in table["rows"]:
                empty = {"name": row["name"], "unit": row["unit"], "values": [None] * len(runs)}
                rows.setdefault(row["name"], empty)["values"][place] = row["value"]
    return [{"name": name, "rows": list(rows.values())} for name, rows in tables.items()]


def _flip(before: Mapping[str, Any], after: Mapping[str, Any]) -> Flip:
    return Flip(
        id=before["id"],
        video=before["video"],
        question=before["question"],
        before=before["text"],
        after=after["text"],
        points_before=before["points"],
        points_after=after["points"],
    )
