"""What a command line wishes of reading and answering, in the core's words.

Turns option bundles into checked wishes, without torch, so that a mistake costs no
waiting. Knows no model and no clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from pplava_cli.options import ClipOptions, GenerationOptions, PoolingOptions, Weighting
from pplava_core.errors import UsageError
from pplava_core.models.language.generation_settings import Generation
from pplava_core.types import Sampling
from pplava_core.window import Window

if TYPE_CHECKING:
    from pplava_core.session import PoolingChoice


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
    def is_native(self) -> bool:
        """Whether the base model's own path is to be taken."""
        return self.weighting == Weighting.native.value

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
    generation: Generation
    "How answers are written."

    @property
    def pooling(self) -> PoolingChoice:
        """The choice of window and weighting, as a session takes it."""
        return self.pooling_wishes.choice


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
        generation=generation_from(context, generation),
    )


def pooling_from(context: typer.Context, options: PoolingOptions) -> PoolingWishes:
    """Check the pooling options.

    Raises:
        UsageError: the kernel or stride is malformed, or options contradict each other.
    """
    kernel, tokens = _nearer(context, kernel=options.kernel, tokens=options.tokens)
    if options.stride is not None and options.kernel is None:
        raise UsageError("--stride needs --kernel: say which window should take the steps")
    weighting = options.weighting
    if weighting in (Weighting.none, Weighting.native):  # neither has a window to choose
        kernel, weighting = _nearer(context, kernel=kernel, weighting=weighting)
        tokens, weighting = _nearer(context, tokens=tokens, weighting=weighting)
    return PoolingWishes(
        window=None if kernel is None else Window.parse(kernel, options.stride),
        max_tokens=tokens,
        weighting=None if weighting is None else weighting.value,
    )


def generation_from(context: typer.Context, options: GenerationOptions) -> Generation:
    """Check the options of writing.

    Raises:
        UsageError: options contradict each other or are out of range.
    """
    beams, temperature = _nearer(
        context,
        beams=None if options.beams == 1 else options.beams,
        temperature=None if options.temperature == 0.0 else options.temperature,
    )
    typed = _distance(context, "top_p") == 0
    if typed and options.top_p < 1.0 and temperature is None:
        raise UsageError("--top-p needs a --temperature above 0: without one nothing is drawn")
    return Generation(
        max_new_tokens=options.max_new_tokens,
        temperature=temperature or 0.0,
        top_p=options.top_p,
        seed=options.seed,
        beams=beams or 1,
        repetition_penalty=options.repetition_penalty,
        stop=tuple(options.stop_strings or ()),
    )


def sampling_from(context: typer.Context, clip: ClipOptions) -> Sampling:
    """Turn the clip options into a sampling.

    Raises:
        UsageError: a number of frames and a rate were asked for in the same place, a time
            is malformed, or the range is empty for any film.
    """
    from pplava_core.media import check_sampling, parse_seconds

    num_frames, fps = _nearer(context, num_frames=clip.num_frames, fps=clip.fps)
    sampling = Sampling(
        num_frames=num_frames,
        fps=fps,
        start_seconds=None if clip.start is None else parse_seconds(clip.start),
        stop_seconds=None if clip.stop is None else parse_seconds(clip.stop),
    )
    check_sampling(sampling)
    return sampling


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
