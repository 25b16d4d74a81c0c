"""A heatmap becomes a file, or files, of the kind that the name asks for.

``.png`` is one sheet with every frame; ``.mp4`` and ``.gif`` play the frames; a folder gets
one PNG a frame. A file appears whole or not at all. Knows formats; draws nothing.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from pplava_core.atomic import replacing
from pplava_core.errors import InputError, UsageError
from pplava_core.heatmap.scale import HeatScale
from pplava_core.heatmap.sheet import Heatmap, contact_sheet, pages

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Form = Literal["sheet", "pages", "mp4", "gif"]

Progress = Callable[[int, int], None]
"Called with the number of frames drawn so far and the number there are."

FRAMES_PER_SECOND = 2
"How fast films of heatmaps play: slow enough to look at each frame."

_MARK = "pplava heatmap"
"Written into every file, to tell our own from the ones that must not be lost."

_MAP_COLOURS = 40
"Of a GIF's 256 colours, so many go to the legend and as many to the overlays."

_FORMS: dict[str, Form] = {".png": "sheet", ".mp4": "mp4", ".gif": "gif", "": "pages"}
_PICTURE_WIDTHS: dict[Form, int] = {"pages": 960, "mp4": 720, "gif": 560}


def form_of(name: str | os.PathLike[str]) -> Form:
    """Tell from a name what would be written there.

    An existing folder, a name that ends in a slash and a name without a suffix stand for
    a folder of pages.

    Raises:
        UsageError: the suffix is none that can be written.
    """
    text = os.fspath(name)
    if text.endswith(("/", os.sep)) or os.path.isdir(text):
        return "pages"
    suffix = Path(text).suffix.lower()
    if suffix not in _FORMS:
        raise UsageError(
            f"{text}: a heatmap is no {suffix} file; end the name in .png, .mp4 or .gif, "
            "or name a folder"
        )
    return _FORMS[suffix]


def is_heatmap(path: Path) -> bool:
    """Tell whether a file was written by `write_heatmap`."""
    from PIL import Image

    from pplava_core.media._container import opened

    try:
        if path.suffix.lower() == ".mp4":
            with opened(path) as container:
                return container.metadata.get("comment") == _MARK
        with Image.open(path, formats=["PNG", "GIF"]) as picture:
            return picture.info.get("Software") == _MARK or (
                picture.info.get("comment") == _MARK.encode()
            )
    except (InputError, OSError, SyntaxError, ValueError):
        return False


def check_replaceable(path: Path) -> None:
    """Make sure that writing a heatmap to this file loses nothing but an older heatmap.

    Raises:
        UsageError: another file stands there.
    """
    if not path.exists() or is_heatmap(path):
        return
    if not path.is_file() or path.stat().st_size > 0:
        raise UsageError(f"{path} is no heatmap, so it stays as it is: choose another name")


def write_heatmap(
    path: str | os.PathLike[str],
    heatmap: Heatmap,
    frames: Iterable[np.ndarray],
    *,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Draw a heatmap and write it in the form that the name asks for (see `form_of`).

    Args:
        path: where to. Missing folders are made; a file is replaced, so ask
            `check_replaceable` first. Pages are put beside what a folder holds already.
        heatmap: what to show.
        frames: the sampled frames in order, each ``(height, width, 3)`` uint8 of any size;
            one is held at a time.
        progress: called after every frame.

    Returns:
        The files written, in order.

    Raises:
        UsageError: the name's suffix is none that can be written.
        ShapeError: there are not as many frames as the relevance has.
        OSError: the disk does not take it.
    """
    form = form_of(path)
    target = Path(path)
    watched = _watched(frames, heatmap.frame_count, progress)
    (target if form == "pages" else target.parent).mkdir(parents=True, exist_ok=True)
    if form == "pages":
        return _write_pages(target, heatmap, watched)
    with replacing(target) as temporary:
        if form == "sheet":
            _save_png(contact_sheet(heatmap, watched), temporary)
        else:
            drawn = pages(heatmap, watched, picture_width=_PICTURE_WIDTHS[form])
            (_write_mp4 if form == "mp4" else _write_gif)(temporary, drawn)
    return (target,)


def _write_pages(folder: Path, heatmap: Heatmap, frames: Iterable[np.ndarray]) -> tuple[Path, ...]:
    has_clock = heatmap.source.kind == "video"
    written = []
    drawn = pages(heatmap, frames, picture_width=_PICTURE_WIDTHS["pages"])
    for number, (page, seconds) in enumerate(
        zip(drawn, heatmap.relevances[0].seconds, strict=True)
    ):
        time = f"_{seconds:08.3f}s" if has_clock else ""
        path = folder / f"{number:04d}{time}.png"
        with replacing(path) as temporary:
            _save_png(page, temporary)
        written.append(path)
    return tuple(written)


def _save_png(picture: Picture, path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    marks = PngInfo()
    marks.add_text("Software", _MARK)
    picture.save(path, format="PNG", pnginfo=marks, compress_level=4)


def _write_mp4(path: Path, drawn: Iterator[Picture]) -> None:
    import av

    first = next(drawn)
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        container.metadata["comment"] = _MARK
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.width, stream.height = first.size
        stream.pix_fmt = "yuv420p"
        # One thread, so that the same pictures give the same bytes on every machine.
        stream.options = {"crf": "18", "preset": "medium", "threads": "1"}
        for page in itertools.chain([first], drawn):
            picture = av.VideoFrame.from_ndarray(np.asarray(page), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _write_gif(path: Path, drawn: Iterator[Picture]) -> None:
    few_coloured = (_with_few_colours(page) for page in drawn)
    first = next(few_coloured)
    first.save(
        path,
        format="GIF",
        save_all=True,
        append_images=few_coloured,
        duration=1000 // FRAMES_PER_SECOND,
        loop=0,
        comment=_MARK,
    )


def _with_few_colours(page: Picture) -> Picture:
    """Bring a page to 256 colours, some of them kept for the map, which is small but matters."""
    from PIL import Image

    scale = HeatScale(highest=2.0)
    kept = scale.colours(np.linspace(0, 1, _MAP_COLOURS))
    common = page.quantize(256 - 2 * _MAP_COLOURS).getpalette() or []
    over_grey = np.rint(0.68 * kept + 0.32 * 128).astype(np.uint8)
    palette = Image.new("P", (1, 1))
    palette.putpalette([*common, *kept.ravel().tolist(), *over_grey.ravel().tolist()])
    return page.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def _watched(
    frames: Iterable[np.ndarray], total: int, progress: Progress | None
) -> Iterator[np.ndarray]:
    for done, frame in enumerate(frames, start=1):
        yield frame
        if progress is not None:
            progress(min(done, total), total)
