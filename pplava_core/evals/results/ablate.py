"""The ablations of the paper as one job: kinds of pooling, kernels, the aligner's context.

Each variant is a run of its own in a sub-folder, so that the whole can be broken off, gone on
with and compared like any runs. A variant that a model cannot be run with, such as one whose
tokens do not fit its positions, stays in the table with its reason. The kinds are those of
the paper's Tables 3 and 5.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pplava_core.atomic import replacing
from pplava_core.evals.results.compare import compare_pair, read_run
from pplava_core.evals.runs.job import Job, run_job
from pplava_core.evals.runs.predictions import unwritable
from pplava_core.evals.runs.running import NothingFitsError, Progress
from pplava_core.session import PoolingChoice
from pplava_core.window import Window

if TYPE_CHECKING:
    from pplava_core.models.videolm import VideoLM

UNEXTENDED_POSITIONS = 77
"What CLIP's text tower reads without the stretched table (Eq. 4)."

OWN = "the model's own"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of asking."""

    name: str
    kind: str
    "Table that it belongs to: `pooling`, `kernel` or `context`."
    pooling: PoolingChoice
    guide_positions: int | None = None

    @property
    def folder_name(self) -> str:
        """Name of its sub-folder."""
        return re.sub(r"[^\w.-]+", "-", f"{self.kind}-{self.name}".replace("'", ""))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one variant."""

    variant: Variant
    summary: dict[str, Any] | None
    reason: str | None
    "Why there is no summary."


def variants_of(
    model: VideoLM,
    *,
    weightings: Sequence[str] = (),
    kernels: Sequence[Window] = (),
) -> list[Variant]:
    """List what an ablation asks, the model's own way first.

    Args:
        model: its window and weighting are what is varied.
        weightings: kinds of pooling; none given means all that need no other model.
        kernels: windows; none given means half to four times the model's length, and one
            patch less and more to each side.
    """
    config = model.config
    own = [Variant(name=OWN, kind="pooling", pooling=PoolingChoice())]
    names = weightings or ("literal", "window", "authors", "average", "max", "none")
    kinds = [
        Variant(name=name, kind="pooling", pooling=PoolingChoice(weighting=name))
        for name in names
        if name != config.weighting
    ]
    windows = [
        Variant(
            name="×".join(map(str, window.kernel)),
            kind="kernel",
            pooling=PoolingChoice(window=window),
        )
        for window in kernels or _around(config.window)
        if window != config.window
    ]
    context = Variant(
        name=f"{UNEXTENDED_POSITIONS} positions",
        kind="context",
        pooling=PoolingChoice(),
        guide_positions=UNEXTENDED_POSITIONS,
    )
    return [*own, *kinds, *windows, context]


def ablate(
    job: Job,
    variants: Sequence[Variant],
    *,
    begin: Callable[[Variant], Progress | None] | None = None,
) -> list[Outcome]:
    """Run every variant in a sub-folder of the job's folder, going on where one stopped.

    Args:
        job: says who is asked what; its folder holds the variants' folders.
        variants: what to try, in this order.
        begin: called as a variant's turn comes, and gives what watches over it.

    Returns:
        An outcome a variant on the first of several processes; nothing on the others.

    Raises:
        OutputError: results cannot be written; those before are safe.
        UsageError: a sub-folder belongs to another job.
    """
    outcomes = []
    for variant in variants:
        work = replace(job.work, pooling=variant.pooling, guide_positions=variant.guide_positions)
        part = replace(job, work=work, folder=job.folder / variant.folder_name)
        progress = None if begin is None else begin(variant)
        summary, reason = None, None
        try:
            summary = run_job(part, progress=progress)
        except NothingFitsError as error:
            reason = str(error)
        outcomes.append(Outcome(variant=variant, summary=summary, reason=reason))
    return outcomes if job.shard.is_first else []


def _around(window: Window) -> list[Window]:
    frames, rows, columns = window.kernel
    lengths = [length for length in (1, frames // 2, 2 * frames, 4 * frames) if length]
    sizes = [size for size in (-1, 1) if min(rows, columns) + size >= 1]
    found = [Window((length, rows, columns)) for length in lengths]
    found += [Window((frames, rows + size, columns + size)) for size in sizes]
    return list(dict.fromkeys(found))


def outcome_records(outcomes: Sequence[Outcome], folder: Path) -> list[dict[str, Any]]:
    """Put outcomes into JSON values, each held against the first that there is.

    Args:
        outcomes: in the order of the table.
        folder: where the variants' folders are.
    """
    first = next((one.variant for one in outcomes if one.summary is not None), None)
    return [_record(one, first, folder) for one in outcomes]


def write_outcomes(folder: Path, records: Sequence[dict[str, Any]]) -> None:
    """Write `ablation.json` and `ablation.csv` beside the variants' folders.

    Raises:
        OutputError: the disk is full, or the folder may not be written into.
    """
    table = io.StringIO()
    writer = csv.DictWriter(table, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    files = {
        "ablation.json": json.dumps(list(records), indent=1) + "\n",
        "ablation.csv": table.getvalue(),
    }
    for name, text in files.items():
        try:
            with replacing(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise unwritable(folder / name, error) from error


def _record(outcome: Outcome, first: Variant | None, folder: Path) -> dict[str, Any]:
    variant, summary = outcome.variant, outcome.summary or {}
    asked = summary.get("asked", {})
    pair = None
    if outcome.summary is not None and first is not None and first != variant:
        before, after = (read_run(folder / one.folder_name) for one in (first, variant))
        pair = compare_pair(before, after)
    return {
        "kind": variant.kind,
        "name": variant.name,
        **{name: summary.get(name) for name in ("value", "low", "high", "unit")},
        "visual_tokens": asked["visual_tokens"]["mean"] if asked else None,
        "difference": None if pair is None else pair.difference,
        "p_value": None if pair is None else pair.p_value,
        "folder": variant.folder_name,
        "reason": outcome.reason,
    }
