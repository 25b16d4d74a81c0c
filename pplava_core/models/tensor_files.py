"""Tensors of a folder in transformers' layout, one file or many, read by name.

Safetensors, or pickles that are restricted to weights. Never reads a file outside the
folder. Knows no models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pplava_core.errors import ModelError
from pplava_core.models.store.safe_paths import check_index

if TYPE_CHECKING:
    from torch import Tensor

_PATTERNS = ("model*.safetensors", "non_lora_trainable*.safetensors", "model*.bin")
_PICKLES = ("pytorch_model*.bin", "model*.bin", "non_lora_trainable*.bin")


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a folder's weights, safetensors before pickles.

    Raises:
        ModelError: there are none, or an index names one outside the folder.
    """
    check_index(folder)
    for patterns in (_PATTERNS[:2], _PICKLES):
        found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
        if found:
            return found
    raise ModelError(f"{folder} has no weights (model*.safetensors); the model is incomplete")


def tensor_names(folder: Path) -> list[str]:
    """Return the names of a folder's tensors without reading them (pickles are read)."""
    return [name for path in weight_files(folder) for name in _names(path)]


def read_tensors(folder: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """Read the tensors whose names are wanted.

    Raises:
        ModelError: a file is damaged.
    """
    found: dict[str, Tensor] = {}
    for path in weight_files(folder):
        found |= dict(_read(path, wanted))
    return found


def _names(path: Path) -> list[str]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                return list(file.keys())
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is damaged: {error}; fetch the model again") from error
    return [name for name, _ in _read(path, lambda name: True)]


def _read(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Tensor]]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118: not a dictionary
                    if wanted(name):
                        yield name, file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is damaged: {error}; fetch the model again") from error
        return
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # pickle, zip and torch each have classes of their own
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path} cannot be read as weights alone: {reason}") from error
    yield from ((name, tensor) for name, tensor in state.items() if wanted(name))
