"""One patch grid as one safetensors file that notices when it was damaged.

The tensors are the features and the frames' times; the metadata holds the clip's facts as
JSON and a checksum over everything. Knows nothing of where such files live or for how long.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pplava_core.errors import PplavaError
from pplava_core.types import ClipSource, PatchGrid

if TYPE_CHECKING:
    from torch import Tensor


class DamagedGridError(PplavaError):
    """A file is not the grid that was written under this label."""


def write_grid(path: Path, grid: PatchGrid, *, label: str) -> None:
    """Write a grid to a new file.

    Args:
        path: written in place; see `pplava_core.atomic` for how not to leave half a file.
        grid: on any device, in any dtype; the dtype is kept.
        label: what `read_grid` must be told to read it back, such as the entry's key.

    Raises:
        OSError: the disk does not take it.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {
        "features": grid.features.detach().cpu().contiguous(),
        "seconds": torch.as_tensor(grid.seconds, dtype=torch.float64).contiguous(),
    }
    source = json.dumps(dataclasses.asdict(grid.source))
    checksum = _checksum(label, source, tensors)
    try:
        save_file(tensors, path, metadata={"source": source, "checksum": checksum})
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error


def read_grid(path: Path, *, label: str) -> PatchGrid:
    """Read a grid back, on the CPU, exactly as it was written.

    Raises:
        DamagedGridError: the file was cut, altered, or written under another label.
        OSError: the file is missing or cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in ("features", "seconds")}
        source = metadata["source"]
        if metadata["checksum"] != _checksum(label, source, tensors):
            raise DamagedGridError(f"{path} does not match its checksum: delete it")
        return PatchGrid(
            features=tensors["features"],
            seconds=tensors["seconds"].numpy(),
            source=_source_from_json(source),
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DamagedGridError(f"{path} is not a patch grid ({error}): delete it") from error


def _checksum(label: str, source: str, tensors: dict[str, Tensor]) -> str:
    import torch

    digest = hashlib.sha256(f"{label}\n{source}\n".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _source_from_json(text: str) -> ClipSource:
    facts: dict[str, Any] = json.loads(text)
    return ClipSource(**{name: _without_lists(value) for name, value in facts.items()})


def _without_lists(value: Any) -> Any:
    return tuple(map(_without_lists, value)) if isinstance(value, list) else value
