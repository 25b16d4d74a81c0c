"""From a path to a `Clip`: the frames a model is shown, their times, and where they came from.

Brings together what the other modules of this folder know: what kind of input it is, which
reader opens it, which frames are taken, and the size they are brought to. Every picture is
resized as it is decoded, so that memory holds the clip and one full-size picture, however
long the film.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pplava_core.errors import InputError, UsageError
from pplava_core.media._film import Film, FrameReader, FramesMissingError, open_video
from pplava_core.media._gathering import Cutting, Gathering, Resizing
from pplava_core.media._guard import shown
from pplava_core.media.pictures import PictureReader, is_still, numbered_frames
from pplava_core.media.preprocess import resize_picture
from pplava_core.media.sample import check_sampling, choose_positions, sample_indices
from pplava_core.types import Clip, ClipSource, InputKind, PixelRule, Sampling

if TYPE_CHECKING:
    import numpy as np

Progress = Callable[[int, int], None]
"Called with the number of frames read so far and the number that will be read."

MAX_ATTEMPTS = 3
"A damaged film is sampled anew over the frames that can be decoded; twice is always enough."


def kind_of(path: str | os.PathLike[str]) -> InputKind:
    """Tell what an input is by looking at the file, not at its name.

    Returns:
        ``"frames"`` for a folder, ``"image"`` for a still picture, and ``"video"`` for any
        other readable file: only opening it shows whether it is one.

    Raises:
        InputError: there is no such file, or it cannot be opened safely.
    """
    path = Path(path)
    if path.is_dir():
        return "frames"
    return "image" if is_still(path) else "video"


def check_header(path: str | os.PathLike[str]) -> None:
    """Make sure that an input can be opened, from its first bytes and its header alone.

    Raises:
        InputError: there is no such file, or it is no video, picture or folder of frames.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind == "frames":
        numbered_frames(path)
    elif kind == "video":
        from pplava_core.media._container import opened, video_stream

        with opened(path) as container:
            video_stream(container, path)


def load_clip(
    paths: Sequence[Path] | Path,
    *,
    sampling: Sampling,
    pixels: PixelRule | None,
    cut: Callable[[np.ndarray], np.ndarray] | None = None,
    default_num_frames: int = 16,
    reader: str = "pyav",
    progress: Progress | None = None,
) -> Clip:
    """Read the frames of a video, a picture, a folder of numbered frames or a set of pictures.

    Args:
        paths: one path, or several pictures in the order in which they are to be shown.
        sampling: which frames. Pictures have no clock: a rate or a range is refused, a set is
            taken whole unless a smaller number is asked for, a folder is spread like a video.
        pixels: the size to bring them to; None keeps the size of the first picture.
        cut: what makes tiles ``(N, height, width, 3)`` of a picture instead of resizing it; of
            a film's frames one each. The clip then has as many frames as there are tiles.
        default_num_frames: how many frames of a film when ``sampling`` does not say.
        reader: ``"pyav"`` or ``"decord"``; pictures are always read with Pillow.
        progress: called after every frame read.

    Raises:
        UsageError: the sampling or the mixture of inputs makes no sense, or the clip would be
            larger than `MAX_CLIP_BYTES`.
        InputError: a file cannot be read.
    """
    check_sampling(sampling)
    names = [Path(paths)] if isinstance(paths, str | os.PathLike) else [Path(p) for p in paths]
    kind = _kind_of_all(names)
    source = _open(names, kind, reader)
    for _ in range(MAX_ATTEMPTS):
        indices = _choose(source.film, kind, sampling, default_num_frames)
        gathering = Resizing(indices, pixels) if cut is None else Cutting(indices, cut)
        try:
            for index, picture in source.read(gathering.unique):
                gathering.add(index, picture)
                if progress is not None:
                    progress(len(gathering.sizes), len(gathering.unique))
        except FramesMissingError:
            continue
        return _clip(names, kind, sampling, source, gathering)
    raise InputError(f"{shown(names[0])}: damaged: every attempt to read it gave other frames")


def iterate_frames(
    source: ClipSource,
    *,
    pixels: PixelRule | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[float, np.ndarray]]:
    """Read the frames of a clip again, one at a time, in any size.

    Args:
        source: ``Clip.source`` or ``PatchGrid.source``: the same frames are given.
        pixels: the size to bring them to; None gives each its own full size.
        progress: called after every frame read.

    Yields:
        ``(seconds, picture)`` for every entry of ``source.indices``; the picture is
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        InputError: a file cannot be read any more, or has changed.
    """
    names = [Path(name) for name in source.paths]
    reader = _open(names, source.kind, source.reader)
    repeats = Counter(source.indices)
    unique = list(repeats)
    done = 0
    for _ in range(MAX_ATTEMPTS):
        if unique[-1] >= len(reader.film.seconds):
            break
        try:
            for index, picture in reader.read(unique[done:]):
                fitted = picture if pixels is None else resize_picture(picture, pixels)
                for _ in range(repeats[index]):
                    yield float(reader.film.seconds[index]), fitted
                done += 1
                if progress is not None:
                    progress(done, len(unique))
            return
        except FramesMissingError:
            continue
    raise InputError(f"{shown(names[0])}: the file has changed since it was read")


