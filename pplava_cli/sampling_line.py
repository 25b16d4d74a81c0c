"""The line on stderr that says what was read, and how much of it the model was shown.

Pure text from an opened session; printing is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pplava_cli.console import printable

if TYPE_CHECKING:
    from pplava_core.session import PoolingChoice, Session
    from pplava_core.types import ClipSource

_MOST_TIMES = 4
"More frame times than this are shortened to the first two and the last."


def clock(seconds: float) -> str:
    """Write a time as people read it: ``3.2 s``, or ``1:02:03.5`` from a minute on."""
    hundredths = round(seconds * 100)
    if hundredths < 6000:
        return f"{_trimmed(hundredths / 100)} s"
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    fraction = f"{rest / 100:05.2f}".rstrip("0").rstrip(".")
    return f"{hours}:{minutes:02d}:{fraction}" if hours else f"{minutes}:{fraction}"


def sampling_line(session: Session, choice: PoolingChoice) -> str:
    """Describe one clip in one line: frames, times, range, tokens, model, reader, warnings."""
    model = session.model
    more = [
        _tokens(session, choice),
        f"{model.name} on {model.device} {str(model.dtype).removeprefix('torch.')}",
    ]
    if session.from_cache:
        more.append("features from cache")
    return source_line(session.source, session.seconds.tolist(), more)


def source_line(source: ClipSource, seconds: Sequence[float], more: Sequence[str] = ()) -> str:
    """Describe what was read of one clip; ``seconds`` are its frames' times."""
    parts = [
        _frames(source, seconds),
        *_range(source),
        *more,
        f"read by {source.reader}" + (" (unverified)" if source.reader == "decord" else ""),
        *(f"warning: {warning}" for warning in source.warnings),
    ]
    names = ", ".join(printable(path) for path in source.paths)
    return f"{names}: " + "; ".join(parts)


def _frames(source: ClipSource, times: Sequence[float]) -> str:
    if source.kind != "video":
        count = len(source.indices)
        return "1 picture" if count == 1 else f"{count} pictures"
    shown = [clock(time) for time in times]
    if len(shown) > _MOST_TIMES:
        shown = [*shown[:2], "…", shown[-1]]
    return f"{len(times)} of {source.frame_count} frames at {', '.join(shown)}"


def _range(source: ClipSource) -> list[str]:
    if source.kind != "video":
        return [f"{source.width}×{source.height}"]
    whole = clock(source.duration_seconds)
    span = f"{clock(source.start_seconds)}–{clock(source.stop_seconds)} of {whole}"
    return [f"{span} at {_trimmed(source.fps)} fps, {source.width}×{source.height}"]


def _tokens(session: Session, choice: PoolingChoice) -> str:
    frames, rows, columns = session.grid.features.shape[:3]
    window = session.window_for(choice)
    how = "" if window is None else " by " + "×".join(str(extent) for extent in window.kernel)
    return f"{frames * rows * columns} → {session.token_count(choice)} tokens{how}"


def _trimmed(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
