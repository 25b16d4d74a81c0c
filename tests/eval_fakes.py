"""A benchmark made up for tests: films of noise, questions with two options, nothing official."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from pplava_core.evals.base import (
    Benchmark,
    BenchmarkInfo,
    Extracted,
    Item,
    Prediction,
    Prompt,
    Report,
    Settings,
)
from pplava_core.evals.results.tables import share_row, tables_by_axis


class Noise(Benchmark):
    """Asks whether noise is loud; the data folder holds `questions.json` and films."""

    info = BenchmarkInfo(
        name="noise",
        title="Noise",
        question_counts={"test": 12},
        video_count=4,
        size_gigabytes=0.001,
        licence="none",
        hub_id="nobody/noise",
        metric="accuracy",
        splits=("test",),
    )

    def __init__(self) -> None:
        self.seen_seconds: list[tuple[float, ...]] = []

    def items(self, data: Path, settings: Settings) -> list[Item]:
        rows = json.loads((data / "questions.json").read_text())
        return [
            Item(
                id=row["id"],
                video=data / row["video"] if (data / row["video"]).exists() else None,
                video_id=row["video"],
                question=row["question"],
                options=("yes", "no"),
                answer=row["answer"],
                groups={"kind": row["kind"]},
            )
            for row in rows
        ]

    def num_frames(self, item: Item, settings: Settings) -> int:
        return settings.num_frames or 4

    def prompt(self, item: Item, settings: Settings, seconds: Sequence[float] = ()) -> Prompt:
        self.seen_seconds.append(tuple(seconds))
        return Prompt(query=item.question, guide=item.question, source="our choice")

    def max_new_tokens(self, item: Item, settings: Settings) -> int:
        return settings.max_new_tokens or 3

    def extract(self, item: Item, text: str, settings: Settings) -> Extracted:
        return Extracted(value=len(text) % 2)

    def report(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> Report:
        nothing = Prediction(id="", error="not asked")
        points = {
            item.id: self.points(item, predictions.get(item.id, nothing), settings) or 0.0
            for item in items
        }
        row = share_row("all", sum(points.values()), len(items))
        errors = sum(one.error is not None for one in predictions.values())
        return Report(
            headline="accuracy",
            value=row.value,
            low=row.low,
            high=row.high,
            tables=tables_by_axis(items, points, ["kind"]),
            counts={
                "total": len(items),
                "answered": len(predictions) - errors,
                "errors": errors,
            },
        )


class Deadly(Noise):
    """Looking for its third film ends the process that looks."""

    def paths(self, item: Item, settings: Settings) -> tuple[Path, ...]:
        if item.video_id == "2.mp4":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().paths(item, settings)


def write_noise(folder: Path, *, videos: int = 4, questions: int = 3) -> Path:
    """Write the benchmark's data: so many films with so many questions each, in turns."""
    from small_models import write_clip  # late: processes that read clips do without torch

    folder.mkdir(parents=True, exist_ok=True)
    for video in range(videos):
        write_clip(folder / f"{video}.mp4", seed=video, num_frames=6)
    rows = [
        {
            "id": f"{video}-{question}",
            "video": f"{video}.mp4",
            "question": f"is this noise loud, {question}?",
            "answer": (video + question) % 2,
            "kind": ("loud", "soft", "odd")[question % 3],
        }
        for question in range(questions)
        for video in range(videos)
    ]
    (folder / "questions.json").write_text(json.dumps(rows))
    return folder


def without_times(predictions: Mapping[str, Prediction]) -> dict[str, tuple]:
    """Return what two runs must agree on."""
    return {
        name: (
            one.text,
            one.error,
            {key: value for key, value in one.details.items() if key != "generate_seconds"},
        )
        for name, one in predictions.items()
    }
