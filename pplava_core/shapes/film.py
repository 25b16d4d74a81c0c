"""Scenes become films as a model meets them: filmed at some size, encoded, sampled, squashed.

Knows codecs; knows no questions. `film_for_training` goes the way of a real file, on a
fraction of the frames: filmed larger than the model's pictures, perhaps through an
encoder, then resized.
"""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np

from pplava_core.shapes.render import patch_coverage, render
from pplava_core.shapes.scene import Scene


def encode_mp4(
    frames: np.ndarray,
    target: Path | io.BytesIO,
    *,
    fps: float,
    crf: int = 23,
    preset: str = "fast",
) -> None:
    """Write frames as H.264 in an mp4 container.

    Args:
        frames: ``(T, H, W, 3)`` uint8; height and width must be even.
        target: a path or a buffer.
        fps: frames per second.
        crf: x264's quality: 18 is clean, 35 is poor.
        preset: x264's effort.
    """
    import av

    output = str(target) if isinstance(target, Path) else target
    with av.open(output, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # One thread: the bytes of a file must not depend on how many cores wrote it. No
        # macroblock tree: on small pictures x264's is not the same from one run to the next.
        stream.options = {"crf": str(crf), "preset": preset, "threads": "1", "mbtree": "0"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def through_codec(frames: np.ndarray, *, crf: int) -> np.ndarray:
    """Return frames after a real encoder and decoder, same shape."""
    import av

    buffer = io.BytesIO()
    encode_mp4(frames, buffer, fps=4.0, crf=crf, preset="ultrafast")
    buffer.seek(0)
    with av.open(buffer, "r") as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(decoded)


def film_for_training(
    scene: Scene,
    moments: list[float],
    rng: np.random.Generator,
    *,
    size: int,
    grid: tuple[int, int],
    codec_share: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Film a scene the way a file would show it to a model.

    Args:
        scene: what to film.
        moments: fractions of the film.
        rng: decides the size filmed at and the damage done.
        size: side of the model's square pictures.
        grid: rows and columns of patches for the masks.
        codec_share: part of the films that go through an encoder.

    Returns:
        Frames ``(T, size, size, 3)`` uint8 and coverage ``(things, T, H', W')``.
    """
    scale = float(rng.choice([1.0, 1.0, 1.35, 1.9]))
    height = width = 2 * round(size * scale / 2)
    if scale > 1.0:
        # A real file has its own aspect ratio, so that its blocks and blur are squashed too.
        width = 2 * round(height * min(scene.aspect, 1.4) / 2)
    frames, owners = render(scene, moments, height=height, width=width)
    if rng.random() < codec_share:
        frames = through_codec(frames, crf=int(rng.integers(16, 34)))
    if frames.shape[1:3] != (size, size):
        from PIL import Image

        squashed = [
            np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC))
            for frame in frames
        ]
        frames = np.stack(squashed)
    return frames, patch_coverage(owners, len(scene.things), grid)
