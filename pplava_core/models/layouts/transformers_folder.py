"""Loads a base model's folder, or one of the authors' checkpoints, as a `VideoLM`.

The multimodal model is transformers' own and is loaded by it, shard by shard; every tensor
that transformers has no place for must be the aligner's or the BT-Adapter's, and every place
must be filled. Knows layouts of folders; what differs from model to model is in its adapter.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pplava_core.errors import ModelError, UsageError
from pplava_core.models import backbones
from pplava_core.models.config import VideoLMConfig
from pplava_core.models.layouts import aligner_folder
from pplava_core.models.layouts.aligner_folder import Aligner
from pplava_core.models.layouts.tensor_files import (
    read_tensors,
    tensor_names,
    tensor_sizes,
    weight_files,
)
from pplava_core.models.layouts.weight_index import indexed
from pplava_core.models.placement import Placement
from pplava_core.models.quantization import library_settings, stored_quantization, unify

if TYPE_CHECKING:
    from torch import Tensor

    from pplava_core.models.videolm import VideoLM

_PROJECTOR = "multi_modal_projector."
_PROJECTOR_OWN = ("linear_1.", "linear_2.", "layer_norm.", "logit_bias")
"Parts of a released projector that are not the aligner's."
_UNREAD = ("vision_tower.post_layernorm.", "vision_tower.head.", "logit_bias")
"What some checkpoints carry along and nothing here reads: a softmax does not see a bias."


def describe_folder(folder: Path) -> VideoLMConfig:
    """Say what a folder of transformers' layout holds, without reading weights.

    Raises:
        ModelError: it is no such folder, or no adapter takes it.
    """
    values = _values(folder)
    adapter = backbones.adapter(backbones.backbone_of(values))
    return _described(adapter, folder, _guarded(adapter.load_config, folder))


def load_settings(folder: Path) -> Any:
    """Return transformers' configuration of a folder.

    Raises:
        ModelError: it is no such folder, or no adapter takes it.
    """
    adapter = backbones.adapter(backbones.backbone_of(_values(folder)))
    return _guarded(adapter.load_config, folder)


def load_transformers_model(
    folder: Path,
    placement: Placement,
    *,
    config: VideoLMConfig | None = None,
    aligner: Path | None = None,
    revision: str = "",
) -> VideoLM:
    """Load a folder of transformers' layout.

    Args:
        folder: configuration, weights, tokenizer and preprocessor.
        placement: device and number format.
        config: what the model is; None is what the folder says.
        aligner: an aligner folder to use; None looks for one in and beside the weights.
        revision: names the model's features in caches.

    Raises:
        ModelError: a file is missing or damaged, or a tensor is missing, unknown or of
            another shape.
        UsageError: the language model is stored quantised, and otherwise than is wanted.
    """
    import torch

    from pplava_core.models.videolm import VideoLM

    values = _values(folder)
    adapter = backbones.adapter(backbones.backbone_of(values))
    weight_files(folder)  # refuses what leads out of the folder before anything else opens it
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder} holds a PEFT adapter (adapter_config.json), which would change the model "
            "unseen; merge it into the weights, or take it out"
        )
    settings = _guarded(adapter.load_config, folder)
    _check_size(folder, settings)
    described = config or _described(adapter, folder, settings)
    llm, info = _load_llm(folder, settings, placement, adapter.key_mapping(values))
    _check_all_there(folder, _filled(adapter, llm, folder, info))
    extra = {name for name in tensor_names(folder) if is_extra(name)}
    unread = (*_UNREAD, *getattr(adapter, "unread", lambda settings: ())(settings))
    _check_all_known(folder, map(str, info["unexpected_keys"]), extra, unread)
    tensors = read_tensors(folder, extra.__contains__)
    found = _aligner(folder, values, settings, tensors, aligner)
    if found is not None:
        notice = described.notice or aligner_folder.doubt_about(found)
        described = replace(described, aligner=_settings_of(found), notice=notice)
    parts = adapter.Parts(llm, described)
    parts.take_extra(tensors)
    words = parts.words(folder, found)
    encoder = None
    if found is not None:
        device = parts.base.vision_tower.device
        encoder = found.encoder.to(device, placement.dtype or torch.float32)
    model = VideoLM(
        described, parts=parts, aligner=encoder, llm=llm, words=words, revision=revision
    )
    return model.eval()


def _values(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{folder} is no model folder: config.json: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} does not describe a model")
    return values


def _described(adapter: Any, folder: Path, settings: Any) -> VideoLMConfig:
    config: VideoLMConfig = _guarded(adapter.describe, folder, settings)
    return config


def _guarded(function: Any, *arguments: Any) -> Any:
    """Call what reads a folder's settings; each library has errors of its own for a bad one."""
    try:
        return function(*arguments)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{arguments[0]}: config.json cannot be used: {_line(error)}") from error


def _check_size(folder: Path, settings: Any) -> None:
    """Refuse a configuration that means a far larger model before room is made for it.

    Raises:
        ModelError: the files hold less than half the values that the configuration asks for.
    """
    import torch
    import transformers

    if stored_quantization(settings) is not None:
        return  # packed values are fewer
    kind: Any = transformers.AutoModelForImageTextToText
    with torch.device("meta"):
        model = _guarded(lambda _: kind.from_config(settings), folder)
    parts = [model.model.language_model, model.model.multi_modal_projector]
    wanted = sum(tensor.numel() for part in parts for tensor in part.parameters())
    found = sum(tensor_sizes(folder).values())
    if found < wanted / 2:
        raise ModelError(
            f"{folder}: config.json means a model of {wanted:,} values, and its files hold "
            f"{found:,}: they are incomplete or belong to another model"
        )


