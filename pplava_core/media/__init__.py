"""Reading videos and pictures: open, sample, decode, resize.

Light to import: NumPy, PyAV and Pillow are loaded when the first file is read.
"""

from pplava_core.media.clip import check_header, cut_again, iterate_frames, kind_of, load_clip
from pplava_core.media.pictures import numbered_frames
from pplava_core.media.preprocess import resize_picture
from pplava_core.media.sample import (
    bounded_indices,
    check_sampling,
    choose_positions,
    parse_seconds,
    sample_indices,
)

__all__ = [
    "bounded_indices",
    "check_header",
    "check_sampling",
    "choose_positions",
    "cut_again",
    "iterate_frames",
    "kind_of",
    "load_clip",
    "numbered_frames",
    "parse_seconds",
    "resize_picture",
    "sample_indices",
]
