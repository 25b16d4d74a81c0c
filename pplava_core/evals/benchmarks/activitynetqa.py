"""ActivityNet-QA: 8 000 short questions about 800 web videos, of nine types.

Facts from the dataset's files and from Video-ChatGPT's evaluation, which made a judge its
metric. The authors' own metric, answers that match to the letter, is given beside it; their
script sums up its "Free" figure over the wrong types, here it is types 3 to 8.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pplava_core.evals.base import BenchmarkInfo
from pplava_core.evals.benchmarks.open_answers import OpenAnswers
from pplava_core.evals.benchmarks.open_scores import TYPE_AXIS
from pplava_core.evals.benchmarks.open_tables import OpenRow
from pplava_core.evals.data.data_folder import bad_value

TYPES = (
    "motion",
    "spatial",
    "temporal",
    "yes/no",
    "colour",
    "object",
    "location",
    "number",
    "other",
)
"By type id (ActivityNet-QA README)."


class ActivityNetQA(OpenAnswers):
    """Open questions about ActivityNet videos, `v_{name}` with any film's suffix.

    PPLLaVA read folders of frames instead, at 3 a second; those do as well.
    """

    info = BenchmarkInfo(
        name="activitynetqa",
        title="ActivityNet-QA",
        question_counts={"test": 8000, "val": 18000},
        video_count=800,
        size_gigabytes=None,
        licence="MIT (questions)",
        hub_id="lmms-lab/ActivityNetQA",
        metric="accuracy and score 0-5 by a judge",
        splits=("test", "val"),
        judged=True,
    )
    types = TYPES
    unions: ClassVar = {"free": TYPES[3:]}

    def video_names(self, row: OpenRow) -> tuple[str, ...]:
        """Put `v_` before the name, as the films have it."""
        return f"v_{row.video}", str(row.video)

    def groups(self, row: OpenRow, path: Path, number: int) -> dict[str, str]:
        """Name the type by its id."""
        kind = str(row.others.get("type"))
        if kind not in map(str, range(len(TYPES))):
            raise bad_value(path, number, "type", row.others.get("type"), "0 to 8")
        return {TYPE_AXIS: TYPES[int(kind)]}
