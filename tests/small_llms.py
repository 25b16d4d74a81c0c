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

FAMILIES = ("llama", "qwen2", "mistral")
WITH_TOWERS = ("llava_next", "onevision", "internvl")


def small_llm(family: str, *, seed: int = 0) -> Any:
    """Build one of the families; Mistral's attention reaches back 8 tokens only."""
    import transformers

    torch.manual_seed(seed)
    if family == "llama":
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**_SHAPE))
    elif family == "qwen2":
        model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**_SHAPE))
    else:
        config = transformers.MistralConfig(**_SHAPE, sliding_window=8)
        model = transformers.MistralForCausalLM(config)
    return model.eval()


def small_llm_with_tower(kind: str, inner: Any) -> Any:
    """Build a model that has a vision tower beside the weights of ``inner``, a "qwen2"."""
    import transformers

    tower = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    tower |= {"num_attention_heads": 2, "image_size": 8, "patch_size": 4}
    text = inner.config.to_dict()
    more = {"image_token_id": VOCABULARY - 1, "tie_word_embeddings": False}
    model: Any
    if kind == "llava_next":
        clip = transformers.CLIPVisionConfig(**tower)
        model = transformers.LlavaNextForConditionalGeneration(
            transformers.LlavaNextConfig(vision_config=clip, text_config=text, **more)
        )
    elif kind == "onevision":
        siglip = transformers.SiglipVisionConfig(**tower)
        model = transformers.LlavaOnevisionForConditionalGeneration(
            transformers.LlavaOnevisionConfig(
                vision_config=siglip, text_config=text, **more, video_token_id=VOCABULARY - 2
            )
        )
    else:
        tower |= {"image_size": [8, 8], "patch_size": [4, 4]}
        model = transformers.InternVLForConditionalGeneration(
            transformers.InternVLConfig(
                vision_config=transformers.InternVLVisionConfig(**tower), text_config=text, **more
            )
        )
    model.model.language_model.load_state_dict(inner.model.state_dict())
    model.lm_head.load_state_dict(inner.lm_head.state_dict())
    return model.eval()


def some_prompt(length: int, *, seed: int = 0) -> torch.Tensor:
    """Return prompt embeddings ``(L, D)`` of noise."""
    generator = torch.Generator().manual_seed(1000 * length + seed)
    return torch.randn(length, WIDTH, generator=generator)
