"""What a freshly aligned model needs before its language model begins to learn.

Long texts, the scale of what is pooled, words that mean something, and attention that finds what
is like itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pplava_core.models.backbones.nano_tokens import FeatureScale
from pplava_core.models.videolm import VideoLM
from pplava_core.shapes.scene import COLOURS, KINDS

_FEWEST_POSITIONS = 100
_EMBEDDING_SPREAD = 0.4


def stretch_texts(model: VideoLM) -> None:
    """Let the text tower read long texts (Eq. 4), unless it does already."""
    if model.aligner.context_length >= _FEWEST_POSITIONS:
        return
    model.aligner.extend_context()
    text = {**model.config.aligner["text"], "context_length": model.aligner.context_length}
    aligner = {**model.config.aligner, "text": text}
    model.config = dataclasses.replace(model.config, aligner=aligner)


@torch.no_grad()
def measure_scales(model: VideoLM, pool: Callable[[], None]) -> None:
    """Measure mean and spread of every channel of what is pooled, where that was not done.

    Args:
        model: keeps them.
        pool: makes visual tokens of some films with it.
    """
    scales = [
        module
        for module in model.parts.modules()
        if isinstance(module, FeatureScale) and not module.measured
    ]
    if not scales:
        return
    sums = [torch.zeros(2, len(scale.mean), dtype=torch.float64) for scale in scales]
    counts = [0] * len(scales)

    def add_up(number: int, module: Any, inputs: tuple[Tensor, ...]) -> None:
        flat = inputs[0].flatten(0, -2).double().cpu()
        sums[number] += torch.stack([flat.sum(0), flat.square().sum(0)])
        counts[number] += len(flat)

    listening = [
        scale.register_forward_pre_hook(partial(add_up, number))
        for number, scale in enumerate(scales)
    ]
    pool()
    for scale, (total, squares), count, hook in zip(scales, sums, counts, listening, strict=True):
        hook.remove()
        mean = total / count
        scale.mean.copy_(mean)
        scale.spread.copy_((squares / count - mean**2).clamp(min=1e-8).sqrt())


@torch.no_grad()
def seed_words(model: VideoLM) -> None:
    """Start the words for colours and shapes where the text tower has them."""
    embedding: Any = model.llm.get_input_embeddings()
    table = embedding.weight
    table.mul_(_EMBEDDING_SPREAD / table.std())
    words = [*COLOURS, *KINDS]
    meanings = functional.normalize(model.embed_texts(words).float(), dim=-1)
    for word, meaning in zip(words, meanings, strict=True):
        ids = model.words.tokenizer.encode(word, add_special_tokens=False).ids
        if len(ids) == 1 and len(meaning) == table.shape[1]:
            table[ids[0]] = meaning * len(meaning) ** 0.5 * _EMBEDDING_SPREAD


@torch.no_grad()
def seed_attention(model: VideoLM) -> None:
    """Let half of the heads begin by looking at what is like the token that looks.

    Words and pooled tokens start from one space, so "red" then finds what is red; from queries
    and keys that have nothing to do with each other it would be long until two things that were
    pooled together are told apart.
    """
    settings: Any = model.llm.config
    width = settings.hidden_size // settings.num_attention_heads
    matching = width * (settings.num_attention_heads // 2)
    for layer in model.llm.model.layers:
        attention: Any = layer.self_attn
        if attention.k_proj.weight.shape != attention.q_proj.weight.shape:
            continue  # heads that share keys have none of their own
        rows = torch.empty_like(attention.q_proj.weight[:matching])
        for first in range(0, matching, width):
            nn.init.orthogonal_(rows[first : first + width])
        attention.q_proj.weight[:matching] = rows
        attention.k_proj.weight[:matching] = rows
