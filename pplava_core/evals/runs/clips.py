"""Reading clips ahead of the model, in processes of their own, in order and within bounds.

At most ``workers`` times `CLIPS_AHEAD` clips are held; a worker ends with the process that it
reads for. A clip that cannot be read comes as the error it raised, and so does one that
kills its reader. Knows no model and no question, and never imports torch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

from pplava_core import media
from pplava_core.errors import InputError, PplavaError
from pplava_core.types import Clip, PixelRule, Sampling

CLIPS_AHEAD = 2
"Per worker: one being read and one that waits."


@dataclass(frozen=True, kw_only=True)
class ClipRequest:
    """One clip to read."""

    paths: Callable[[], Sequence[Path]]
    """Finds the file, or several pictures that are frames of one film; called by the reader,
    since something may have to be unpacked."""
    name: str
    "What to call it."
    sampling: Sampling


@dataclass(frozen=True, kw_only=True)
class ClipReading:
    """How every clip of a run is read."""

    pixels: PixelRule
    default_num_frames: int
    reader: str = "pyav"
    workers: int = 1
    "Processes; 0 reads in this one, and only when a clip is asked for."


def read_clips(
    requests: Sequence[ClipRequest], reading: ClipReading
) -> Generator[Clip | PplavaError, None, None]:
    """Yield a clip, or why there is none, for every request in turn.

    Close the generator when no more is wanted: that ends the workers.
    """
    if reading.workers == 0:
        for request in requests:
            yield read_clip(request, reading)
        return
    done = 0
    while done < len(requests):
        try:
            for clip in _read_ahead(requests[done:], reading):
                done += 1
                yield clip
        except BrokenProcessPool:
            yield _read_alone(requests[done], reading)
            done += 1


def read_clip(request: ClipRequest, reading: ClipReading) -> Clip | PplavaError:
    """Read one clip here and now, or say why it cannot be read."""
    try:
        paths = request.paths()
        clip = media.load_clip(
            paths[0] if len(paths) == 1 else paths,
            sampling=request.sampling,
            pixels=reading.pixels,
            default_num_frames=reading.default_num_frames,
            reader=reading.reader,
        )
        return clip if len(paths) == 1 else _as_film(clip)
    except PplavaError as error:
        return error
    except Exception as error:  # one odd film among thousands must not end a run
        reason = " ".join(str(error).split())
        return InputError(f"{request.name}: {type(error).__name__} while reading: {reason}")


def _as_film(clip: Clip) -> Clip:
    """Let chosen frames of a film count as such, and not as a set of unrelated pictures."""
    return replace(clip, source=replace(clip.source, kind="frames"))


def _read_ahead(
    requests: Sequence[ClipRequest], reading: ClipReading
) -> Generator[Clip | PplavaError, None, None]:
    pool = _pool(min(reading.workers, len(requests)))
    waiting: deque[Future[Clip | PplavaError]] = deque()
    try:
        for request in requests:
            waiting.append(pool.submit(read_clip, request, reading))
            if len(waiting) == CLIPS_AHEAD * reading.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read_alone(request: ClipRequest, reading: ClipReading) -> Clip | PplavaError:
    """Find out whether this is the clip that its reader died of; another one may have been."""
    with _pool(1) as pool:
        try:
            return pool.submit(read_clip, request, reading).result()
        except BrokenProcessPool:
            return InputError(f"{request.name}: reading it killed the reader; replace the file")


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, since a fork of a process with threads or an accelerator may hang.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker)


def _begin_worker() -> None:
    """Leave Ctrl-C to the process that reads are for, and end when that one is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
