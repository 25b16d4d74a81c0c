"""Tensors of a folder in transformers' layout, one file or many, read by name.

Safetensors, or pickles that are restricted to weights. Never reads a file outside the
folder. Knows no models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pplava_core.errors import ModelError
from pplava_core.models.store.safe_paths import check_index, path_inside

if TYPE_CHECKING:
    from torch import Tensor

_SAFETENSORS = ("model*.safetensors", "non_lora_trainable*.safetensors")
_PICKLES = ("pytorch_model*.bin", "model*.bin")
_BESIDE = "non_lora_trainable*.bin"
"Holds tensors of its own, whatever the other files are."


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a folder's weights: all its safetensors, or else all its pickles.

    Raises:
        ModelError: there are none, or one lies outside the folder.
    """
    check_index(folder)
    for patterns in (_SAFETENSORS, _PICKLES):
        found = {path for pattern in patterns for path in folder.glob(pattern)}
        if found:
            names = sorted(path.name for path in found | set(folder.glob(_BESIDE)))
            return [path_inside(folder, name, of=str(folder)) for name in names]
    raise ModelError(f"{folder} has no weights (model*.safetensors); the model is incomplete")


def tensor_names(folder: Path) -> list[str]:
    """Return the names of a folder's tensors without reading them (pickles are read)."""
    return [name for path in weight_files(folder) for name in names_in(path)]


def read_tensors(folder: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """Read the tensors whose names are wanted.

    Raises:
        ModelError: a file is damaged.
    """
    found: dict[str, Tensor] = {}
    for path in weight_files(folder):
        found |= dict(tensors_in(path, wanted))
    return found


def tensor_sizes(folder: Path) -> dict[str, int]:
    """Return the number of values of each of a folder's tensors, by name.

    Raises:
        ModelError: a file is damaged.
    """
    sizes: dict[str, int] = {}
    for path in weight_files(folder):
        if path.suffix == ".safetensors":
            sizes |= _header_sizes(path)
        else:
            sizes |= {name: tensor.numel() for name, tensor in tensors_in(path, lambda name: True)}
    return sizes


def _header_sizes(path: Path) -> dict[str, int]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            return {name: math.prod(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is damaged: {error}; fetch the model again") from error


def names_in(path: Path) -> list[str]:
    """Return the names of one file's tensors.

    Raises:
        ModelError: it is damaged.
    """
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                return list(file.keys())
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is damaged: {error}; fetch the model again") from error
    return [name for name, _ in tensors_in(path, lambda name: True)]


def tensors_in(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Tensor]]:
    """Yield those of one file's tensors whose names are wanted.

    Raises:
        ModelError: it is damaged.
    """
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118
                    if wanted(name):
                        yield name, file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is damaged: {error}; fetch the model again") from error
        return
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # pickle, zip and torch each have classes of their own
        # torch's own words advise to read it unrestricted
        raise ModelError(
            f"{path} cannot be read as weights alone: it is damaged or holds code; "
            "fetch the model again, or take one in safetensors"
        ) from error
    if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())):
        raise ModelError(f"{path} holds no tensors by name; it is no file of weights")
    yield from ((name, tensor) for name, tensor in state.items() if wanted(name))
