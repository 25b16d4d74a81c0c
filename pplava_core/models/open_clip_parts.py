"""The one place where open_clip is reached, and only the part of it that is needed.

``import open_clip`` runs a package file that loads timm, every pre-processing transform,
the hub code and some hundred model files, about a sixth on top of torch and transformers.
The text tower needs none of these, so `load_text_transformer` imports the submodule
``open_clip.transformer`` with the package file left unread. The code that runs is
open_clip's own; nothing is copied or changed. Knows nothing of models or weights.
"""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from pplava_core.errors import ModelError

_MERGE_COUNT = 49152 - 256 - 2
"Of the file's lines, the ones that CLIP's vocabulary is made of."


def load_text_transformer() -> ModuleType:
    """Return open_clip's module ``open_clip.transformer``.

    For the time of the import an empty package of the same name and path stands in for
    ``open_clip``; it is taken away afterwards, so that a later ``import open_clip`` anywhere
    in the process reads the real package and shares these classes.

    Raises:
        ModelError: open_clip (or torchvision, which it needs) is not installed or does not load.
    """
    name = "open_clip.transformer"
    if name in sys.modules:
        return sys.modules[name]
    standing_in = "open_clip" not in sys.modules
    try:
        if standing_in:
            spec = importlib.util.find_spec("open_clip")
            if spec is None:
                raise ImportError("open_clip is not installed")
            sys.modules["open_clip"] = importlib.util.module_from_spec(spec)
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        raise ModelError(
            f"open_clip's text transformer does not load ({str(error).splitlines()[0]}); "
            "reinstall open_clip_torch and a torchvision that fits your torch"
        ) from error
    finally:
        if standing_in:
            sys.modules.pop("open_clip", None)


def read_merges() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return CLIP's vocabulary and merges, which open_clip's package carries as a file.

    The vocabulary is spelled out by the merges: all bytes, all bytes that end a word, one
    token a merge, and the two control tokens.

    Raises:
        ModelError: open_clip is not installed, or no longer carries the file.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    spec = importlib.util.find_spec("open_clip")
    folder = Path((spec.submodule_search_locations or [""])[0]) if spec else Path()
    try:
        with gzip.open(folder / "bpe_simple_vocab_16e6.txt.gz", "rt", encoding="utf-8") as file:
            lines = file.read().split("\n")[1 : _MERGE_COUNT + 1]
    except OSError as error:
        raise ModelError(f"CLIP's vocabulary is not in open_clip: {error}; reinstall it") from error
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    letters = _in_byte_order(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: number for number, token in enumerate(tokens)}, merges


def _in_byte_order(alphabet: list[str]) -> list[str]:
    """Order the letters that stand for bytes as CLIP does: printable ones first."""
    own = [letter for letter in alphabet if ord(letter) < 256]
    return [*sorted(own), *sorted(letter for letter in alphabet if ord(letter) >= 256)]
