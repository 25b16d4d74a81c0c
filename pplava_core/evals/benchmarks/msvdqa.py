"""MSVD-QA: 13 157 questions about short web videos, made from descriptions of them.

The questions name a video by a number; the films are named after the web video and its
range, and `youtube_mapping.txt` says which is which. Without it films may be called by
number (`vid1201.avi`).
"""

from __future__ import annotations

from pathlib import Path

from pplava_core.errors import InputError
from pplava_core.evals.base import BenchmarkInfo, Settings
from pplava_core.evals.benchmarks.open_answers import OpenAnswers
from pplava_core.evals.benchmarks.open_tables import OpenRow
from pplava_core.evals.data.data_folder import find_file, read_text

MAPPING_NAME = "youtube_mapping.txt"


class MSVDQA(OpenAnswers):
    """Open questions about the clips of MSVD."""

    info = BenchmarkInfo(
        name="msvdqa",
        title="MSVD-QA",
        question_counts={"test": 13157},
        video_count=520,
        size_gigabytes=None,
        licence="not stated",
        hub_id=None,
        metric="accuracy and score 0-5 by a judge",
        splits=("test",),
        judged=True,
    )

    def aliases(self, data: Path, settings: Settings) -> dict[str, str]:
        """Read the films' names by number, where the mapping is in the folder."""
        try:
            path = find_file(data, [MAPPING_NAME, f"*/{MAPPING_NAME}"], what="mapping")
        except InputError:
            return {}
        pairs = [line.split() for line in read_text(path).splitlines()]
        for number, pair in enumerate(pairs, 1):
            if len(pair) not in (0, 2):
                raise InputError(f"{path}, line {number}: expected a film's name and its number")
        return {pair[1]: pair[0] for pair in pairs if pair}

    def video_names(self, row: OpenRow) -> tuple[str, ...]:
        """Name a film by number, or as the row does."""
        number = str(row.video)
        return (f"vid{number}", number) if number.isdecimal() else (number,)
