"""Language models of the families that backbones bring, tiny and with random weights."""

from __future__ import annotations

from typing import Any

import torch

VOCABULARY, WIDTH = 60, 16

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.6,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}

FAMILIES = ("llama", "qwen2", "mistral", "llava")


def small_llm(family: str, *, seed: int = 0) -> Any:
    """Build one; Mistral's attention reaches back 8 tokens only, "llava" has a tower beside it."""
    import transformers

    torch.manual_seed(seed)
    if family == "llama":
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**_SHAPE))
    elif family == "qwen2":
        model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**_SHAPE))
    elif family == "mistral":
        config = transformers.MistralConfig(**_SHAPE, sliding_window=8)
        model = transformers.MistralForCausalLM(config)
    else:
        model = transformers.LlavaForConditionalGeneration(_llava_config(transformers))
    return model.eval()


def _llava_config(transformers: Any) -> Any:
    vision = transformers.CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
    )
    return transformers.LlavaConfig(
        vision_config=vision,
        text_config=transformers.LlamaConfig(**_SHAPE),
        image_token_index=VOCABULARY - 1,
        initializer_range=0.6,
    )


def some_prompt(length: int, *, seed: int = 0) -> torch.Tensor:
    """Return prompt embeddings ``(L, D)`` of noise."""
    generator = torch.Generator().manual_seed(1000 * length + seed)
    return torch.randn(length, WIDTH, generator=generator)
