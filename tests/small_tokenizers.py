"""Two tokenizers of the manners that language models have, learnt from a few sentences."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

SENTENCES = (
    "a red circle moves to the left of the blue square.",
    "how many objects are there? there are three objects: one, two, three.",
    "the end of the film\n\nUSER: and then? ASSISTANT: the the the",
)
CONTROL = ("<unk>", "<s>", "</s>", "<|im_end|>")


@lru_cache(maxsize=1)
def llama_style() -> Any:
    """Words begin with ▁, what is not in the vocabulary is written byte by byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    bytes_of_all = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=[*CONTROL, *bytes_of_all], show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    # bytes are in the vocabulary, but only control tokens are left out of a text
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [one for one in state["added_tokens"] if one["content"] in CONTROL]
    return Tokenizer.from_str(json.dumps(state))


@lru_cache(maxsize=1)
def byte_level() -> Any:
    """Every token is a string of bytes, as in GPT-2 and Qwen2."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer
