"""A folder's weights where transformers looks for them, whatever their files are called.

transformers opens `model.safetensors`, `pytorch_model.bin`, or what an index beside them names.
The authors' code takes every file called `model*` or `non_lora_trainable*`. A folder that only the
latter would read gets an index for as long as it is being loaded. Knows names, no models.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pplava_core.models.layouts.tensor_files import names_in, tensors_in, weight_files
from pplava_core.models.store.safe_paths import INDEX_NAMES, check_index

_WHOLE = ({"model.safetensors"}, {"pytorch_model.bin"})
_SMALL = ("config.json", "generation_config.json")


@contextmanager
def indexed(folder: Path) -> Iterator[Path]:
    """Give a folder that transformers can load: the same, or one that points at its weights.

    Files that are pickles beside safetensors are rewritten as safetensors, since one index
    cannot name both.

    Raises:
        ModelError: a file of weights is missing, damaged or outside the folder.
    """
    files = weight_files(folder)
    if _is_found(folder, {path.name for path in files}):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="pplava-") as temporary:
        _point(files, Path(temporary))
        for name in _SMALL:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, Path(temporary) / name)
        yield Path(temporary)


def _is_found(folder: Path, names: set[str]) -> bool:
    """Tell whether transformers would open these files, and no others."""
    if any((folder / name).exists() for name in INDEX_NAMES):
        return set(check_index(folder)) == names
    return names in _WHOLE


def _point(files: list[Path], target: Path) -> None:
    """Write an index of files that lie elsewhere."""
    kinds = {path.suffix for path in files}
    if len(kinds) > 1:
        files = [_as_safetensors(path, target) for path in files]
    weight_map = {name: str(path.resolve()) for path in files for name in names_in(path)}
    index = INDEX_NAMES[files[0].suffix != ".safetensors"]
    (target / index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), "utf-8")


def _as_safetensors(path: Path, target: Path) -> Path:
    """Return a file of safetensors with a file's tensors, the same where it is one."""
    if path.suffix == ".safetensors":
        return path
    from safetensors.torch import save_file

    rewritten = target / f"{path.stem}.safetensors"
    tensors = {name: tensor.clone() for name, tensor in tensors_in(path, lambda name: True)}
    save_file(tensors, rewritten, metadata={"format": "pt"})
    return rewritten
