"""Names that strangers chose: of files on a hub, and of shards in a model's index.

Such a name may only ever lead to a file inside its own folder. Knows nothing of what is in
the files; who opens one asks here first.
"""

from __future__ import annotations

import json
from pathlib import Path

from pplava_core.errors import ModelError

INDEX_NAMES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin", "model*.bin", "non_lora_trainable*.bin")
"""Weight files, best first: released folders name the last two kinds as well."""

_WEIGHT_SUFFIXES = (".safetensors", ".bin")
_LONGEST_PART_BYTES = 255


def check_file_name(name: object, *, of: str) -> str:
    """Return a relative file name with `/` between its parts, if it can lead nowhere else.

    The rules of every system apply on all of them: a folder that is filled here may be used
    elsewhere.

    Args:
        name: what a hub or an index calls a file.
        of: who says so, for the message.

    Raises:
        ModelError: it is no text, empty, absolute, holds `..`, a backslash, a colon or a
            control character, or is too long.
    """
    if not isinstance(name, str) or not name:
        raise ModelError(f"{of} names a file {name!r}, which is no file name: do not use it")
    parts = name.split("/")
    odd = any(not character.isprintable() or character in "\\:" for character in name)
    if odd or any(_is_no_part(part) for part in parts):
        raise ModelError(f"{of} names a file {name!r}, which may lie outside its folder: refused")
    return name


def path_inside(folder: Path, name: str, *, of: str) -> Path:
    """Return the path of a file in a folder, if links do not carry it out of there.

    Raises:
        ModelError: the name is unsafe, or a symbolic link leads outside the folder.
    """
    path = folder / check_file_name(name, of=of)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{path} is a link to outside its folder: copy the file there instead")
    return path


def check_index(folder: Path) -> list[str]:
    """Return the names of a folder's weight files, each of which is there and lies inside.

    An index says which they are; without one they are the folder's own safetensors, or its
    `.bin` files if it has no safetensors.

    Raises:
        ModelError: the index is damaged, names a file outside the folder, one that is no
            weight file or one that is missing; or the folder holds no weights.
    """
    for index_name in INDEX_NAMES:
        if (folder / index_name).exists():
            names = _shards(path_inside(folder, index_name, of=str(folder)))
            break
    else:
        names = _weight_files(folder)
    for name in names:
        if not path_inside(folder, name, of=str(folder)).is_file():
            raise ModelError(f"{folder} lacks {name}: its files are incomplete, fetch it again")
    return names


def _is_no_part(part: str) -> bool:
    return part in ("", ".", "..") or len(part.encode()) > _LONGEST_PART_BYTES


def _shards(index: Path) -> list[str]:
    """Read which files an index names, in alphabetical order."""
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{index} is not an index of weights: {reason}; fetch it again") from error
    names = sorted(check_file_name(name, of=str(index)) for name in shards)
    for name in names:
        if not name.endswith(_WEIGHT_SUFFIXES):
            raise ModelError(f"{index} names {name!r}, which is no weight file: refused")
    if not names:
        raise ModelError(f"{index} names no weight files; fetch it again")
    return names


def _weight_files(folder: Path) -> list[str]:
    for pattern in (WEIGHT_PATTERNS[:1], WEIGHT_PATTERNS[1:]):
        names = {path.name for single in pattern for path in folder.glob(single)}
        if names:
            return sorted(names)
    raise ModelError(f"{folder} holds no weights (*.safetensors): is this a model's folder?")
