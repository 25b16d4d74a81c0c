"""Which frames of a film are taken: pure arithmetic on counts and times.

Knows the rule of PPLLaVA's own evaluation, sampling by frames per second, and half-open
ranges ``[start, stop)`` in seconds on the film's own clock. Does not know files, decoders or
pictures; it is handed the presentation time of every frame and answers with positions.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from pplava_core.errors import UsageError
from pplava_core.types import Sampling

CLOCK_TOLERANCE_SECONDS = 1e-6
"Times that differ by less are one time: containers round their clocks to microseconds."

MAX_FRAMES = 100_000
"More frames than that are never taken from one film."
MAX_FPS = 1000.0
MOST_DEFAULT_FRAMES = 2048
"A film gives no more of its own accord: half an hour at a frame a second."

_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", re.ASCII)


def parse_seconds(text: str) -> float:
    """Turn a time as people write it into seconds.

    Args:
        text: ``"12"``, ``"12.5"``, ``"mm:ss"`` or ``"h:mm:ss.s"``. With a colon, what follows
            one must be below 60.

    Raises:
        UsageError: the text is not such a time.
    """
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a time; write seconds, mm:ss or h:mm:ss.s")
    has_hours, has_minutes = match[1] is not None, match[2] is not None
    # floats, since a whole number of hundreds of digits could not be added to one
    hours, minutes, seconds = (float(group or 0) for group in match.groups())
    if (has_hours and minutes >= 60) or (has_minutes and seconds >= 60):
        raise UsageError(f"{text!r} is not a time: after a colon comes a number below 60")
    return hours * 3600 + minutes * 60 + seconds


def check_sampling(sampling: Sampling) -> None:
    """Refuse a sampling that makes no sense for any film.

    Raises:
        UsageError: both a number and a rate, a number or rate that is not positive, or a
            range that is empty, negative or not a number.
    """
    number, fps, least_fps = sampling.num_frames, sampling.fps, sampling.least_fps
    if number is not None and fps is not None:
        raise UsageError("a number of frames and a rate were both asked for; give one of them")
    if number is not None and not 1 <= number <= MAX_FRAMES:
        raise UsageError(f"{number} frames were asked for; give a number from 1 to {MAX_FRAMES}")
    if fps is not None and not 0 < fps <= MAX_FPS:
        raise UsageError(f"{fps} frames per second were asked for; give 0 < fps <= {MAX_FPS:g}")
    if least_fps is not None and not 0 < least_fps <= MAX_FPS:
        raise UsageError(f"at least {least_fps} frames per second were asked for; give 0 < fps")
    start, stop = sampling.start_seconds, sampling.stop_seconds
    for name, value in (("starts", start), ("stops", stop)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UsageError(f"the range {name} at {value} s; give a time of 0 or more")
    if stop is not None and stop <= (start or 0.0):
        raise UsageError(f"the range [{start or 0:g}, {stop:g}) s is empty; stop must follow start")


def sample_indices(frame_count: int, num_frames: int) -> list[int]:
    """Spread ``num_frames`` over a film by the rule of PPLLaVA's evaluation.

    Args:
        frame_count: frames in the film, at least 1.
        num_frames: frames wanted, at least 1. Repeats come up when the film has no more
            frames than that, since the models were built for a fixed number.

    Returns:
        ``num_frames`` indices in ``[0, frame_count)``, never decreasing.

    Raises:
        UsageError: either number is below 1.
    """
    if frame_count < 1:
        raise UsageError("there are no frames to take from")
    return spread(0, frame_count - 1, num_frames)


def spread(first_index: int, last_index: int, num_frames: int) -> list[int]:
    """Take the frame nearest the middle of each of ``num_frames`` equal parts.

    The rule as the authors' evaluation computes it: ``int(first + part/2 + round(part * i))``,
    ``round`` going to the even neighbour from a half, and ``part`` counted up to the last
    *index*. Both ends are included.

    Raises:
        UsageError: fewer than one frame is asked for, or the last index precedes the first.
    """
    if num_frames < 1 or last_index < first_index:
        raise UsageError(
            f"cannot take {num_frames} frames from the indices {first_index} to {last_index}"
        )
    part = (last_index - first_index) / num_frames
    return [int(first_index + part / 2 + round(part * i)) for i in range(num_frames)]


def bounded_indices(
    start_seconds: float,
    stop_seconds: float,
    *,
    fps: float,
    last_index: int,
    num_frames: int,
    first_index: int = 0,
) -> list[int]:
    """Spread frames over a range the way the authors' benchmarks do, by frame rate alone.

    Unlike `choose_positions` this needs no presentation times: the ends of the range become
    ``round(seconds * fps)``. ``first_index`` is 1 for the benchmarks' frame folders.

    Raises:
        UsageError: the range holds no frame, or a number is not finite.
    """
    if not all(math.isfinite(value) for value in (start_seconds, stop_seconds, fps)):
        raise UsageError(f"range [{start_seconds}, {stop_seconds}) s at {fps} fps is not finite")
    first = max(first_index, round(start_seconds * fps))
    last = min(round(stop_seconds * fps), last_index)
    return spread(first, last, num_frames)


def choose_positions(
    seconds: Sequence[float],
    *,
    film_stop_seconds: float,
    sampling: Sampling,
    default_num_frames: int,
) -> list[int]:
    """Pick frames of a film that has a clock.

    Args:
        seconds: presentation time of every frame, never decreasing.
        film_stop_seconds: when the last frame leaves the screen.
        sampling: what was asked for.
        default_num_frames: used when ``sampling`` names neither a number nor a rate.

    Returns:
        Positions in ``seconds``, never decreasing. Only frames whose time lies in the range
        are taken; when none does (a range inside one long still frame) it is the one frame on
        screen when the range starts.

    Raises:
        UsageError: the sampling contradicts itself, or the range starts past the film's end.
    """
    check_sampling(sampling)
    first, stop = _positions_in_range(seconds, film_stop_seconds, sampling)
    if sampling.fps is not None:
        return _by_rate(seconds, first, stop, film_stop_seconds, sampling)
    number = sampling.num_frames or default_num_frames
    if sampling.num_frames is None and sampling.least_fps is not None:
        length_seconds = min(film_stop_seconds, sampling.stop_seconds or math.inf) - seconds[first]
        most = min(MOST_DEFAULT_FRAMES, stop - first) // number
        wanted = math.ceil(round(length_seconds * sampling.least_fps / number, 6))
        number *= max(1, min(wanted, most))
    return spread(first, stop - 1, number)


def _positions_in_range(
    seconds: Sequence[float], film_stop_seconds: float, sampling: Sampling
) -> tuple[int, int]:
    """Give the half-open range of positions that a range in seconds covers, never empty."""
    if not seconds:
        raise UsageError("there are no frames to take from")
    start = sampling.start_seconds or 0.0
    if start > 0 and start >= max(film_stop_seconds, seconds[-1] + CLOCK_TOLERANCE_SECONDS):
        raise UsageError(
            f"the range starts at {start:g} s but the film ends at {film_stop_seconds:.2f} s"
        )
    first = bisect_left(seconds, start - CLOCK_TOLERANCE_SECONDS)
    stop = len(seconds)
    if sampling.stop_seconds is not None:
        stop = bisect_left(seconds, sampling.stop_seconds - CLOCK_TOLERANCE_SECONDS)
    if first >= stop:
        first = max(first - 1, 0)
        stop = first + 1
    return first, stop


def _by_rate(
    seconds: Sequence[float],
    first: int,
    stop: int,
    film_stop_seconds: float,
    sampling: Sampling,
) -> list[int]:
    """Take the frame on screen at every tick of the asked-for rate, each frame once."""
    assert sampling.fps is not None
    start_seconds = max(sampling.start_seconds or 0.0, seconds[first])
    stop_seconds = film_stop_seconds
    if sampling.stop_seconds is not None:
        stop_seconds = min(sampling.stop_seconds, film_stop_seconds)
    chosen, tick = [first], 1
    while (time := start_seconds + tick / sampling.fps) < stop_seconds - CLOCK_TOLERANCE_SECONDS:
        position = bisect_right(seconds, time + CLOCK_TOLERANCE_SECONDS, first, stop) - 1
        if position > chosen[-1]:
            chosen.append(position)
        if position + 1 >= stop:
            break
        # ticks that fall on the same long frame are skipped at once
        next_seconds = seconds[position + 1] - CLOCK_TOLERANCE_SECONDS - start_seconds
        tick = max(tick + 1, math.ceil(next_seconds * sampling.fps))
    return chosen
