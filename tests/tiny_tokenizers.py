"""Tokenizers as model folders carry them, learnt from a few sentences in a moment."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import small_tokenizers

_CLIP_MERGES = 120
SIGLIP_VOCABULARY = 90


def language_tokenizer(text_type: str) -> Any:
    """Return a language model's tokenizer: SentencePiece-like for llama and mistral, else bytes.

    It knows ``<image>`` and ``<video>``, and the control tokens of the model's prompts.
    """
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    is_llama = text_type in ("llama", "mistral")
    base = small_tokenizers.llama_style() if is_llama else small_tokenizers.byte_level()
    base = Tokenizer.from_str(base.to_str())
    more = ["<pad>"] if is_llama else ["<|endoftext|>", "<|im_start|>"]
    base.add_special_tokens([*more, "<image>", "<video>"])
    if is_llama:
        start = ("<s>", base.token_to_id("<s>"))
        base.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[start]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=base,
        bos_token="<s>" if is_llama else None,
        eos_token="</s>" if is_llama else "<|im_end|>",
        unk_token="<unk>" if is_llama else None,
        pad_token="<pad>" if is_llama else "<|endoftext|>",
    )


def clip_tokenizer() -> Any:
    """Return CLIP's tokenizer with few merges; its end mark has the highest id."""
    from transformers import CLIPTokenizer

    from pplava_core.models.open_clip_parts import read_merges

    vocabulary, merges = read_merges()
    tokens = [*list(vocabulary)[: 512 + _CLIP_MERGES], "<|startoftext|>", "<|endoftext|>"]
    numbered = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=numbered, merges=merges[:_CLIP_MERGES], model_max_length=77)


def write_siglip_tokenizer(folder: Path) -> None:
    """Write SigLIP's tokenizer, a SentencePiece model, into a folder."""
    import sentencepiece
    from transformers import SiglipTokenizer

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(small_tokenizers.SENTENCES * 4),
        model_writer=model,
        vocab_size=SIGLIP_VOCABULARY,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "spiece.model"
    path.write_bytes(model.getvalue())
    SiglipTokenizer(str(path), model_max_length=64).save_pretrained(folder)
