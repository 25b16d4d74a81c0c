"""Still pictures as a film without a clock: one picture, a set, or a folder of frames.

Told from videos by their first bytes, never by their name, and read with Pillow: upright as
their EXIF says, 8-bit RGB, transparent parts on white. A picture's "time" is its position.
Numbered frames are put in the order of their numbers, so that ``frame10`` follows ``frame9``.
"""

from __future__ import annotations

import mimetypes
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pplava_core.errors import InputError
from pplava_core.media._film import Film
from pplava_core.media._guard import MAX_PICTURE_PIXELS, check_file, check_size, shown

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"Files of a frame folder that count as frames; others lie there unread."
PILLOW_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
"No other decoder of Pillow is let near a file (the one for EPS starts a program)."

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_UNREAD_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis"})


def is_still(path: Path) -> bool:
    """Tell a still picture from everything else by the file's first bytes.

    A moving GIF or PNG is not still: it is a video.

    Raises:
        InputError: the file cannot be read, or is a picture of a kind that is not read.
    """
    head = check_file(path)
    if head[4:8] == b"ftyp" and head[8:12] in _UNREAD_BRANDS:
        raise InputError(f"{shown(path)}: HEIC and AVIF are not read; convert it to JPEG or PNG")
    picture_format = _format_of(head)
    if picture_format is None:
        return False
    if picture_format not in ("GIF", "PNG", "WEBP"):
        return True
    with _opened(path) as picture:
        is_animated = getattr(picture, "is_animated", False)
    if is_animated and picture_format == "WEBP":
        raise InputError(f"{shown(path)}: animated WebP is not read; convert it to GIF or mp4")
    return not is_animated


def numbered_frames(folder: Path) -> list[Path]:
    """List the pictures of a folder, smaller numbers in their names first.

    Raises:
        InputError: the folder cannot be read or holds no pictures.
    """
    try:
        names = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{shown(folder)}: cannot be read: {error.strerror}") from error
    frames = [name for name in names if name.suffix.lower() in PICTURE_SUFFIXES]
    if not frames:
        raise InputError(f"{shown(folder)}: a folder without pictures; frames are png or jpg files")
    return sorted(frames, key=lambda frame: (_natural(frame.name), frame.name))


class PictureReader:
    """Reads pictures in the order given; see `FrameReader`."""

    name = "pillow"

    def __init__(self, paths: Sequence[Path]) -> None:
        import numpy as np

        self.warnings: list[str] = []
        self._paths = list(paths)
        count = len(self._paths)
        self.film = Film(
            seconds=np.arange(count, dtype=np.float64),
            usable=np.arange(count, dtype=np.int64),
            stop_seconds=0.0,
            fps=0.0,
        )

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the pictures at these positions; see `FrameReader.read`."""
        for index in dict.fromkeys(indices):
            path = self._paths[index]
            head = check_file(path)
            if (mimetypes.guess_type(path.name)[0] or "").startswith("video/"):
                self.warnings.append(f"a {_format_of(head)} picture is named {shown(path.suffix)}")
            yield index, _read_picture(path)


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """Open a picture with Pillow; its troubles inside the block become `InputError`."""
    import PIL
    import PIL.Image

    with warnings.catch_warnings():
        # Pillow warns of odd metadata and of large pictures; the size is checked here
        warnings.simplefilter("ignore")
        try:
            with PIL.Image.open(path, formats=PILLOW_FORMATS) as picture:
                check_size(path, *picture.size, limit=MAX_PICTURE_PIXELS)
                yield picture
        except InputError:
            raise
        except PIL.UnidentifiedImageError as error:
            raise InputError(f"{shown(path)}: a damaged picture; save it anew as PNG") from error
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"{shown(path)}: not a picture that can be read ({reason}); save it anew as PNG"
            ) from error


def _read_picture(path: Path) -> np.ndarray:
    import numpy as np
    from PIL import ImageOps

    with _opened(path) as picture:
        if picture.mode in ("I", "F"):
            raise InputError(f"{shown(path)}: pixels of 32-bit numbers; save it with 8 bits")
        return np.asarray(_as_rgb(ImageOps.exif_transpose(picture)))


def _as_rgb(picture: Image) -> Image:
    """Convert to 8-bit RGB; what shines through a transparent picture is white."""
    import numpy as np
    from PIL import Image

    if picture.mode.startswith("I;16"):
        # Pillow's own conversion would clip 16-bit grey to white
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _format_of(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((name for sign, name in _SIGNATURES if head.startswith(sign)), None)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Make a sort key in which runs of digits count as numbers."""
    parts = re.findall(r"\d+|\D+", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
