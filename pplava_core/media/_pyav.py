"""The default reader: PyAV, exact frames from any container.

The packets are read once to learn when every frame is shown. Wanted frames are then reached
by seeking to the key frame before them, and every picture is known by its time stamp. On the
first doubt (a seek that lands late, a damaged packet, a missing frame) the rest is read by
decoding the file in order, which is slow and always right. Does not choose or resize frames,
and holds one full-size picture at a time.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from pplava_core.errors import InputError
from pplava_core.media._container import (
    film_by_count,
    film_by_time,
    opened,
    scan,
    video_stream,
)
from pplava_core.media._film import FramesMissingError
from pplava_core.media._guard import check_file, check_size, shown

MAX_THREADS = 8
"Every decoding thread holds frames of its own; at 4K more of them cost memory, not time."

TOLERATED_LOSSES = 2
"After so few lost frames the rest, up to the next key frame, still shows what was filmed."
HDR_TRANSFERS = frozenset({16, 18})
"Transfer functions (ITU-T H.273) of high dynamic range: PQ and HLG."


class PyavReader:
    """Reads one video file; see `FrameReader`."""

    name = "pyav"

    def __init__(self, path: Path) -> None:
        check_file(path)
        self.warnings: list[str] = []
        self._path = path
        self._converter = VideoReformatter()
        self._table = scan(path)
        self._pts = self._table.pts
        self._may_seek = self._table.can_seek
        self._accepts_damage = False
        if self._pts is None:
            self.film = film_by_count(self._table.frame_count, self._table.fps)
        else:
            self.film = film_by_time(self._table)
        self._judge()

    def _judge(self) -> None:
        """Say what the packets already show to be wrong with the file."""
        if self._table.has_broken_clock:
            self._warn("time stamps cannot be used: times are counted from the frame rate")
        if self._table.announced_count > self._table.packet_count:
            self._warn(
                f"the file is cut: {self._table.announced_count} frames announced, "
                f"{self._table.packet_count} there"
            )
        elif self._table.was_interrupted:
            self._warn("the file is damaged: it could not be read to its end")
        elif self._table.announced_seconds > 1.05 * self.film.stop_seconds + 1:
            self._warn(
                f"pictures end at {self.film.stop_seconds:.2f} s though "
                f"{self._table.announced_seconds:.2f} s are announced"
            )

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the pictures of these frames; see `FrameReader.read`."""
        wanted = dict.fromkeys(indices)
        if self._may_seek:
            for index, frame in self._by_seek(list(wanted)):
                del wanted[index]
                yield index, self._picture(frame)
            self._may_seek = not wanted
        if wanted:
            for index, frame in self._in_order(set(wanted)):
                yield index, self._picture(frame)

    def _by_seek(self, wanted: list[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield frames reached through key frames, and stop for good at the first doubt."""
        assert self._pts is not None
        with opened(self._path) as container:
            stream = self._prepared(container)
            for key_pts, group in self._groups(wanted):
                try:
                    container.seek(key_pts, stream=stream, backward=True, any_frame=False)
                except FFmpegError:
                    return
                stream.codec_context.flush_buffers()
                problems: list[str] = []
                for frame in _decoded(container, stream, problems):
                    next_pts = self._pts[group[0]]
                    if problems or frame.pts is None or frame.pts > next_pts or frame.is_corrupt:
                        return
                    if frame.pts == next_pts:
                        yield group.popleft(), frame
                    if not group:
                        break
                if group:
                    return

    def _groups(self, wanted: list[int]) -> Iterator[tuple[int, deque[int]]]:
        """Gather the frames that one seek reaches without running over an idle key frame."""
        assert self._pts is not None
        keys = np.searchsorted(self._table.key_pts, self._pts[wanted], side="right") - 1
        group: deque[int] = deque()
        first_key = last_key = 0
        for index, key in zip(wanted, keys.tolist(), strict=True):
            if group and key > last_key + 1:
                yield int(self._table.key_pts[first_key]), group
                group = deque()
            if not group:
                first_key = key
            group.append(index)
            last_key = key
        yield int(self._table.key_pts[first_key]), group

    def _in_order(self, wanted: set[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield frames while decoding the whole file from its start.

        Frames between a badly damaged place and the next key frame show what the decoder made
        up; they are passed over as long as there are enough others.

        Raises:
            FramesMissingError: not all wanted frames came; `film` knows what did.
            InputError: no frame came at all.
        """
        seen: list[int] = []
        sound: list[int] = []
        problems: list[str] = []
        decoded_count = 0
        for index, is_sound, frame in self._placed(problems):
            decoded_count += 1
            if index is None or (seen and index <= seen[-1]):
                continue  # its time stamp is of no frame, or comes too late
            seen.append(index)
            if is_sound:
                sound.append(index)
            if index in wanted and (is_sound or self._accepts_damage):
                wanted.discard(index)
                yield index, frame
            if not wanted:
                break
        for problem in problems:
            self._warn(problem)
        if wanted:
            self._learn(seen, sound, decoded_count)
            raise FramesMissingError

    def _placed(self, problems: list[str]) -> Iterator[tuple[int | None, bool, VideoFrame]]:
        """Decode the whole file; say of each frame which it is, and whether it is sound."""
        losses = _Losses()
        with opened(self._path) as container:
            frames = _decoded(container, self._prepared(container), problems)
            for place, frame in enumerate(frames):
                index = self._index_of(frame, place)
                yield index, losses.leave_sound(frame, index, len(problems)), frame

    def _index_of(self, frame: VideoFrame, decoded_count: int) -> int | None:
        """Find which frame of the film this is: by its time, or by counting."""
        if self._pts is None:
            return decoded_count
        if frame.pts is None:
            return None
        index = int(np.searchsorted(self._pts, frame.pts))
        is_known = index < len(self._pts) and int(self._pts[index]) == frame.pts
        return index if is_known else None

    def _learn(self, seen: list[int], sound: list[int], decoded_count: int) -> None:
        """Correct the film after a full pass that did not bring all the frames wanted."""
        if not decoded_count:
            raise InputError(f"{shown(self._path)}: damaged: no frame of it can be decoded")
        if not seen:
            # not one time stamp of the frames is that of a packet: they can only be counted
            self._pts = None
            self.film = film_by_count(decoded_count, self._table.fps)
            self._warn("time stamps cannot be used: times are counted from the frame rate")
            return
        self._accepts_damage = 2 * len(sound) < len(seen)
        if self._accepts_damage:
            self._warn("most of the file is damaged: pictures may show what was never filmed")
        usable = np.asarray(seen if self._accepts_damage else sound, dtype=np.int64)
        self._warn(f"only {len(usable)} of {self._table.frame_count} stored frames can be used")
        self.film = replace(self.film, usable=usable)

    def _prepared(self, container: InputContainer) -> VideoStream:
        stream = video_stream(container, self._path)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(os.cpu_count() or 1, MAX_THREADS)
        return stream

    def _picture(self, frame: VideoFrame) -> np.ndarray:
        """Convert a decoded frame to RGB, upright."""
        check_size(self._path, frame.width, frame.height)
        if frame.color_trc in HDR_TRANSFERS:
            self._warn("high dynamic range: colours are shown without tone mapping")
        # one converter for all frames, in this thread: starting threads for each frame costs
        # more than converting it
        picture = self._converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        quarter_turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(picture, quarter_turns)) if quarter_turns else picture

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


class _Losses:
    """Counts what was lost since the last key frame, to tell whether a frame can be right."""

    def __init__(self) -> None:
        self._problem_count_before = 0
        self._missing_count = 0
        self._corrupt_count = 0
        self._last_index = -1

    def leave_sound(self, frame: VideoFrame, index: int | None, problem_count: int) -> bool:
        """Say whether a frame, given in the order of decoding, is sound enough to be shown."""
        if index is not None:
            self._missing_count += max(0, index - self._last_index - 1)
            self._last_index = max(self._last_index, index)
        if frame.key_frame:
            self._problem_count_before = problem_count
            self._missing_count = self._corrupt_count = 0
        self._corrupt_count += frame.is_corrupt
        if problem_count == self._problem_count_before and not self._corrupt_count:
            # frames that are missing without a problem were never meant to be shown
            return True
        losses = self._missing_count + self._corrupt_count
        return losses <= TOLERATED_LOSSES and not frame.is_corrupt


def _decoded(
    container: InputContainer, stream: VideoStream, problems: list[str]
) -> Iterator[VideoFrame]:
    """Yield frames in presentation order, going on after damaged packets.

    What went wrong is added to ``problems``, before the next frame is given.
    """
    packets = container.demux(stream)
    while True:
        packet: Packet[Any] | None = None
        try:
            packet = next(packets, None)
        except FFmpegError:
            problems.append("the file is cut or damaged: it could not be read to its end")
        is_last = packet is None or not packet.size
        try:
            yield from stream.codec_context.decode(None if is_last else packet)
        except EOFError:
            return
        except FFmpegError:
            problems.append("parts of the file are damaged: pictures after them may have flaws")
        if is_last:
            return
