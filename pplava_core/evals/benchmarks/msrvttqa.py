"""MSRVTT-QA: 72 821 questions about 2 990 web videos, made from descriptions of them."""

from __future__ import annotations

from pplava_core.evals.base import BenchmarkInfo
from pplava_core.evals.benchmarks.open_answers import OpenAnswers
from pplava_core.evals.benchmarks.open_tables import OpenRow


class MSRVTTQA(OpenAnswers):
    """Open questions about the clips of MSR-VTT."""

    info = BenchmarkInfo(
        name="msrvttqa",
        title="MSRVTT-QA",
        question_counts={"test": 72821},
        video_count=2990,
        size_gigabytes=None,
        licence="not stated",
        hub_id=None,
        metric="accuracy and score 0-5 by a judge",
        splits=("test",),
        judged=True,
    )

    def video_names(self, row: OpenRow) -> tuple[str, ...]:
        """Name a film by number, or as the row does."""
        number = str(row.video)
        return (f"video{number}", number) if number.isdecimal() else (number,)