def cut_again(clip: Clip, cut: Callable[[np.ndarray], np.ndarray]) -> Clip:
    """Read the pictures of a clip again in full size, and cut them; see `load_clip`.

    Args:
        clip: read elsewhere, at one size.
        cut: makes tiles of a picture.

    Raises:
        InputError: a file cannot be read any more, or has changed.
    """
    import numpy as np

    tiles, sizes, seconds = [], [], []
    for second, picture in iterate_frames(clip.source):
        tiles.append(cut(picture))
        sizes.append((picture.shape[0], picture.shape[1]))
        seconds += [second] * len(tiles[-1])
    source = clip.source
    if source.kind in ("image", "images"):
        counts = tuple(map(len, tiles))
        source = replace(source, picture_sizes=tuple(sizes), tile_counts=counts)
    return Clip(frames=np.concatenate(tiles), seconds=np.array(seconds), source=source)


def _kind_of_all(names: Sequence[Path]) -> InputKind:
    if not names:
        raise UsageError("no file was named")
    if len(names) == 1:
        return kind_of(names[0])
    for name in names:
        if kind_of(name) != "image":
            raise UsageError(f"{shown(name)}: only still pictures can be read together as a set")
    return "images"


def _open(names: Sequence[Path], kind: InputKind, reader: str) -> FrameReader:
    if kind == "video":
        return open_video(names[0], reader)
    return PictureReader(numbered_frames(names[0]) if kind == "frames" else names)


def _choose(film: Film, kind: InputKind, sampling: Sampling, default_num_frames: int) -> list[int]:
    """Pick frames of the film among those that can be decoded."""
    if kind == "video":
        positions = choose_positions(
            film.seconds[film.usable].tolist(),
            film_stop_seconds=film.stop_seconds,
            sampling=sampling,
            default_num_frames=default_num_frames,
        )
        return [int(film.usable[position]) for position in positions]
    if (sampling.fps, sampling.start_seconds, sampling.stop_seconds) != (None, None, None):
        raise UsageError("pictures have no clock: a rate or a range in seconds needs a video")
    count = len(film.seconds)
    if kind == "frames":
        return sample_indices(count, sampling.num_frames or default_num_frames)
    if sampling.num_frames is not None and sampling.num_frames < count:
        return sample_indices(count, sampling.num_frames)
    return list(range(count))


def _clip(
    names: Sequence[Path],
    kind: InputKind,
    sampling: Sampling,
    reader: FrameReader,
    gathering: Gathering,
) -> Clip:
    import numpy as np

    film = reader.film
    warnings = list(reader.warnings)
    wanted, found = len(gathering.indices), len(gathering.unique)
    if found < wanted:
        warnings.append(f"only {found} different frames for {wanted}: some are shown repeatedly")
    is_cut = isinstance(gathering, Cutting)
    if len(set(gathering.sizes.values())) > 1 and not is_cut:
        warnings.append("pictures of several sizes were each brought to one size")
    has_clock = kind == "video"
    shows_tiles = is_cut and kind in ("image", "images")
    height, width = next(iter(gathering.sizes.values()))
    stop_seconds = film.stop_seconds
    if has_clock and sampling.stop_seconds is not None:
        stop_seconds = min(stop_seconds, sampling.stop_seconds)
    return Clip(
        frames=gathering.frames(),
        seconds=film.seconds[np.repeat(gathering.indices, gathering.counts())],
        source=ClipSource(
            paths=tuple(os.fspath(name) for name in names),
            kind=kind,
            width=width,
            height=height,
            frame_count=len(film.seconds),
            fps=film.fps,
            duration_seconds=film.stop_seconds,
            start_seconds=(sampling.start_seconds or 0.0) if has_clock else 0.0,
            stop_seconds=stop_seconds,
            reader=reader.name,
            indices=tuple(gathering.indices),
            warnings=tuple(warnings),
            picture_sizes=tuple(gathering.sizes[i] for i in gathering.indices)
            if shows_tiles
            else (),
            tile_counts=tuple(gathering.counts()) if shows_tiles else (),
        ),
    )
