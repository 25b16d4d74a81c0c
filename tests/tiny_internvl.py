"""Whole folders of a tiny InternVL, and of a tiny CLIP for its text tower, with random weights.

Written by transformers itself in the layout of `OpenGVLab/InternVL3-*-hf`: weights,
configuration, tokenizer, processors. Only the widths are small; the grid of 16x16 patches is
as in the real ones unless a test asks for another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<IMG_CONTEXT>\n"
    "{% elif part['type'] == 'video' %}<video>\n"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"What the released folders' chat templates say, in the tests' own words."
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def write_internvl(
    folder: Path,
    *,
    size: int = 64,
    grid: int = 16,
    max_tiles: int = 6,
    positions: int = 4096,
    tower_width: int = 16,
    seed: int = 0,
) -> Path:
    """Write an InternVL that reads `size` pixels a side as `grid` patches a side, shuffled."""
    import transformers

    torch.manual_seed(seed)
    tokenizer = _qwen_tokenizer()
    config = transformers.InternVLConfig(
        vision_config=transformers.InternVLVisionConfig(
            hidden_size=tower_width,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            attention_bias=True,
            image_size=size,
            patch_size=size // grid // 2,
            layer_scale_init_value=0.5,
            initializer_range=0.3,
        ),
        text_config=transformers.Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=positions,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=False,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=grid * grid,
        tie_word_embeddings=False,
        initializer_range=0.3,
    )
    model = transformers.InternVLForConditionalGeneration(config).eval()
    with torch.no_grad():  # zero in an untrained model, and so no test of orientation
        table = model.model.vision_tower.embeddings.position_embeddings
        table.normal_(std=0.1)
    model.save_pretrained(folder)
    _write_processors(folder, tokenizer, size, grid, max_tiles)
    return folder


def _write_processors(folder: Path, tokenizer: Any, size: int, grid: int, max_tiles: int) -> None:
    import transformers

    pixels = {
        "size": {"height": size, "width": size},
        "image_mean": MEAN,
        "image_std": DEVIATION,
    }
    tiles = {"crop_to_patches": False, "min_patches": 1, "max_patches": max_tiles}
    pictures = transformers.GotOcr2ImageProcessorPil(**pixels, **tiles)
    films = transformers.InternVLVideoProcessor(**pixels)
    transformers.InternVLProcessor(
        pictures, tokenizer, films, image_seq_length=grid * grid, chat_template=CHAT
    ).save_pretrained(folder)
    # the released folders are of a time when each processor had a file of its own
    pictures.save_pretrained(folder)
    films.save_pretrained(folder)


def _qwen_tokenizer() -> Any:
    import json

    from small_tokenizers import SENTENCES
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator([*SENTENCES, "Frame1: Frame2: user assistant"], trainer)
    learned = json.loads(learner.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]}, False)
    return tokenizer


def write_clip(folder: Path, *, width: int = 32, seed: int = 0) -> Path:
    """Write a CLIP with the real vocabulary and small towers."""
    import transformers

    from pplava_core.models.open_clip_parts import read_merges

    torch.manual_seed(seed)
    config = transformers.CLIPConfig(
        text_config={
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "hidden_act": "quick_gelu",
            "projection_dim": width,
            "initializer_factor": 10.0,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
            "projection_dim": width,
        },
        projection_dim=width,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    vocabulary, merges = read_merges()
    transformers.CLIPTokenizer(vocab=vocabulary, merges=merges).save_pretrained(folder)
    return folder
