"""A benchmark from its data folder to its report: one call, the same for all of them.

Brings together what the other modules know: which questions, whose folder, who asks, who
judges, what it came to. Everything about terminals and options is the caller's.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pplava_core.errors import UsageError
from pplava_core.evals.base import Benchmark, Item, Prediction, Settings
from pplava_core.evals.results.reports import question_records, summarise, write_reports
from pplava_core.evals.runs.manifest import claim_folder, hold_to_manifest, make_manifest
from pplava_core.evals.runs.predictions import read_folder
from pplava_core.evals.runs.running import Progress, Work, answer_items
from pplava_core.evals.runs.selection import Selection
from pplava_core.evals.runs.sharding import Shard
from pplava_core.paths import cache_directory

Judging = Callable[[Sequence[Item], Mapping[str, Prediction], Path], dict[str, Prediction]]
"Reads answers in a run's folder and returns the predictions with the verdicts."


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of one benchmark."""

    work: Work
    items: Sequence[Item]
    "The chosen questions, in the order to ask."
    selection: Selection
    folder: Path
    fresh: bool = False
    "Forget what an earlier run left in the folder."
    shard: Shard = field(default_factory=Shard)
    judging: Judging | None = None

    @property
    def manifest(self) -> dict[str, Any]:
        """What determines the result."""
        return manifest_of(self.work, self.items, self.selection)


def manifest_of(work: Work, items: Sequence[Item], selection: Selection) -> dict[str, Any]:
    """Describe what determines the result of asking these items."""
    return make_manifest(
        work.benchmark,
        items,
        settings=work.settings,
        selection=selection,
        model=work.model,
        pooling=work.pooling,
        generation=work.generation,
        reader=work.reader,
        guide_positions=work.guide_positions,
    )


def default_folder(manifest: Mapping[str, Any]) -> Path:
    """Name the folder of a run that was given none: the same for the same manifest."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:8]
    model = re.sub(r"[^\w.-]+", "-", manifest["model"]["name"])
    return cache_directory() / "evals" / "runs" / f"{manifest['benchmark']}-{model}-{digest}"


def run_job(job: Job, *, progress: Progress | None = None) -> dict[str, Any] | None:
    """Ask, judge and report; go on where an earlier run of the same job stopped.

    Returns:
        The summary, on the first of several processes; None on the others.

    Raises:
        UsageError: the folder belongs to another run, or the settings fit no question.
        OutputError: results cannot be written; those before are safe.
    """
    manifest = job.manifest
    claim_folder(job.folder, manifest, fresh=job.fresh)
    job.shard.wait()
    predictions = answer_items(job.items, job.work, job.folder, shard=job.shard, progress=progress)
    if not job.shard.is_first:
        return None
    if job.judging is not None:
        predictions = job.judging(job.items, predictions, job.folder)
    return finish(
        job.work.benchmark, job.items, predictions, job.work.settings, manifest, job.folder
    )


def finish(
    benchmark: Benchmark,
    items: Sequence[Item],
    predictions: Mapping[str, Prediction],
    settings: Settings,
    manifest: Mapping[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """Score answers, write the reports beside them, and return the summary."""
    summary = summarise(benchmark, items, predictions, settings, manifest)
    questions = question_records(benchmark, items, predictions, settings)
    write_reports(folder, summary, questions, benchmark.submission(items, predictions, settings))
    return summary


def judge_saved(
    benchmark: Benchmark,
    items: Sequence[Item],
    settings: Settings,
    selection: Selection,
    folder: Path,
    judging: Judging,
) -> dict[str, Any]:
    """Have the saved answers of a run judged, without the model that gave them.

    Raises:
        InputError: the folder holds no run.
        UsageError: its run was of other questions or settings, or nothing is answered there.
    """
    manifest = hold_to_manifest(folder, benchmark, items, settings, selection)
    saved = read_folder(folder)
    if not any(item.id in saved for item in items):
        raise UsageError(f"{folder} holds no answers to these questions: run without --judge-only")
    predictions = judging(items, saved, folder)
    return finish(benchmark, items, predictions, settings, manifest, folder)
