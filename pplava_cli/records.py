"""The JSON that this program writes, described for users in ``docs/json.md``.

Plain dictionaries of numbers, strings and lists, made from the core's types. A change
that takes a key away, renames it or changes its meaning counts `SCHEMA` up; a new key
does not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pplava_cli.failures import exit_code_of, one_line

if TYPE_CHECKING:
    from pathlib import Path

    from pplava_core.models.language.generation_settings import Generation
    from pplava_core.models.videolm import VideoLM
    from pplava_core.session import Session
    from pplava_core.types import Answer, ClipSource, Moment

SCHEMA = 1
"Version of every record."


def answer_record(
    session: Session, answer: Answer, generation: Generation, *, evidence: bool
) -> dict[str, Any]:
    """Describe one answer and all that it rests on."""
    return {
        "schema": SCHEMA,
        "type": "answer",
        "inputs": list(session.source.paths),
        "question": answer.question,
        "answer": answer.text,
        "stopped": answer.stopped,
        "warnings": list(answer.warnings),
        "evidence": [moment_record(moment) for moment in answer.evidence] if evidence else None,
        "model": model_record(session.model),
        "sampling": sampling_record(session.source, [float(t) for t in session.seconds]),
        "pooling": _pooling_record(answer),
        "generation": {
            **dataclasses.asdict(generation),
            "text_token_count": answer.text_token_count,
        },
        "timings": dataclasses.asdict(answer.timings),
        "from_cache": session.from_cache,
    }


def error_record(paths: Sequence[Path], question: str, error: BaseException) -> dict[str, Any]:
    """Describe why one input has no answer."""
    return {
        "schema": SCHEMA,
        "type": "error",
        "inputs": [str(path) for path in paths],
        "question": question,
        "error": one_line(error),
        "exit_code": exit_code_of(error),
    }


def moment_record(moment: Moment) -> dict[str, Any]:
    """Describe one piece of evidence."""
    left, top, right, bottom = (float(edge) for edge in moment.peak_box)
    return {
        "start_seconds": float(moment.start_seconds),
        "stop_seconds": float(moment.stop_seconds),
        "share": float(moment.share),
        "peak_seconds": float(moment.peak_seconds),
        "peak_box": {"left": left, "top": top, "right": right, "bottom": bottom},
    }


def sampling_record(source: ClipSource, seconds: Sequence[float]) -> dict[str, Any]:
    """Describe what was read of a clip; ``seconds`` are its frames' times."""
    record = dataclasses.asdict(source)
    for name in ("paths", "picture_sizes", "tile_counts"):
        record.pop(name)
    indices = record.pop("indices")
    record["warnings"] = list(source.warnings)
    record["frames"] = [
        {"index": int(index), "seconds": float(time)}
        for index, time in zip(indices, seconds, strict=True)
    ]
    return record


def model_record(model: VideoLM) -> dict[str, Any]:
    """Describe the model that answered, exactly enough to get it again."""
    return {
        "name": model.name,
        "revision": model.revision,
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
    }


def _pooling_record(answer: Answer) -> dict[str, Any]:
    kernel, stride = answer.window if answer.window is not None else (None, None)
    return {
        "weighting": answer.weighting,
        "kernel": None if kernel is None else list(kernel),
        "stride": None if stride is None else list(stride),
        "patch_count": answer.patch_count,
        "token_count": answer.token_count,
    }
