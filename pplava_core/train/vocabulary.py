"""The vocabulary of nano: learned from what is said in the rendered world."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pplava_core.models.language.tokenizer import train_tokenizer
from pplava_core.shapes import questions as world
from pplava_core.shapes.drawing import draw_scene
from pplava_core.shapes.prompts import long_prompt, with_lead_in
from pplava_core.shapes.scene import scene_seed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SCENES = 600


def world_tokenizer(*, vocab_size: int, seed: int) -> Tokenizer:
    """Learn a tokenizer from the training scenes' questions and answers."""
    return train_tokenizer(_texts(seed), vocab_size=vocab_size)


def _texts(seed: int) -> Iterator[str]:
    for number in range(_SCENES):
        scene = draw_scene(scene_seed("train", seed, number))
        rng = np.random.default_rng([seed, number])
        for question in [*world.ask(scene, rng, world.TYPES), *world.dialogue(scene, rng, 5)]:
            yield with_lead_in(question.text, rng)
            yield question.answer
        yield long_prompt("", rng, distractors=[f"the {thing.phrase}" for thing in scene.things])
