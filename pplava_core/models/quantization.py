"""How a language model is quantised by bitsandbytes, and how it lies in a folder that already is.

The tower, the projector and the head keep their numbers. Knows transformers' configurations and
modules; no files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pplava_core.errors import UsageError

if TYPE_CHECKING:
    import torch

    from pplava_core.models.placement import Placement

_PACKED_BLOCK = (32, 64)
"bitsandbytes packs 4-bit weights for a CPU in blocks of so many rows and columns."


def stored_quantization(settings: Any) -> str | None:
    """Tell how a folder's language model was quantised when it was written, if it was."""
    stored = getattr(settings, "quantization_config", None)
    if stored is None:
        return None
    values = stored if isinstance(stored, dict) else stored.to_dict()
    return "4bit" if values.get("load_in_4bit") else "8bit"


def agreed_quantization(settings: Any, wanted: str | None) -> str | None:
    """Return how a language model will be quantised: as it is stored, or else as is wanted.

    Args:
        settings: transformers' configuration of the folder.
        wanted: ``4bit``, ``8bit`` or None.

    Raises:
        UsageError: it is stored in one way and wanted in the other.
    """
    stored = stored_quantization(settings)
    if stored and wanted not in (None, stored):
        raise UsageError(f"the language model is stored in {stored}; leave --quantize {wanted} out")
    return stored or wanted


def library_settings(placement: Placement, dtype: torch.dtype, settings: Any) -> Any:
    """Return how transformers is to quantise the language model, and only that.

    Args:
        placement: where the model goes, and how it is to be quantised.
        dtype: number format of the rest.
        settings: transformers' configuration of the folder.

    Returns:
        transformers' settings; None where nothing is left to do.

    Raises:
        UsageError: the model is stored quantised, and otherwise than is wanted.
    """
    if agreed_quantization(settings, placement.quantize) is None or stored_quantization(settings):
        return None
    import transformers

    settings_of_library: Any = transformers.BitsAndBytesConfig
    spared = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]
    if placement.quantize == "8bit":
        return settings_of_library(load_in_8bit=True, llm_int8_skip_modules=spared)
    if placement.device == "cpu":
        spared += _unpackable(settings.text_config)
    return settings_of_library(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=spared,
    )


def unify(llm: Any, dtype: torch.dtype) -> None:
    """Bring what is not quantised to one number format, in place.

    transformers leaves the weights of a folder that is stored quantised as they are stored,
    and converts the rest.
    """
    for parameter in llm.parameters():
        if parameter.is_floating_point() and not hasattr(parameter, "quant_state"):
            parameter.data = parameter.data.to(dtype)
    for module in llm.modules():
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = dtype


def _unpackable(text: Any) -> list[str]:
    """Name the layers that bitsandbytes cannot pack for a CPU; models of real sizes have none."""
    hidden, inner = text.hidden_size, text.intermediate_size
    width = getattr(text, "head_dim", None) or hidden // text.num_attention_heads
    queries = width * text.num_attention_heads
    keys = width * (getattr(text, "num_key_value_heads", None) or text.num_attention_heads)
    shapes = {
        "q_proj": (queries, hidden),
        "k_proj": (keys, hidden),
        "v_proj": (keys, hidden),
        "o_proj": (hidden, queries),
        "gate_proj": (inner, hidden),
        "up_proj": (inner, hidden),
        "down_proj": (hidden, inner),
    }
    rows, columns = _PACKED_BLOCK
    return [name for name, (out, into) in shapes.items() if out % rows or into % columns]
