"""A LLaVA-NeXT of any size with random weights, written shard by shard, never whole in memory.

Good for measuring time and memory, and for nothing else: its answers are noise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from pplava_core.models.dual_encoder import DualEncoder, PatchHeadSettings, TextTowerSettings
from pplava_core.models.layouts.aligner_folder import Aligner, save_aligner

_WORDS = ["<unk>", "<s>", "</s>", "<image>", "what", "is", "it", "?", "USER:", "ASSISTANT:"]


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Sizes of the parts."""

    llm_width: int
    llm_inner: int
    llm_layers: int
    llm_heads: int
    vocab_size: int
    tower_width: int
    tower_inner: int
    tower_layers: int
    tower_heads: int
    text_width: int
    text_layers: int
    text_heads: int


SEVEN_BILLION = Shapes(
    llm_width=4096, llm_inner=11008, llm_layers=32, llm_heads=32, vocab_size=32064,
    tower_width=1024, tower_inner=4096, tower_layers=24, tower_heads=16,
    text_width=768, text_layers=12, text_heads=12,
)  # fmt: skip
"LLaVA-v1.6-Vicuna-7B with the text tower of CLIP ViT-L/14-336."
SMALL = Shapes(
    llm_width=512, llm_inner=1408, llm_layers=6, llm_heads=8, vocab_size=2048,
    tower_width=128, tower_inner=512, tower_layers=4, tower_heads=4,
    text_width=128, text_layers=2, text_heads=4,
)  # fmt: skip
"The same build at about a four-hundredth of the size, with as many patches and tokens."
HALF_BILLION = Shapes(
    llm_width=1536, llm_inner=4096, llm_layers=20, llm_heads=12, vocab_size=32064,
    tower_width=512, tower_inner=2048, tower_layers=8, tower_heads=8,
    text_width=512, text_layers=4, text_heads=8,
)  # fmt: skip
"About 1.4 GB in bfloat16."


def write_random_checkpoint(
    folder: Path, shapes: Shapes, *, dtype: torch.dtype, shard_bytes: int
) -> None:
    """Write a folder in transformers' layout, with an aligner.

    Args:
        folder: filled; made if it is not there.
        shapes: sizes of the parts.
        dtype: number format on disk.
        shard_bytes: size at which a file is closed and the next begun.
    """
    from transformers import AutoModelForImageTextToText

    folder.mkdir(parents=True, exist_ok=True)
    config = _config(shapes, dtype)
    config.save_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    _write_shards(folder, model.state_dict(), dtype, shard_bytes)
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    statistics = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics))
    _write_aligner(folder / "aligner", shapes, tokenizer)


def _config(shapes: Shapes, dtype: torch.dtype):
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaNextConfig

    config = LlavaNextConfig(
        text_config=LlamaConfig(
            vocab_size=shapes.vocab_size,
            hidden_size=shapes.llm_width,
            intermediate_size=shapes.llm_inner,
            num_hidden_layers=shapes.llm_layers,
            num_attention_heads=shapes.llm_heads,
            max_position_embeddings=32768,
        ),
        vision_config=CLIPVisionConfig(
            hidden_size=shapes.tower_width,
            intermediate_size=shapes.tower_inner,
            num_hidden_layers=shapes.tower_layers,
            num_attention_heads=shapes.tower_heads,
            image_size=336,
            patch_size=14,
        ),
        image_token_index=3,
        tie_word_embeddings=False,
    )
    config.dtype = dtype
    return config


def _write_shards(folder: Path, shapes: dict, dtype: torch.dtype, shard_bytes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shards: list[list[str]] = [[]]
    size = 0
    for name, tensor in shapes.items():
        if size > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor.numel() * dtype.itemsize
    index: dict[str, str] = {}
    for number, names in enumerate(shards):
        file_name = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        tensors = {}
        for name in names:
            noise = torch.randn(shapes[name].shape, generator=generator) * 0.02
            tensors[name] = (noise + 1 if "norm" in name else noise).to(dtype)
        save_file(tensors, folder / file_name, metadata={"format": "pt"})
        index |= dict.fromkeys(names, file_name)
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)


def _write_aligner(folder: Path, shapes: Shapes, tokenizer) -> None:
    torch.manual_seed(1)
    text = TextTowerSettings(
        width=shapes.text_width,
        layers=shapes.text_layers,
        heads=shapes.text_heads,
        vocab_size=shapes.vocab_size,
        embed_dim=shapes.text_width,
        context_length=248,
    )
    patches = PatchHeadSettings(width=shapes.tower_width, embed_dim=shapes.text_width)
    encoder = DualEncoder(text, patches)
    save_aligner(Aligner(encoder=encoder, tokenizer=tokenizer, pads_fully=False), folder)


def _tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(_WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        additional_special_tokens=["<image>"],
    )
