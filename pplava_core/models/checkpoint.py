"""Model folders: `config.json`, `model.safetensors`, `tokenizer.json`. Read, checked, written.

Only safetensors are ever opened. A folder with a missing or an unknown tensor is an
error that names it, never a silent random initialisation.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pplava_core.errors import ModelError
from pplava_core.models.config import VideoLMConfig, read_config
from pplava_core.models.tokenizer import FILE_NAME as TOKENIZER_NAME
from pplava_core.models.tokenizer import load_tokenizer

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from torch import Tensor

    from pplava_core.models.videolm import VideoLM

CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"


def load_model(folder: Path, *, device: str = "cpu", dtype: torch.dtype | None = None) -> VideoLM:
    """Load a model folder, ready to answer.

    Args:
        folder: a folder that `save_model` wrote.
        device: where to put it, as torch names devices.
        dtype: number format; None is float32.

    Raises:
        ModelError: a part is missing, damaged or does not fit the others.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_config(folder)
    tokenizer = load_tokenizer(folder)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise ModelError(f"{folder} has no {WEIGHTS_NAME}; the model folder is incomplete")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is damaged: {error}; copy or fetch the model again") from error
    model = build_model(config, tokenizer, revision=revision_of(folder))
    _fill(model, weights, path, dtype or torch.float32)
    _check_vocabulary(model, folder)
    return model.to(device).eval()


def build_model(config: VideoLMConfig, tokenizer: Tokenizer, *, revision: str = "") -> VideoLM:
    """Build an untrained model.

    Raises:
        ModelError: the config asks for something that cannot be built.
    """
    from pplava_core.models.videolm import WEIGHTINGS, VideoLM

    if config.weighting not in WEIGHTINGS:
        known = ", ".join(WEIGHTINGS)
        raise ModelError(f"config.json: weighting {config.weighting!r} is none of {known}")
    try:
        return VideoLM(config, tokenizer, revision)
    except ModelError:
        raise
    except Exception as error:  # each library has a class of its own for a setting it dislikes
        reason = " ".join(str(error).split())
        raise ModelError(f"config.json of {config.name} cannot be built: {reason}") from error


def save_model(model: VideoLM, folder: Path, *, dtype: torch.dtype | None = None) -> None:
    """Write a model folder; one that is there already is replaced only once the new one is whole.

    Args:
        model: what to write.
        folder: its name.
        dtype: number format of the floating-point weights on disk; None keeps the model's.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        _write(model, new, dtype)
        _take_place(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def revision_of(folder: Path) -> str:
    """Return a short hash of the config and the weights: what cached features depend on."""
    digest = hashlib.sha256()
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _check_vocabulary(model: VideoLM, folder: Path) -> None:
    count, room = model.tokenizer.get_vocab_size(), model.llm.config.vocab_size
    if count > room:
        raise ModelError(
            f"{folder / TOKENIZER_NAME} has {count} tokens, more than the {room} of the language "
            "model; the folder is mixed from two models"
        )


def _write(model: VideoLM, folder: Path, dtype: torch.dtype | None) -> None:
    from safetensors.torch import save_file

    weights = {
        name: (tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor)
        .detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
    }  # fmt: skip
    save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    text = json.dumps(model.config.to_dict(), indent=2, ensure_ascii=False)
    (folder / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")
    model.tokenizer.save(str(folder / TOKENIZER_NAME))


def _take_place(new: Path, folder: Path) -> None:
    """Rename the new folder into place; an old one goes only after the new one stands."""
    if not folder.exists():
        new.rename(folder)
        return
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old)


def _fill(model: VideoLM, weights: dict[str, Tensor], path: Path, dtype: torch.dtype) -> None:
    wanted = model.state_dict()
    missing, unknown = sorted(set(wanted) - set(weights)), sorted(set(weights) - set(wanted))
    if missing or unknown:
        what = f"lacks {missing[0]}" if missing else f"has an unknown tensor {unknown[0]}"
        raise ModelError(f"{path} {what} ({len(missing)} missing, {len(unknown)} unknown)")
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(wanted[name].shape)}"
            raise ModelError(f"{path}: {name} is {shapes} as config.json asks")
    model.load_state_dict(
        {k: v.to(dtype) if v.is_floating_point() else v for k, v in weights.items()}, assign=True
    )
