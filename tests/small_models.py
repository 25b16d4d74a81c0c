"""Very small models and recipes: the real classes at widths that a test can afford.

Their answers mean nothing; everything else about them is as in a real model.
"""

from __future__ import annotations

import copy
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pplava_core.models.checkpoint import build_model
from pplava_core.models.config import VideoLMConfig
from pplava_core.models.language.tokenizer import train_tokenizer
from pplava_core.models.videolm import VideoLM
from pplava_core.shapes import dataset
from pplava_core.shapes.drawing import draw_scene
from pplava_core.shapes.film import encode_mp4
from pplava_core.shapes.questions import TYPES, ask

PICTURE_SIZE, GRID_SIZE, WIDTH = 48, 6, 16

MODEL_TABLE: dict[str, Any] = {
    "name": "small",
    "backbone": "nano",
    "description": "A model for tests.",
    "licence": "Apache-2.0",
    "vocab_size": 320,
    "num_frames": 4,
    "weighting": "literal",
    "projector_hidden_size": 24,
    "pixels": {"height": PICTURE_SIZE, "width": PICTURE_SIZE, "resize": "squash"},
    "window": {"kernel": [2, 2, 2]},
    "image_window": {"kernel": [1, 2, 2]},
    "tower": {
        "stem_channels": [4, 8, WIDTH],
        "places": [4, 3, 3],
        "vision": {
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "hidden_act": "gelu",
            "image_size": GRID_SIZE,
        },
    },
    "aligner": {
        "text": {
            "width": WIDTH,
            "layers": 1,
            "heads": 2,
            "embed_dim": WIDTH,
            "context_length": 77,
            "pooling": "eos",
            "eos_id": 2,
        },
        "patches": {"kind": "clip", "width": WIDTH, "embed_dim": WIDTH},
    },
    "llm": {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
}
"A recipe's [model] table."


@lru_cache(maxsize=1)
def small_tokenizer() -> Any:
    """Learn a vocabulary from a few scenes."""
    texts = []
    for number in range(40):
        for question in ask(draw_scene(number), np.random.default_rng(number), TYPES):
            texts += [question.text, question.answer]
    return train_tokenizer(texts, vocab_size=MODEL_TABLE["vocab_size"])


def small_config(**changes: Any) -> VideoLMConfig:
    """Return the config of the small model; top-level fields may be changed."""
    values = copy.deepcopy(MODEL_TABLE) | changes
    vocab_size = small_tokenizer().get_vocab_size()
    values.pop("vocab_size")
    values["llm"]["vocab_size"] = vocab_size
    values["aligner"]["text"]["vocab_size"] = vocab_size
    return VideoLMConfig.from_dict({"format": 1, **values})


def small_model(*, seed: int = 0, **changes: Any) -> VideoLM:
    """Build the small model with random weights, the same for the same seed."""
    torch.manual_seed(seed)
    return build_model(small_config(**changes), small_tokenizer(), revision=f"seed{seed}").eval()


def write_clip(path: Path, *, seed: int = 0, num_frames: int = 12, fps: float = 4.0) -> Path:
    """Write a film of noise that brightens, so that no two frames and no two seeds are alike."""
    noise = np.random.default_rng(seed).integers(0, 120, (num_frames, 48, 64, 3))
    frames = noise + np.linspace(0, 120, num_frames)[:, None, None, None]
    encode_mp4(frames.astype(np.uint8), path, fps=fps)
    return path


def plan_small_films(patch: pytest.MonkeyPatch) -> None:
    """Let datasets have films so small that a test can render them."""
    patch.setattr(dataset, "_USUAL", {"shorter": (48,), "fps": (4.0,)})
    unusual = {"shorter": (32,), "fps": (5.0,), "aspect": (0.5, 2.0)}
    patch.setattr(dataset, "_UNUSUAL", unusual)
    patch.setattr(dataset, "_REDUNDANT", {"shorter": (32,), "fps": (2.0,)})


def write_recipe(path: Path, *, drop: tuple[str, ...] = (), **tables: Any) -> Path:
    """Write an align recipe whose top-level keys and tables are changed by `tables`.

    A table given is merged into the one that is there; a value replaces the one that is there.
    Keys in `drop` are left out; a dot leads into a table.
    """
    values: dict[str, Any] = {
        "stage": "align",
        "output": str(path.parent / "run"),
        "seed": 3,
        "steps": 4,
        "evaluate_every": 2,
        "save_every": 2,
        "log_every": 1,
        "optimiser": {"learning_rate": 1e-3, "warmup_steps": 2},
        "data": {
            "clips_per_step": 2,
            "frames_per_clip": 2,
            "questions_per_clip": 2,
            "clips": 8,
            "still_share": 0.25,
        },
        "model": copy.deepcopy(MODEL_TABLE),
    }
    for name, value in tables.items():
        merges = isinstance(value, dict) and isinstance(values.get(name), dict)
        values[name] = {**values[name], **value} if merges else value
    for name in drop:
        *tables_above, key = name.split(".")
        table = values
        for above in tables_above:
            table = table[above]
        del table[key]
    path.write_text(_toml(values), encoding="utf-8")
    return path


def _toml(values: dict[str, Any], prefix: str = "") -> str:
    """Write plain values and tables as TOML."""
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for key, value in values.items():
        if isinstance(value, dict):
            lines += [f"[{prefix}{key}]", _toml(value, f"{prefix}{key}.")]
    return "\n".join(lines)
