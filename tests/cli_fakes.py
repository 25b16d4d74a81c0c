"""Small stand-ins for a model and a session, so that the command line is tested alone.

They answer from what they were asked (``what?`` about ``a.mp4`` gives ``what? [a.mp4]``) and
need no weights. `install` puts them at the one seam, `pplava_cli.opening`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import torch
from PIL import Image

from pplava_cli import opening
from pplava_core.errors import InputError, ModelError
from pplava_core.evidence import find_moments, span_of
from pplava_core.types import (
    Answer,
    Clip,
    ClipSource,
    Moment,
    PatchGrid,
    PixelRule,
    Preparation,
    Relevance,
    Timings,
)
from pplava_core.window import Window

PIXELS = PixelRule(height=24, width=40)
NOTICE = "fake knows nothing; real models come later"


def write_video(path: Path, *, num_frames: int = 8, fps: int = 4) -> Path:
    """Write a film whose frames grow brighter."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(num_frames):
            pixels = np.full((48, 64, 3), 20 + 25 * index, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def write_picture(path: Path, *, shade: int = 90) -> Path:
    """Write a plain picture."""
    Image.new("RGB", (32, 24), (shade, 40, 40)).save(path)
    return path


class FakeStream:
    """An answer in pieces."""

    def __init__(self, answer: Answer) -> None:
        self._final = answer
        self._stopped = False
        self.answer: Answer | None = None
        self.warnings: tuple[str, ...] = answer.warnings

    def stop(self) -> None:
        self._stopped = True

    def __iter__(self) -> Iterator[str]:
        said = ""
        for piece in self._final.text.splitlines(keepends=True):
            for word in piece.split(" "):
                if self._stopped:
                    break
                word = word if not said or said.endswith("\n") else " " + word
                said += word
                yield word
                if word.strip() == "CTRL-C":
                    signal.raise_signal(signal.SIGINT)
        self.answer = replace(
            self._final, text=said, stopped="interrupted" if self._stopped else "end"
        )


@dataclass
class FakeModel:
    """What the command line reads of a model."""

    name: str = "fake"
    device: str = "cpu"
    dtype: str = "torch.float32"
    config: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(notice=NOTICE, num_frames=4, pixels=PIXELS)
    )
    revision: str = "0123abcd"


@dataclass
class FakeSession:
    """One clip of 4 × 2 × 3 patches; remembers how it was opened and asked."""

    model: FakeModel
    paths: tuple[Path, ...]
    sampling: object
    reader: str
    from_cache: bool = False
    warnings: tuple[str, ...] = ()
    native: bool = False
    asked: list[dict] = field(default_factory=list)

    @property
    def is_film(self) -> bool:
        return self.paths[0].suffix == ".mp4"

    @property
    def source(self) -> ClipSource:
        count = 4 if self.is_film else len(self.paths)
        return ClipSource(
            paths=tuple(str(path) for path in self.paths),
            kind="video" if self.is_film else "images",
            width=64,
            height=48,
            frame_count=8 if self.is_film else count,
            fps=4.0 if self.is_film else 0.0,
            duration_seconds=2.0 if self.is_film else 0.0,
            start_seconds=0.0,
            stop_seconds=2.0 if self.is_film else 0.0,
            reader=self.reader if self.is_film else "pillow",
            indices=tuple(range(0, 2 * count, 2)) if self.is_film else tuple(range(count)),
            warnings=self.warnings,
        )

    @property
    def grid(self) -> PatchGrid:
        count = len(self.source.indices)
        seconds = np.arange(count) * (0.5 if self.is_film else 1.0)
        return PatchGrid(features=np.zeros((count, 2, 3, 5)), seconds=seconds, source=self.source)

    @property
    def seconds(self) -> np.ndarray:
        return self.grid.seconds

    @property
    def preparation(self) -> Preparation:
        return Preparation(pixels=PIXELS)

    def clip(self) -> Clip:
        count = len(self.source.indices)
        frames = np.zeros((count, 48, 64, 3), np.uint8)
        return Clip(frames=frames, seconds=self.grid.seconds, source=self.source)

    def relevance(self, text) -> Relevance:
        weights = torch.full((len(self.source.indices), 2, 3), 1.0)
        weights[-1, 0, 0] = 5.0
        return Relevance(weights=weights / weights.sum(), seconds=self.grid.seconds, text=text)

    def evidence(self, relevance) -> tuple[Moment, ...]:
        return find_moments(relevance, frame_span_seconds=span_of(self.source))

    def window_for(self, choice) -> Window | None:
        return choice.window or Window((1, 2, 3))

    def warning_for(self, choice) -> str | None:
        return "doubtful" if choice.weighting == "max" else None

    def token_count(self, choice) -> int:
        return 4

    def stream(self, question, *, pooling, generation, history=()) -> FakeStream:
        self.asked.append(
            {
                "question": question,
                "pooling": pooling,
                "generation": generation,
                "history": tuple(history),
            }
        )
        names = " ".join(path.name for path in self.paths)
        moment = Moment(
            start_seconds=0.5,
            stop_seconds=1.5,
            share=0.75,
            peak_seconds=1.0,
            peak_box=(0.0, 0.5, 1 / 3, 1.0),
        )
        window = self.window_for(pooling)
        return FakeStream(
            Answer(
                text=f"{question} [{names}]",
                question=question,
                evidence=(moment,),
                patch_count=24,
                token_count=4,
                text_token_count=5,
                window=(window.kernel, window.step),
                weighting=pooling.weighting or "literal",
                timings=Timings(decode_seconds=0.25, encode_seconds=0.5, generate_seconds=0.125),
                warnings=("earlier turns were left out",) if len(history) > 1 else (),
            )
        )


@dataclass
class Fakes:
    """What the fakes saw, for a test to look at."""

    sessions: list[FakeSession] = field(default_factory=list)
    loads: list = field(default_factory=list)
    broken_names: set[str] = field(default_factory=set)
    "Files that turn out to be unreadable when opened."
    raises: Exception | None = None
    "What asking raises, if anything."


def install(monkeypatch) -> Fakes:
    """Put the stand-ins at the seam and return the record of what happens to them."""
    fakes = Fakes()

    def find_model(name):
        if name != "nano":
            raise ModelError(f"no model named {name}; `pplava models list` shows all")
        return SimpleNamespace(name="fake", folder=Path("/nowhere"))

    def load_model(entry, options, placement):
        fakes.loads.append(options)
        return FakeModel()

    def open_session(paths, model, *, sampling, reader, out, native=False):
        if paths[0].name in fakes.broken_names:
            raise InputError(f"{paths[0]}: the file is cut before its first frame; copy it again")
        if fakes.raises is not None:
            raise fakes.raises
        session = FakeSession(model, tuple(paths), sampling, reader, native=native)
        fakes.sessions.append(session)
        return session

    monkeypatch.setattr(opening, "find_model", find_model)
    config = SimpleNamespace(name="fake", pixels=PIXELS, num_frames=4, sampling=lambda asked: asked)
    monkeypatch.setattr(opening, "model_config", lambda name: config)
    monkeypatch.setattr(opening, "load_model", load_model)
    monkeypatch.setattr(opening, "open_session", open_session)
    return fakes
