"""From a model's name to a loaded model, and from paths to an opened clip.

The one seam between the command line and the heavy half of the package: every command
that needs a model gets it from here, and a test may put small stand-ins in place of
`find_model`, `model_config`, `load_model` and `open_session`. All of torch is imported
inside these functions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pplava_cli.console import Output, printable
from pplava_cli.libraries import import_libraries
from pplava_cli.options import ModelOptions
from pplava_core.errors import UsageError
from pplava_core.types import Sampling

if TYPE_CHECKING:
    from pplava_cli.wishes import Wishes
    from pplava_core.models.catalog import ModelEntry
    from pplava_core.models.config import VideoLMConfig
    from pplava_core.models.fitting import Workload
    from pplava_core.models.placement import Placement
    from pplava_core.models.videolm import VideoLM
    from pplava_core.session import Session

_SMALL_PARAMETER_COUNT = 50_000_000
"Below this, threads wait for each other longer than they compute, most of all on a busy machine."


def open_model(options: ModelOptions, out: Output, wishes: Wishes | None = None) -> VideoLM:
    """Find and load the model that was asked for.

    Args:
        options: which model, and where it runs.
        out: the voice of the run.
        wishes: frames, pooling and length, for the estimate of memory; None is the model's own.

    Raises:
        ModelError: there is no such model, or its folder is damaged.
        UsageError: the device does not exist here, or the model cannot fit on it.
    """
    entry = find_model(options.model)
    import_libraries()
    placement = _placement(entry, options, wishes, out)
    with out.progress(f"Loading {printable(entry.name)}"):
        return load_model(entry, options, placement)


def tell_notice(model: VideoLM, out: Output) -> None:
    """Pass on, once a run, what a model's makers must say.

    To be called when there is something to ask about, so that a broken clip gets one line.
    """
    if model.config.notice:
        out.note_once(model.config.notice)


def _placement(
    entry: ModelEntry, options: ModelOptions, wishes: Wishes | None, out: Output
) -> Placement:
    """Choose where a model goes and in which numbers; of a large one, say what that takes.

    Raises:
        UsageError: it cannot fit.
    """
    import torch

    from pplava_core.models.checkpoint import base_of
    from pplava_core.models.placement import Placement

    device = _device(options.device)
    dtype = None if options.dtype is None else getattr(torch, options.dtype.value)
    quantize = None if options.quantize is None else options.quantize.value
    folder = base_of(entry.folder)
    if folder is None:
        return Placement(device=device, dtype=dtype, quantize=quantize)
    from pplava_core.models import fitting

    config, sizes = model_config(options.model), fitting.Sizes(folder)
    work = _workload(config, wishes)
    placement = fitting.choose_placement(
        sizes, work, device=device, dtype=dtype, quantize=quantize, is_auto=options.device == "auto"
    )
    estimate, free = fitting.check_fits(sizes, config.name, work, placement)
    out.note(f"{config.name}: {placement}; needs {estimate} of {free / 1e9:.1f} GB free")
    return placement


def _workload(config: VideoLMConfig, wishes: Wishes | None) -> Workload:
    from pplava_core.models.fitting import Workload

    if wishes is None:
        return Workload(num_frames=config.num_frames, window=config.window)
    pooling = wishes.pooling_wishes
    passes_all = pooling.weighting in ("none", "native")
    return Workload(
        num_frames=wishes.sampling.num_frames or config.num_frames,
        window=None if passes_all else pooling.window or config.window,
        max_new_tokens=wishes.generation.max_new_tokens,
    )


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
    from pplava_core.models.checkpoint import describe_model

    return describe_model(find_model(name).folder)


def load_model(entry: ModelEntry, options: ModelOptions, placement: Placement) -> VideoLM:
    """Load a model's weights to their place; a small one on a CPU gets one thread."""
    import torch

    from pplava_core.models import checkpoint

    model = checkpoint.load_model(entry.folder, placement)
    if "OMP_NUM_THREADS" not in os.environ:
        parameter_count = sum(parameter.numel() for parameter in model.parameters())
        if parameter_count < _SMALL_PARAMETER_COUNT:
            torch.set_num_threads(1)
    return model


def open_session(
    paths: Sequence[Path],
    model: VideoLM,
    *,
    sampling: Sampling,
    reader: str,
    out: Output,
    native: bool = False,
) -> Session:
    """Read and encode a clip, or fetch its patches from the cache.

    Args:
        paths: one film or folder of frames, or pictures.
        model: who will be asked.
        sampling: which frames.
        reader: which library decodes.
        out: the voice of the run.
        native: whether it will be asked with the pooling ``native``.

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
            native=native,
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
