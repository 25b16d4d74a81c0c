"""From options to a loaded model and an opened clip.

The one seam between the command line and the heavy half of the package: every command
that needs a model gets it from here, and a test may put small stand-ins in place of
`find_model`, `model_config`, `load_model` and `open_session`. All of torch is imported
inside these functions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pplava_cli.console import Output, printable
from pplava_cli.options import (
    ClipOptions,
    GenerationOptions,
    ModelOptions,
    PoolingOptions,
)
from pplava_core.errors import UsageError
from pplava_core.types import Sampling
from pplava_core.window import Window

if TYPE_CHECKING:
    from pplava_core.models.catalog import ModelEntry
    from pplava_core.models.config import VideoLMConfig
    from pplava_core.models.videolm import VideoLM
    from pplava_core.session import Generation, PoolingChoice, Session


@dataclass(frozen=True, kw_only=True)
class PoolingWishes:
    """What a command line says about pooling; what is None stays the model's."""

    window: Window | None
    "Which patches are merged."
    max_tokens: int | None
    "How many visual tokens there may be."
    weighting: str | None
    "How relevance weighs."

    @property
    def choice(self) -> PoolingChoice:
        """The same, as a session takes it."""
        from pplava_core.session import PoolingChoice

        return PoolingChoice(
            window=self.window, max_tokens=self.max_tokens, weighting=self.weighting
        )


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """All that a command line says about reading and answering, checked without torch."""

    sampling: Sampling
    "Which frames."
    reader: str
    "Which library decodes."
    pooling_wishes: PoolingWishes
    "Which window and weighting."
    generation_options: GenerationOptions
    "How answers are written."

    @property
    def pooling(self) -> PoolingChoice:
        """The choice of window and weighting, as a session takes it."""
        return self.pooling_wishes.choice

    @property
    def generation(self) -> Generation:
        """The way of writing answers, as a session takes it."""
        from pplava_core.session import Generation

        options = self.generation_options
        return Generation(
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            seed=options.seed,
        )


def wishes_from(
    context: typer.Context,
    clip: ClipOptions,
    pooling: PoolingOptions,
    generation: GenerationOptions,
) -> Wishes:
    """Check and collect everything that can be checked before a model is loaded.

    Raises:
        UsageError: options contradict each other or are malformed.
    """
    return Wishes(
        sampling=sampling_from(context, clip),
        reader=clip.reader.value,
        pooling_wishes=pooling_from(context, pooling),
        generation_options=generation,
    )


def pooling_from(context: typer.Context, options: PoolingOptions) -> PoolingWishes:
    """Check the pooling options.

    Raises:
        UsageError: the kernel or stride is malformed, or options contradict each other.
    """
    kernel, tokens = _nearer(context, kernel=options.kernel, tokens=options.tokens)
    if options.stride is not None and options.kernel is None:
        raise UsageError("--stride needs --kernel: say which window should take the steps")
    return PoolingWishes(
        window=None if kernel is None else Window.parse(kernel, options.stride),
        max_tokens=tokens,
        weighting=None if options.weighting is None else options.weighting.value,
    )


def sampling_from(context: typer.Context, clip: ClipOptions) -> Sampling:
    """Turn the clip options into a sampling.

    Raises:
        UsageError: a number of frames and a rate were asked for in the same place, or a
            time is malformed.
    """
    from pplava_core.media import parse_seconds

    num_frames, fps = _nearer(context, num_frames=clip.num_frames, fps=clip.fps)
    return Sampling(
        num_frames=num_frames,
        fps=fps,
        start_seconds=None if clip.start is None else parse_seconds(clip.start),
        stop_seconds=None if clip.stop is None else parse_seconds(clip.stop),
    )


def _nearer(context: typer.Context, **values: Any) -> tuple[Any, ...]:
    """Of two options that exclude each other, keep the one that was asked for more nearly.

    A flag is nearer than the environment, and that nearer than the settings file, so that
    ``--fps 1`` works for someone whose file says ``frames = 32``.

    Raises:
        UsageError: both were asked for in the same place.
    """
    if None in values.values():
        return tuple(values.values())
    distances = [_distance(context, name) for name in values]
    if distances[0] == distances[1]:
        flags = " and ".join(_flag_of(context, name) for name in values)
        raise UsageError(f"{flags} exclude each other: give one of them")
    return tuple(
        value if distance == min(distances) else None
        for value, distance in zip(values.values(), distances, strict=True)
    )


def _distance(context: typer.Context, parameter: str) -> int:
    source = context.get_parameter_source(parameter)
    name = source.name if source is not None else "DEFAULT"
    return ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP", "DEFAULT").index(name)


def _flag_of(context: typer.Context, parameter: str) -> str:
    return next(known.opts[0] for known in context.command.params if known.name == parameter)


def open_model(options: ModelOptions, out: Output) -> VideoLM:
    """Find and load the model that was asked for, and pass on what its makers must say.

    Raises:
        ModelError: there is no such model, or its folder is damaged.
        UsageError: the device does not exist here.
    """
    entry = find_model(options.model)
    with out.progress(f"Loading {printable(entry.name)}"):
        model = load_model(entry, options)
    if model.config.notice:
        out.note(model.config.notice)
    return model


def find_model(name: str) -> ModelEntry:
    """Look a model up by its name or folder, without loading it.

    Raises:
        ModelError: there is no such model.
    """
    from pplava_core.models import catalog

    return catalog.find_model(name)


def model_config(name: str) -> VideoLMConfig:
    """Read a model's configuration without its weights.

    Raises:
        ModelError: there is no such model, or its configuration is damaged.
    """
    from pplava_core.models.config import read_config

    return read_config(find_model(name).folder)


def load_model(entry: ModelEntry, options: ModelOptions) -> VideoLM:
    """Load a model's weights onto the device that was asked for."""
    _hush_libraries()
    import torch

    from pplava_core.models import checkpoint

    dtype = None if options.dtype is None else getattr(torch, options.dtype.value)
    return checkpoint.load_model(entry.folder, device=_device(options.device), dtype=dtype)


def open_session(
    paths: Sequence[Path], model: VideoLM, *, sampling: Sampling, reader: str, out: Output
) -> Session:
    """Read and encode a clip, or fetch its patches from the cache.

    Raises:
        InputError: the clip cannot be read.
        UsageError: the range or the number of frames does not fit the clip.
    """
    from pplava_core.feature_cache import FeatureCache
    from pplava_core.paths import features_directory
    from pplava_core.session import Session

    with out.progress(f"Reading {printable(str(paths[0]))}") as progress:
        return Session.open(
            paths,
            model,
            sampling=sampling,
            reader=reader,
            cache=FeatureCache(features_directory()),
            progress=progress,
        )


def _device(name: str) -> str:
    """Choose the device for ``auto``, or check that the named one is here."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {name} cannot be used: {reason}; try auto or cpu") from None
    return name


def _hush_libraries() -> None:
    """Keep libraries from talking on stderr, and their bars from mixing with ours."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