def _load_llm(
    folder: Path, settings: Any, placement: Placement, key_mapping: dict[str, str] | None
) -> tuple[Any, dict[str, Any]]:
    """Load transformers' own class; return also what it says of names that did not match."""
    import torch
    import transformers

    kind: Any = transformers.AutoModelForImageTextToText
    dtype = placement.dtype or torch.float32
    try:
        # what transformers would say of unknown tensors is judged here
        with hushed(), indexed(folder) as readable:
            llm, info = kind.from_pretrained(
                readable,
                config=settings,
                dtype=dtype,
                device_map=placement.device,
                attn_implementation=placement.attention,
                quantization_config=library_settings(placement, dtype, settings),
                key_mapping=key_mapping,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # which ones they are is told below
                output_loading_info=True,
            )
    except UsageError:
        raise
    except Exception as error:  # shapes, damaged files, settings: each a class of its own
        if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
            raise
        raise ModelError(f"{folder} cannot be loaded: {_line(error)}") from error
    if stored_quantization(settings):
        unify(llm, dtype)
    if info["mismatched_keys"]:
        name, found, wanted = sorted(info["mismatched_keys"])[0]
        raise ModelError(
            f"{folder}: {name} is {tuple(found)}, not {tuple(wanted)} as config.json asks"
        )
    return llm, info


def _filled(adapter: Any, llm: Any, folder: Path, info: dict[str, Any]) -> list[str]:
    """Let the adapter fill what lies elsewhere, and return what is missing then."""
    missing = set(map(str, info["missing_keys"]))
    if missing and hasattr(adapter, "fill_missing"):
        missing -= adapter.fill_missing(llm, folder, missing)
    return sorted(missing)


def _check_all_there(folder: Path, missing: list[str]) -> None:
    if missing:
        raise ModelError(
            f"{folder} lacks the tensor {missing[0]} ({len(missing)} missing); "
            "its files are incomplete or belong to another model"
        )


@contextmanager
def hushed() -> Iterator[None]:
    """Keep transformers and bitsandbytes from writing to the terminal, then let them again."""
    from transformers.utils import logging as transformers_logging

    theirs: Any = transformers_logging
    bars, verbosity = theirs.is_progress_bar_enabled(), theirs.get_verbosity()
    theirs.disable_progress_bar()
    theirs.set_verbosity_error()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        yield
    finally:
        theirs.set_verbosity(verbosity)
        if bars:
            theirs.enable_progress_bar()


def is_extra(name: str) -> bool:
    """Tell whether a tensor is for this project's own parts and not for transformers' class."""
    _, _, rest = name.rpartition(_PROJECTOR)
    if _PROJECTOR in name:
        return not rest.startswith(_PROJECTOR_OWN)
    return "btadapter_" in name or name.startswith("bt_adapter.")


def _check_all_known(
    folder: Path, unknown: Iterable[str], extra: Iterable[str], unread: Iterable[str]
) -> None:
    """Refuse tensors that nobody has a place for; transformers renames some before it says so."""
    ours = {_plain(name) for name in extra}
    strange = sorted(
        name
        for name in unknown
        if _plain(name) not in ours and not any(part in _plain(name) for part in unread)
    )
    if strange:
        raise ModelError(
            f"{folder} has an unknown tensor {strange[0]} ({len(strange)} unknown); "
            "config.json belongs to another model"
        )


def _plain(name: str) -> str:
    return name.removeprefix("model.").replace("vision_tower.vision_model.", "vision_tower.")


def _aligner(
    folder: Path,
    values: dict[str, Any],
    settings: Any,
    tensors: dict[str, Tensor],
    given: Path | None,
) -> Aligner | None:
    """Find the aligner: the one given, the checkpoint's own, or one that lies beside it."""
    own = {
        name.rpartition(_PROJECTOR)[2]: tensor
        for name, tensor in tensors.items()
        if _PROJECTOR in name
    }
    if given is not None:
        return aligner_folder.load_aligner(given)
    if own and "clip_weight" not in values:
        raise ModelError(
            f"{folder} has an unknown tensor {_PROJECTOR}{min(own)} ({len(own)} unknown); "
            "config.json belongs to another model"
        )
    if own:
        source = aligner_folder.named_source(str(values.get("clip_weight")), folder)
        return aligner_folder.from_released(
            own,
            source,
            patch_width=settings.vision_config.hidden_size,
            probe=bool(values.get("valuew_plus", False)),
            extended=bool(values.get("extend_clip", True)),
        )
    if (folder / aligner_folder.FOLDER).is_dir():
        return aligner_folder.load_aligner(folder / aligner_folder.FOLDER)
    if (folder / aligner_folder.SOURCE_FOLDER / "config.json").is_file():
        return aligner_folder.from_pretrained(
            folder / aligner_folder.SOURCE_FOLDER, patch_width=settings.vision_config.hidden_size
        )
    return None


def aligner_of(model: VideoLM) -> Aligner:
    """Return a loaded model's aligner with its tokenizer, to be saved."""
    words: Any = model.words
    return Aligner(
        encoder=model.aligner, tokenizer=words.aligner_tokenizer, pads_fully=words.pads_texts_fully
    )


def _settings_of(aligner: Aligner) -> dict[str, Any]:
    encoder = aligner.encoder
    return {"text": asdict(encoder.text_settings), "patches": asdict(encoder.patch_settings)}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
