"""One adapter a backbone: how its parts are built and fed. No other file asks a model's name.

An adapter is a module. nano's has `build`; one of a base model of transformers has
`load_config`, `describe`, `key_mapping` and `Parts`, as `transformers_parts` explains.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pplava_core.errors import ModelError

if TYPE_CHECKING:
    from types import ModuleType

ADAPTERS = {
    "nano": "pplava_core.models.backbones.nano",
    "llava_next": "pplava_core.models.backbones.llava_next",
    "llava_video": "pplava_core.models.backbones.llava_video",
    "internvl3": "pplava_core.models.backbones.internvl3",
}
_BY_MODEL_TYPE = {
    "llava_next": "llava_next",
    "llava_onevision": "llava_video",
    "llava_qwen": "llava_video",
    "internvl": "internvl3",
}
_ORIGINAL = "LlavaQwenForCausalLM"


def is_original(values: dict[str, Any]) -> bool:
    """Tell the layout of lmms-lab's own LLaVA-Video folders, whose `model_type` varies."""
    architectures = values.get("architectures")
    return isinstance(architectures, list) and _ORIGINAL in architectures


def adapter(name: str) -> ModuleType:
    """Return the module that builds and feeds backbones of this name.

    Raises:
        ModelError: no adapter has this name.
    """
    try:
        return import_module(ADAPTERS[name])
    except KeyError:
        known = ", ".join(sorted(ADAPTERS))
        raise ModelError(f"no adapter for backbone {name!r}; this version has: {known}") from None


def backbone_of(values: dict[str, Any]) -> str:
    """Tell which adapter takes a folder of transformers' layout, from its `config.json`.

    Raises:
        ModelError: none does.
    """
    if is_original(values):
        return "llava_video"
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or model_type not in _BY_MODEL_TYPE:
        known = ", ".join(sorted(_BY_MODEL_TYPE))
        raise ModelError(
            f"config.json has model_type {model_type!r}; this version reads {known}, "
            "and models of its own format"
        )
    return _BY_MODEL_TYPE[model_type]
