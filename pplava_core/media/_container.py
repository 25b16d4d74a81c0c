"""Opening a container safely, and its table of frames without decoding any.

Knows what PyAV tells of packets: their presentation times, which of them are shown, which
are key frames. The table it makes is in presentation order and on the film's own clock: the
clock a player shows, which starts with the container (so a video track that starts two
seconds after the sound starts at 2.0) and never with the raw time stamps. Decodes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from pplava_core.errors import InputError
from pplava_core.media._film import Film
from pplava_core.media._guard import MAX_FRAME_PIXELS, check_size, shown

# Playlists, scripts, still pictures and subtitles are left out on purpose: renamed to .mp4
# they would make the library open another file, or show a picture that is no film.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,apng,"
    "h264,hevc,av1,obu,ivf,m4v,mxf,wtv,dv,rm,nut,yuv4mpegpipe"
)
SEEKABLE_FORMATS = frozenset({"mov", "matroska"})
"Containers whose seek lands where it says; each frame's time is checked nevertheless."
ANNOUNCING_FORMATS = frozenset({"mov", "matroska", "flv", "asf"})
"Containers whose header says how long the film is; for others the library only guesses."
UNTIMED_FORMATS = frozenset({"avi"})
"Containers of one constant rate whose time stamps are guesses, wrong where there are B-frames."
FALLBACK_FPS = 25.0

# PyAV 18 raises on a title that is not UTF-8 unless told otherwise; 19 dropped the argument.
_HAS_METADATA_ERRORS = int(av.__version__.split(".")[0]) < 19
_OPEN_ARGUMENTS: dict[str, Any] = {"metadata_errors": "replace"} if _HAS_METADATA_ERRORS else {}


@dataclass(frozen=True, kw_only=True)
class PacketTable:
    """What a pass over the packets of the video stream found."""

    pts: np.ndarray | None
    "``(F,)`` int64, increasing: one per shown frame; None when time stamps cannot be used."
    key_pts: np.ndarray
    "``(K,)`` int64, increasing: where decoding can start."
    frame_count: int
    "Packets that hold a shown frame."
    packet_count: int
    "Packets there, shown or not, with data or (a frame that was dropped) without."
    announced_count: int
    "What the header claims; 0 when it claims nothing."
    announced_seconds: float
    "How much film the header claims there is; 0 when it claims nothing."
    stop_pts: int
    "When the last frame leaves the screen."
    time_base: Fraction
    "Seconds of one unit of pts."
    origin_seconds: Fraction
    "What the film's own clock calls zero."
    fps: float
    "Average frames per second; 0 when unknown."
    can_seek: bool
    has_broken_clock: bool
    "Time stamps that should be there are missing, doubled or run backwards."
    was_interrupted: bool
    "Reading stopped at an error before the end."


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a local file that holds a video format of the whitelist, and nothing else.

    Raises:
        InputError: it cannot be opened, or an error of the library leaves the block.
    """
    # "file:" keeps a colon, a leading dash or a % in the name from being read as a protocol
    # or a pattern; the whitelists keep a playlist from naming another file or host.
    address = "file:" + os.path.abspath(path)
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        with av.open(address, "r", options=options, **_OPEN_ARGUMENTS) as container:
            yield container
    except (FFmpegError, OSError, EOFError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(
            f"{shown(path)}: not a video or picture that can be read "
            f"({reason.splitlines()[0]}); try converting it to mp4"
        ) from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Pick the stream that a player would show: no cover art, default first, then largest.

    Raises:
        InputError: there is none, or no decoder for it, or its pictures are too large.
    """
    films = [
        stream
        for stream in container.streams.video
        if not int(stream.disposition) & int(Disposition.attached_pic)
    ]
    if not films:
        raise InputError(f"{shown(path)}: there is no video in it (sound or a cover only)")
    # a stream without a decoder has no codec context, whatever the type says
    readable = [stream for stream in films if getattr(stream, "codec_context", None) is not None]
    if not readable:
        raise InputError(f"{shown(path)}: no decoder for its video; convert it to H.264 first")
    default = [s for s in readable if int(s.disposition) & int(Disposition.default)]
    stream = max(default or readable, key=lambda s: (s.width or 0) * (s.height or 0))
    check_size(path, stream.width or 0, stream.height or 0)
    stream.codec_context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
    return stream


def scan(path: Path) -> PacketTable:
    """Read the packets of a file once, without decoding.

    Raises:
        InputError: the file is not a readable video or holds no frames.
    """
    tally = _Tally()
    with opened(path) as container:
        stream = video_stream(container, path)
        try:
            for packet in container.demux(stream):
                tally.add(packet)
        except FFmpegError:
            tally.was_interrupted = True
        if not tally.frame_count:
            raise InputError(f"{shown(path)}: the file is cut or damaged: it holds no frames")
        return _table(tally, container, stream)


@dataclass
class _Tally:
    """What is counted while the packets go by."""

    pts: list[int] = field(default_factory=list)
    key_pts: list[int] = field(default_factory=list)
    frame_count: int = 0
    packet_count: int = 0
    stop_pts: int | None = None
    last_dts: int | None = None
    has_one_clock: bool = True
    was_interrupted: bool = False

    def add(self, packet: Packet[Any]) -> None:
        self.packet_count += bool(packet.size) or packet.dts is not None
        if not packet.size:
            return
        if packet.dts is not None:
            # a clock that starts anew (joined files) says nothing about the order of frames
            self.has_one_clock &= self.last_dts is None or packet.dts >= self.last_dts
            self.last_dts = packet.dts
        if packet.is_keyframe and packet.pts is not None:
            self.key_pts.append(packet.pts)
        if packet.is_discard:  # decoded but not shown: the run-up of an edit list
            return
        self.frame_count += 1
        if packet.pts is None:
            self.has_one_clock = False
            return
        self.pts.append(packet.pts)
        stop_pts = packet.pts + (packet.duration or 0)
        self.stop_pts = stop_pts if self.stop_pts is None else max(self.stop_pts, stop_pts)


def _table(tally: _Tally, container: InputContainer, stream: VideoStream) -> PacketTable:
    pts, key_pts = sorted(tally.pts), sorted(tally.key_pts)
    formats = set(container.format.name.split(","))
    has_clock = tally.has_one_clock and len(set(pts)) == len(pts)
    usable = has_clock and formats.isdisjoint(UNTIMED_FORMATS)
    time_base = stream.time_base or Fraction(1)
    origin = _origin_seconds(container.start_time, pts[0] * time_base if pts else Fraction(0))
    return PacketTable(
        pts=np.asarray(pts, dtype=np.int64) if usable else None,
        key_pts=np.asarray(key_pts, dtype=np.int64),
        frame_count=tally.frame_count,
        packet_count=tally.packet_count,
        announced_count=stream.frames if formats.isdisjoint(UNTIMED_FORMATS) else 0,
        announced_seconds=_announced_seconds(container, formats, origin),
        stop_pts=tally.stop_pts or 0,
        time_base=time_base,
        origin_seconds=origin,
        fps=float(stream.average_rate or stream.guessed_rate or 0),
        can_seek=usable
        and not formats.isdisjoint(SEEKABLE_FORMATS)
        and bool(key_pts)
        and key_pts[0] <= pts[0],
        has_broken_clock=not has_clock,
        was_interrupted=tally.was_interrupted,
    )


def _announced_seconds(
    container: InputContainer, formats: set[str], origin_seconds: Fraction
) -> float:
    if container.duration is None or formats.isdisjoint(ANNOUNCING_FORMATS):
        return 0.0
    # Matroska counts up to the end from the clock's zero, which may lie before the start
    return container.duration / av.time_base - max(0.0, float(origin_seconds))


def _origin_seconds(container_start: int | None, first_seconds: Fraction) -> Fraction:
    """Say what the film's clock calls zero: the container's start, never after a frame."""
    if container_start is None:
        return first_seconds
    start_seconds = Fraction(container_start, av.time_base)
    # the container rounds to microseconds; the frame's own time is exact
    is_same = abs(start_seconds - first_seconds) < Fraction(1, 100_000)
    return first_seconds if is_same else min(start_seconds, first_seconds)


def film_by_time(table: PacketTable) -> Film:
    """Describe a film whose time stamps can be trusted; ``table.pts`` is not None."""
    assert table.pts is not None
    base, origin = table.time_base, table.origin_seconds
    origin_pts = origin / base
    if origin_pts.denominator == 1:
        # one division of whole numbers: frame 30 of 30 fps is at 1.0, not beside it
        seconds = (table.pts - int(origin_pts)) * base.numerator / base.denominator
    else:
        seconds = table.pts * base.numerator / base.denominator - float(origin)
    fps = _average_fps(seconds, table.fps)
    frame_seconds = 1 / fps if fps else 0.0
    stop_seconds = float(table.stop_pts * base - origin)
    if stop_seconds <= seconds[-1]:
        stop_seconds = float(seconds[-1]) + frame_seconds
    return Film(
        seconds=seconds,
        usable=np.arange(len(seconds), dtype=np.int64),
        stop_seconds=stop_seconds,
        fps=fps,
    )


def film_by_count(frame_count: int, fps: float) -> Film:
    """Describe a film without usable time stamps: frames are counted, times follow the rate."""
    rate = fps or FALLBACK_FPS
    return Film(
        seconds=np.arange(frame_count) / rate,
        usable=np.arange(frame_count, dtype=np.int64),
        stop_seconds=frame_count / rate,
        fps=rate,
    )


def _average_fps(seconds: np.ndarray, header_fps: float) -> float:
    """Take the header's rate where the time stamps bear it out, else theirs."""
    if len(seconds) < 2 or seconds[-1] <= seconds[0]:
        return header_fps
    measured = float((len(seconds) - 1) / (seconds[-1] - seconds[0]))
    return header_fps if abs(measured - header_fps) < 0.1 * measured else measured
