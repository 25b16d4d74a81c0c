"""Which subtitles belong to the frames that a model is shown.

Three rules for Video-MME's SRT files, which differ (`spoken_at`, and `shown_in` for two), and
LongVideoBench's order of frames and lines (`interleaved`). Times are seconds. Knows files of
subtitles, no videos and no prompts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pplava_core.errors import InputError
from pplava_core.evals.data.data_folder import read_json, read_text

_SPAN = re.compile(r"(\d+):(\d+):(\d+),(\d+) --> (\d+):(\d+):(\d+),(\d+)")
_TAG = re.compile(r"<[^>]*>")
_WHITE_FONT = re.compile(r'<font color="white" size="\.72c">(.*?)</font>')
_SHORTEST_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Cue:
    """A subtitle and when it is on the screen."""

    start_seconds: float
    stop_seconds: float
    text: str
    "Rows joined by a blank; tags are still in it."


def read_srt(path: Path) -> list[Cue]:
    """Read an SRT file as the evaluation codes of Video-MME do.

    Blocks are parted by empty lines; one of fewer than three lines is passed over; of two with
    the same times the later text counts, at the earlier place.

    Raises:
        InputError: the file cannot be read, or a block has no times; it is named.
    """
    text = read_text(path)
    cues: dict[tuple[float, float], str] = {}
    for number, block in enumerate(re.split(r"\n{2,}", text.strip("\n")), 1):
        lines = block.split("\n")
        if len(lines) < 3:
            continue
        span = _SPAN.match(lines[1])
        if span is None:
            raise InputError(
                f"{path}, subtitle {number}: {lines[1][:40]!r} is no time; the file is damaged"
            )
        cues[_seconds(span.groups()[:4]), _seconds(span.groups()[4:])] = " ".join(lines[2:])
    return [Cue(start_seconds=a, stop_seconds=b, text=text) for (a, b), text in cues.items()]


def spoken_at(cues: Sequence[Cue], seconds: Sequence[float]) -> list[str]:
    """Return for each frame the first subtitle on the screen strictly then, without tags.

    Video-MME's own rule: a subtitle over several frames comes once for each of them.

    Args:
        cues: in the order of the file.
        seconds: times of the frames.
    """
    lines = []
    for moment in seconds:
        for cue in cues:
            if cue.start_seconds < moment < cue.stop_seconds:
                lines.append(_TAG.sub("", cue.text).replace("\\N", " "))
                break
    return lines


def shown_in(cues: Sequence[Cue], indices: Sequence[int], fps: float) -> list[str]:
    """Return the subtitles of PPLLaVA's and lmms-eval's rule, in their order.

    Every one that is on in any of the frames, once; only text in the white font tag, and of it
    the first piece. The order is that of a Python set of places in the file, which is not that
    of time once the places exceed the set's table: the published numbers were made with it.

    Args:
        cues: in the order of the file.
        indices: frames shown; a subtitle is on in ``[int(start * fps), int(stop * fps))``.
        fps: frames per second of the film.
    """
    spans = [(int(cue.start_seconds * fps), int(cue.stop_seconds * fps)) for cue in cues]
    places = [
        place
        for index in indices
        for place, (start, stop) in enumerate(spans)
        if start <= index < stop
    ]
    pieces = [_WHITE_FONT.search(cues[place].text) for place in set(places)]
    return [piece[1] for piece in pieces if piece]


def read_timed_lines(path: Path, *, offset_seconds: float, duration_seconds: float) -> list[Cue]:
    """Read one of LongVideoBench's two JSON formats of subtitles.

    Args:
        path: a list of ``{"start", "end", "line"}`` with ``HH:MM:SS.mmm``, or of
            ``{"timestamp": [start, stop], "text"}`` in seconds. In the second, a stop that is
            not a float (nothing, or a whole number) is the film's end, as the loader has it.
        offset_seconds: where on the subtitles' clock the film begins.
        duration_seconds: of the film.

    Raises:
        InputError: the file cannot be read or is in neither format.
    """
    rows = read_json(path)
    try:
        if not isinstance(rows, list):
            raise TypeError("no list")
        return [_timed_line(row, offset_seconds, duration_seconds) for row in rows]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: not a list of timed subtitles ({type(error).__name__}: {error}); get it anew"
        ) from error


def interleaved(seconds: Sequence[float], cues: Sequence[Cue]) -> list[int | str]:
    """Put frames and subtitles into the order of LongVideoBench's loader.

    A subtitle stands at its middle among the frames, and is left out unless a frame lies
    strictly inside it; one shorter than a second is widened to half a second either way.

    Args:
        seconds: times of the frames, never decreasing.
        cues: in the order of the file.

    Returns:
        Numbers of frames and lines of text.
    """
    order: list[int | str] = []
    shown = 0
    for cue in cues:
        start, stop = cue.start_seconds, cue.stop_seconds
        middle = (start + stop) / 2
        while shown < len(seconds) and seconds[shown] <= middle:
            order.append(shown)
            shown += 1
        if stop - start < _SHORTEST_SECONDS:
            start, stop = middle - _SHORTEST_SECONDS / 2, middle + _SHORTEST_SECONDS / 2
        if any(start < moment < stop for moment in seconds):
            order.append(cue.text)
    return [*order, *range(shown, len(seconds))]


def _timed_line(row: Mapping[str, Any], offset_seconds: float, duration_seconds: float) -> Cue:
    if "timestamp" in row:
        start, stop = row["timestamp"]
        stop, text = (stop if isinstance(stop, float) else duration_seconds), row["text"]
    else:
        start, stop, text = _clock(row["start"]), _clock(row["end"]), row["line"]
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no text")
    return Cue(start_seconds=start - offset_seconds, stop_seconds=stop - offset_seconds, text=text)


def _clock(text: str) -> float:
    hours, minutes, seconds = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _seconds(parts: Sequence[str]) -> float:
    hours, minutes, seconds, thousandths = map(int, parts)
    return hours * 3600 + minutes * 60 + seconds + thousandths / 1000
