"""Model folders in transformers' layout: its own classes at widths that a test can afford.

Each is what `save_pretrained` writes (configuration, weights, tokenizer, preprocessors), with
random weights. The encoders that score patches match the towers in width. See also
`tiny_tokenizers`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tiny_tokenizers
import torch
from torch import nn

WIDTH, LAYERS, HEADS = 16, 3, 2
"Of every tower."
LLM_WIDTH = 24
PATCH = 7
CLIP_SIZE, CLIP_GRID = 42, 6
SIGLIP_SIZE, SIGLIP_GRID = 51, 7
"As in so400m-384, the last pixels fill no patch, and the grid is odd."
_MEANS = {"clip": [0.48, 0.46, 0.41], "siglip": [0.5, 0.5, 0.5]}
_DEVIATIONS = {"clip": [0.27, 0.26, 0.28], "siglip": [0.5, 0.5, 0.5]}


def randomised(model: nn.Module, *, seed: int) -> nn.Module:
    """Give every weight a random value that keeps signals of all layers about as large."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        scale = 0.1 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
        offset = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        if "embed" in name:  # a text tower whose words deviate by 1 counts as untrained
            scale = 0.3 if "token_embedding" in name else 1.0
        parameter.data = offset + noise * scale
    return model.eval()


def text_config(text_type: str, vocab_size: int, **changes: Any) -> Any:
    """Return the configuration of a small language model: llama, mistral or qwen2."""
    from transformers import AutoConfig

    values = {
        "vocab_size": vocab_size,
        "hidden_size": LLM_WIDTH,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        **({"sliding_window": None} if text_type == "mistral" else {}),
    }
    return AutoConfig.for_model(text_type, **{**values, **changes})


def _pinpoints(size: int, most: int) -> list[list[int]]:
    sides = range(1, most + 1)
    return [[rows * size, columns * size] for rows in sides for columns in sides]


def write_llava_next(folder: Path, *, text_type: str = "llama", seed: int = 0, **text: Any) -> Path:
    """Write a LLaVA-NeXT on a tiny CLIP: a 6×6 grid, the class token dropped, up to 3×3 tiles.

    Args:
        folder: made if need be.
        text_type: llama, mistral or qwen2.
        seed: of the weights.
        text: changes to the language model's configuration.
    """
    from transformers import (
        CLIPVisionConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessorPil,
    )

    tokenizer = tiny_tokenizers.language_tokenizer(text_type)
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**_vision("clip"), projection_dim=WIDTH),
        text_config=text_config(text_type, len(tokenizer) + 5, **text),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=_pinpoints(CLIP_SIZE, 3)[1:],
        vision_feature_layer=-2,
        image_seq_length=CLIP_GRID**2,
    )
    model = randomised(LlavaNextForConditionalGeneration(config), seed=seed)
    _save(model, tokenizer, folder)
    image_processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": CLIP_SIZE},
        crop_size={"height": CLIP_SIZE, "width": CLIP_SIZE},
        image_grid_pinpoints=config.image_grid_pinpoints,
        image_mean=_MEANS["clip"],
        image_std=_DEVIATIONS["clip"],
    )
    image_processor.save_pretrained(folder)
    return folder


def write_llava_onevision(folder: Path, *, seed: int = 0, max_tiles: int = 9, **text: Any) -> Path:
    """Write a LLaVA-OneVision on a tiny SigLIP: a 7×7 grid, up to 4×4 tiles, Qwen2.

    Args:
        folder: made if need be.
        seed: of the weights.
        max_tiles: above about so many tiles' tokens, a picture's are brought down.
        text: changes to the language model's configuration.
    """
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessorPil,
        LlavaOnevisionVideoProcessor,
        SiglipVisionConfig,
    )

    tokenizer = tiny_tokenizers.language_tokenizer("qwen2")
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**_vision("siglip"), vision_use_head=False),
        text_config=text_config("qwen2", len(tokenizer) + 5, **text),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=_pinpoints(SIGLIP_SIZE, 4),
        vision_aspect_ratio=f"anyres_max_{max_tiles}",
    )
    model = randomised(LlavaOnevisionForConditionalGeneration(config), seed=seed)
    _save(model, tokenizer, folder)
    pixels: dict[str, Any] = {
        "size": {"height": SIGLIP_SIZE, "width": SIGLIP_SIZE},
        "image_mean": _MEANS["siglip"],
        "image_std": _DEVIATIONS["siglip"],
    }
    pinpoints = config.image_grid_pinpoints
    LlavaOnevisionVideoProcessor(**pixels | {"image_mean": [0.45, 0.5, 0.55]}).save_pretrained(
        folder
    )
    LlavaOnevisionImageProcessorPil(image_grid_pinpoints=pinpoints, **pixels).save_pretrained(
        folder
    )
    return folder


def write_clip(
    folder: Path, *, seed: int = 1, vision_width: int = WIDTH, embed_dim: int = 12
) -> Path:
    """Write a CLIP as its own folder: 77 positions, the end mark the highest id."""
    from transformers import CLIPConfig, CLIPModel

    tokenizer = tiny_tokenizers.clip_tokenizer()
    config = CLIPConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 20,
            "intermediate_size": 36,
            "num_hidden_layers": 2,
            "num_attention_heads": HEADS,
            "max_position_embeddings": 77,
            "hidden_act": "quick_gelu",
            "projection_dim": embed_dim,
            "eos_token_id": 2,
        },
        vision_config={
            **_vision("clip"), "hidden_size": vision_width, "projection_dim": embed_dim
        },
        projection_dim=embed_dim,
    )  # fmt: skip
    _save(randomised(CLIPModel(config), seed=seed), tokenizer, folder)
    return folder


def write_siglip(folder: Path, *, seed: int = 1) -> Path:
    """Write a SigLIP as its own folder: 64 positions, a pooling head, a SentencePiece tokenizer."""
    from transformers import SiglipConfig, SiglipModel

    tiny_tokenizers.write_siglip_tokenizer(folder)
    text = {
        "vocab_size": tiny_tokenizers.SIGLIP_VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 29,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "max_position_embeddings": 64,
    }
    vision = {**_vision("siglip"), "num_hidden_layers": LAYERS + 1}  # towers leave the last out
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    _save(randomised(model, seed=seed), None, folder)
    return folder


def change_config(folder: Path, **changes: Any) -> None:
    """Change top-level values of a folder's `config.json`; None takes one away."""
    path = folder / "config.json"
    values = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    kept = {name: value for name, value in values.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


def _vision(kind: str) -> dict[str, Any]:
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 29 if kind == "siglip" else 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "image_size": SIGLIP_SIZE if kind == "siglip" else CLIP_SIZE,
        "patch_size": PATCH,
        "hidden_act": "gelu_pytorch_tanh" if kind == "siglip" else "quick_gelu",
    }


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
