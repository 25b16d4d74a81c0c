"""Model folders of this project's format: read, checked, written; others are passed on.

A model that this project trained whole is `config.json`, `model.safetensors` and
`tokenizer.json`; one that is put on a base model is `config.json`, `base/` in transformers'
layout and `aligner/`. A folder with a missing or an unknown tensor is an error that names it,
never a silent random initialisation.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pplava_core.content_hash import content_hash
from pplava_core.errors import ModelError
from pplava_core.models.config import VideoLMConfig, is_own_format, read_config
from pplava_core.models.language.tokenizer import FILE_NAME as TOKENIZER_NAME
from pplava_core.models.language.tokenizer import load_tokenizer
from pplava_core.models.placement import Placement
from pplava_core.paths import features_directory

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from torch import Tensor

    from pplava_core.models.videolm import VideoLM

CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"
BASE_NAME, ALIGNER_NAME = "base", "aligner"
"In a folder of this project's format: the model of transformers that it is put on, and its eye."


def base_of(folder: Path) -> Path | None:
    """Return where a model's base in transformers' layout lies; None for one like nano."""
    if not is_own_format(folder):
        return folder
    return folder / BASE_NAME if (folder / BASE_NAME).is_dir() else None


def describe_model(folder: Path) -> VideoLMConfig:
    """Say what a model folder holds, of this project's format or of transformers'.

    Raises:
        ModelError: it is no model folder, or no adapter takes it.
    """
    if is_own_format(folder):
        return read_config(folder)
    from pplava_core.models.layouts.transformers_folder import describe_folder

    return describe_folder(folder)


def load_model(
    folder: Path, placement: Placement | None = None, *, aligner: Path | None = None
) -> VideoLM:
    """Load a model folder, ready to answer.

    Args:
        folder: one that `save_model` or `convert` wrote, or one of transformers' layout.
        placement: device and number format; None is float32 on the CPU.
        aligner: an aligner folder to use instead of the model's own.

    Raises:
        ModelError: a part is missing, damaged or does not fit the others.
    """
    placement = placement or Placement()
    config = read_config(folder) if is_own_format(folder) else None
    if config is not None and not (folder / BASE_NAME).is_dir():
        if placement.quantize or aligner:
            what = "--quantize" if placement.quantize else "an aligner of its own"
            raise ModelError(f"{config.name} is small and whole: {what} does not apply to it")
        return _load_own(folder, config, placement)
    from pplava_core.models.layouts.transformers_folder import load_transformers_model

    if config is None:
        revision = revision_of(folder)
        return load_transformers_model(folder, placement, aligner=aligner, revision=revision)
    base, own = folder / BASE_NAME, folder / ALIGNER_NAME
    return load_transformers_model(
        base,
        placement,
        config=config,
        aligner=aligner or (own if own.is_dir() else None),
        revision=revision_of(base, folder / CONFIG_NAME),
    )


def _load_own(folder: Path, config: VideoLMConfig, placement: Placement) -> VideoLM:
    """Load a model whose every part this project trained."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tokenizer = load_tokenizer(folder)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise ModelError(f"{folder} has no {WEIGHTS_NAME}; the model folder is incomplete")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is damaged: {error}; copy or fetch the model again") from error
    model = build_model(config, tokenizer, revision=revision_of(folder))
    _fill(model, weights, path, placement.dtype or torch.float32)
    _check_vocabulary(model, folder)
    return model.to(placement.device).eval()


def build_model(config: VideoLMConfig, tokenizer: Tokenizer, *, revision: str = "") -> VideoLM:
    """Build an untrained model of this project's own making.

    Raises:
        ModelError: the config asks for something that cannot be built.
    """
    from pplava_core.models.videolm import WEIGHTINGS

    if config.weighting not in WEIGHTINGS:
        known = ", ".join(WEIGHTINGS)
        raise ModelError(f"config.json: weighting {config.weighting!r} is none of {known}")
    try:
        return _assemble(config, tokenizer, revision)
    except ModelError:
        raise
    except Exception as error:  # each library has a class of its own for a setting it dislikes
        reason = " ".join(str(error).split())
        raise ModelError(f"config.json of {config.name} cannot be built: {reason}") from error


def _assemble(config: VideoLMConfig, tokenizer: Tokenizer, revision: str) -> VideoLM:
    from transformers import LlamaConfig, LlamaForCausalLM

    from pplava_core.models.backbones import adapter
    from pplava_core.models.dual_encoder import DualEncoder, PatchHeadSettings, TextTowerSettings
    from pplava_core.models.language.tokenizer import NanoWords
    from pplava_core.models.videolm import VideoLM

    return VideoLM(
        config,
        parts=adapter(config.backbone).build(config),
        aligner=DualEncoder(
            TextTowerSettings(**config.aligner["text"]),
            PatchHeadSettings(**config.aligner["patches"]),
        ),
        llm=LlamaForCausalLM(LlamaConfig(**{**config.llm, "attn_implementation": "sdpa"})),
        words=NanoWords(tokenizer),
        revision=revision,
    )


def save_model(model: VideoLM, folder: Path, *, dtype: torch.dtype | None = None) -> None:
    """Write a model folder; one that is there already is replaced only once the new one is whole.

    Args:
        model: what to write.
        folder: its name.
        dtype: number format of the floating-point weights on disk; None keeps the model's.
    """
    with replacing_folder(folder) as new:
        _write(model, new, dtype)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the name of another once it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        yield new
        _take_place(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def revision_of(folder: Path, *more: Path) -> str:
    """Return a short hash of config, pixel settings and weights: what cached features depend on.

    The weights of large models are hashed once and the digest is remembered as long as the
    file stays as it was.

    Args:
        folder: of either format.
        more: further files that count.
    """
    from pplava_core.models.layouts.tensor_files import weight_files

    digest = hashlib.sha256()
    for path in (folder / CONFIG_NAME, *weight_files(folder), *_beside_weights(folder), *more):
        digest.update(bytes.fromhex(content_hash(path, features_directory() / "hashes").digest))
    return digest.hexdigest()[:16]


def _beside_weights(folder: Path) -> list[Path]:
    """Return what else shapes features: settings of pixels, and a tower that lies beside."""
    if is_own_format(folder):
        return []
    from pplava_core.models.backbones import is_original
    from pplava_core.models.layouts.aligner_folder import SOURCE_FOLDER

    found = sorted([*folder.glob("*processor_config.json"), *folder.glob("video_processor/*.json")])
    values = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    tower = folder / SOURCE_FOLDER
    return [*found, tower] if is_original(values) and tower.is_dir() else found


def _check_vocabulary(model: VideoLM, folder: Path) -> None:
    count, room = model.words.vocabulary_size, model.llm.config.vocab_size
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
    model.words.save(folder)


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
