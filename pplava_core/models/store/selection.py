"""Which of a repository's files are fetched: weights, settings and tokenizers, never code.

Pure: names in, names out.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from pplava_core.errors import ModelError
from pplava_core.models.store.hub import HubFile
from pplava_core.models.store.safe_paths import WEIGHT_PATTERNS, check_file_name
from pplava_core.models.store.source import SOURCE_NAME, HubSource

_SETTINGS = ("*.json", "*.model", "*.txt", "*.jinja")
_SMALL_SETTINGS = (
    "config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "*.model",
)
"""What a dual encoder needs beside its weights."""


def choose_model_files(files: Sequence[HubFile], source: HubSource) -> dict[str, HubFile]:
    """Choose a model's files, from the source's folder and not from folders inside it.

    Returns:
        By the name that each gets on this machine.

    Raises:
        ModelError: a name may lead outside, or there is no model.
    """
    here = _in_folder(files, source)
    chosen = {name: file for name, file in here.items() if _matches(name, _SETTINGS)}
    chosen.pop(SOURCE_NAME, None)
    if "config.json" not in chosen:
        raise ModelError(f"{source} has no config.json: it is no model in transformers' format")
    return chosen | _weights(here, source)


def choose_aligner_files(
    files: Sequence[HubFile], source: HubSource, *, weights: bool
) -> dict[str, HubFile]:
    """Choose a dual encoder's files, as `choose_model_files` does.

    Raises:
        ModelError: a name may lead outside, or weights are wanted and there are none.
    """
    here = _in_folder(files, source)
    chosen = {name: file for name, file in here.items() if _matches(name, _SMALL_SETTINGS)}
    return chosen | _weights(here, source) if weights else chosen


def _in_folder(files: Sequence[HubFile], source: HubSource) -> dict[str, HubFile]:
    prefix = f"{source.subfolder}/" if source.subfolder else ""
    checked = {check_file_name(file.name, of=str(source)): file for file in files}
    here = {
        name.removeprefix(prefix): file
        for name, file in checked.items()
        if name.startswith(prefix) and "/" not in name.removeprefix(prefix)
    }
    if not here:
        raise ModelError(f"{source.repo} has no files in {prefix or 'it'!s}; check the subfolder")
    return here


def _weights(here: dict[str, HubFile], source: HubSource) -> dict[str, HubFile]:
    """Choose the safetensors; the restricted pickles only where there are none."""
    safetensors, *pickles = WEIGHT_PATTERNS
    for patterns in ((safetensors,), tuple(pickles)):
        chosen = {name: file for name, file in here.items() if _matches(name, patterns)}
        if chosen:
            return chosen
    raise ModelError(f"{source} has no weights in safetensors or pytorch_model*.bin")


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
