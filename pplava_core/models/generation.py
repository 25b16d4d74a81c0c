"""Writing an answer token by token. Knows prompts as embeddings, and no video.

The loop is pulled by whoever reads the words, so that an answer can be stopped between
two tokens and nothing is computed that nobody waits for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pplava_core.errors import UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_UNFINISHED = "\ufffd"
_LEAST_TEMPERATURE = 1e-6
"Below this the likeliest token wins every draw, and float32 would overflow."


@dataclass(frozen=True, kw_only=True)
class Generation:
    """How answers are written."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    "0 takes the most likely token; above, tokens are drawn."
    seed: int = 0
    "Decides the draws; the same seed gives the same answer on the same machine."

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UsageError(f"max_new_tokens is {self.max_new_tokens}: ask for at least 1")
        if not 0.0 <= self.temperature < float("inf"):
            raise UsageError(f"temperature is {self.temperature}: it must be 0 or more")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed is {self.seed}: it must be from 0 to {2**63 - 1}")


@torch.inference_mode()
def generate_ids(
    llm: Any, embeddings: Tensor, *, settings: Generation, end_id: int
) -> Iterator[int]:
    """Yield the ids of an answer, without the end mark.

    Args:
        llm: a causal language model of transformers.
        embeddings: ``(1, L, D)``: the whole prompt.
        settings: length and randomness.
        end_id: stops the answer.
    """
    generator = torch.Generator(embeddings.device).manual_seed(settings.seed)
    cache, inputs = None, {"inputs_embeds": embeddings}
    for _ in range(settings.max_new_tokens):
        output = llm(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        chosen = _choose(output.logits[0, -1].float(), settings.temperature, generator)
        if chosen == end_id:
            return
        yield chosen
        cache = output.past_key_values
        inputs = {"input_ids": torch.tensor([[chosen]], device=embeddings.device)}


class TextPieces:
    """Turns ids into text piece by piece; a character of several tokens comes out whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.ids: list[int] = []
        self.text = ""

    def add(self, token_id: int) -> str:
        """Take one more id and return the text it completes, perhaps none."""
        self.ids.append(token_id)
        text = self.tokenizer.decode(self.ids, skip_special_tokens=True).lstrip()
        if text.endswith(_UNFINISHED):
            return ""
        return self._advance(text)

    def finish(self) -> str:
        """Return what was held back: the beginning of a character that never ended."""
        return self._advance(self.tokenizer.decode(self.ids, skip_special_tokens=True).lstrip())

    def _advance(self, text: str) -> str:
        piece, self.text = text[len(self.text) :], text
        return piece


def _choose(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature < _LEAST_TEMPERATURE:
        return int(logits.argmax())
    shares = (logits / temperature).softmax(-1)
    return int(torch.multinomial(shares, 1, generator=generator))
