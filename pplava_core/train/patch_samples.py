"""Patches of a set of pairs, seen once by a base model's frozen tower and kept on disk.

A clip leaves some of its patches, drawn by the recipe's seed: 128 of InternVL3's are a megabyte.
They are kept without mean and length, which the patch head's layernorm forgets anyway, so that
half-precision numbers always have room for them. Knows no texts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from pplava_core.atomic import replacing
from pplava_core.errors import RecipeError
from pplava_core.models.checkpoint import load_model, revision_of
from pplava_core.models.placement import Placement
from pplava_core.models.videolm import VideoLM
from pplava_core.train.loader import forked_loader
from pplava_core.train.pairs import PairSource
from pplava_core.train.recipe import Recipe
from pplava_core.types import Clip

Progress = Callable[[str, int, int], None]


def patch_samples(
    recipe: Recipe, pairs: PairSource, base: Path, progress: Progress | None = None
) -> np.ndarray[Any, Any]:
    """Return the patches of every pair's clip, ``(N, P, D)`` float16, read in place.

    The base model is loaded only where they are not on disk yet, and forgotten again.

    Args:
        recipe: its run's folder keeps them; seed, frames and patches of a clip.
        pairs: whose clips.
        base: folder of the base model.
        progress: called with what is done, how many and of how many.

    Raises:
        RecipeError: a clip has fewer patches than are asked for.
        InputError: a clip cannot be read.
    """
    folder = Path(recipe.output) / "features"
    path = folder / f"pairs-{len(pairs.pairs)}-{_key(recipe, pairs, base)}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, recipe, pairs, base, progress)
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]


class _Clips(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    """Clips of all pairs, in order."""

    def __init__(self, pairs: PairSource, num_frames: int) -> None:
        self.pairs, self.num_frames = pairs, num_frames

    def __iter__(self) -> Iterator[Clip]:
        count = len(self.pairs.pairs)
        return (self.pairs.clip(number, self.num_frames) for number in range(count))


def _write(
    path: Path, recipe: Recipe, pairs: PairSource, base: Path, progress: Progress | None
) -> None:
    model = load_model(base, _placement())
    count, kept = len(pairs.pairs), recipe.data.patches_per_clip
    array: Any = None
    with replacing(path) as temporary:
        for number, clip in enumerate(forked_loader(_Clips(pairs, recipe.data.frames_per_clip))):
            patches = _drawn(model, clip, kept, [recipe.seed, number])
            if array is None:
                shape = (count, kept, patches.shape[-1])
                array = np.lib.format.open_memmap(temporary, "w+", dtype=np.float16, shape=shape)
            array[number] = patches
            if progress:
                progress("pairs", number + 1, count)
        array.flush()


def _drawn(model: VideoLM, clip: Clip, count: int, seed: list[int]) -> np.ndarray[Any, Any]:
    """Return ``(P, D)`` of a clip's patches, each of mean 0 and deviation 1."""
    patches = model.encode(clip).features.flatten(0, 2)
    if count > len(patches):
        raise RecipeError(
            f"data.patches_per_clip is {count}, but {model.name} has {len(patches)} patches of "
            f"{clip.source.paths[0]}; ask for fewer"
        )
    chosen = np.sort(np.random.default_rng(seed).choice(len(patches), count, replace=False))
    drawn = patches[torch.from_numpy(chosen).to(patches.device)].float()
    plain: np.ndarray[Any, Any] = functional.layer_norm(drawn, drawn.shape[-1:]).cpu().numpy()
    return plain


def _placement() -> Placement:
    """Choose what a frozen tower is fast on."""
    if torch.cuda.is_available():
        return Placement(device="cuda", dtype=torch.bfloat16)
    return Placement()


def _key(recipe: Recipe, pairs: PairSource, base: Path) -> str:
    """Name all that the patches depend on."""
    data = recipe.data
    settings: dict[str, Any] = {
        "model": revision_of(base),
        "seed": recipe.seed,
        "frames": data.frames_per_clip,
        "patches": data.patches_per_clip,
        "files": [_identity(pairs.file(number)) for number in range(len(pairs.pairs))],
    }
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]


def _identity(path: Path) -> tuple[str, int, int]:
    try:
        facts = path.stat()
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}; correct its line in the pairs") from error
    return str(path), facts.st_size, facts.st_mtime_ns
