"""Prompts and questions as token ids, whatever tokenizer a model has.

A prompt's ids hold `VISUAL_ID` wherever a block of visual tokens will stand. Knows no
embeddings and no pictures; how a prompt is worded is in `prompts`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from pplava_core.errors import ModelError
from pplava_core.models.language.prompts import VISUAL, Template

if TYPE_CHECKING:
    from torch import Tensor

    from pplava_core.types import InputKind

VISUAL_ID = -1
"Stands in a prompt's ids for one block of visual tokens; no vocabulary has it."


class Words(Protocol):
    """What a model does with text."""

    tokenizer: Any
    pad_id: int

    @property
    def end_ids(self) -> Collection[int]:
        """Ids of which any ends an answer."""

    @property
    def vocabulary_size(self) -> int:
        """Tokens that the tokenizer knows."""

    def prompt_ids(
        self,
        question: str,
        history: Sequence[tuple[str, str]] = (),
        *,
        kind: InputKind = "video",
        blocks: int = 1,
        system: str | None = None,
        answer_prefix: str = "",
    ) -> list[int]:
        """Return a whole prompt, with `VISUAL_ID` once for each block of visual tokens.

        Args:
            question: what is asked.
            history: earlier questions and answers, the oldest first.
            kind: what is shown: ``video``, ``image`` or ``images``.
            blocks: how many blocks of visual tokens there are.
            system: instructions that stand before all else, where the form has a place for them.
            answer_prefix: the answer's first words, given to the model.
        """

    def alignment_ids(self, texts: Sequence[str], max_length: int) -> tuple[Tensor, Tensor | None]:
        """Return texts for the text tower, ``(B, L)``, and the mask of what is no padding."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of ids, without control tokens."""

    def save(self, folder: Path) -> None:
        """Write what `load` of the same kind would read."""


class TransformersWords:
    """Words of a model whose tokenizers are transformers' own.

    Args:
        tokenizer: the language model's.
        aligner_tokenizer: the text tower's, or None without one.
        template: how prompts are worded.
        visual_token: what the language model's tokenizer calls a picture's place.
        end_ids: ids that end an answer.
        pad_texts_fully: fill every text to the tower's length (SigLIP reads its last position).
    """

    def __init__(
        self,
        tokenizer: Any,
        aligner_tokenizer: Any,
        template: Template,
        *,
        visual_token: str,
        end_ids: Collection[int],
        pad_texts_fully: bool = False,
    ) -> None:
        self.tokenizer, self.aligner_tokenizer = tokenizer, aligner_tokenizer
        self.template, self.visual_token = template, visual_token
        self.end_ids: frozenset[int] = frozenset(end_ids)
        self.pad_id = int(tokenizer.pad_token_id or 0)
        self.pads_texts_fully = pad_texts_fully
        self._visual_id = tokenizer.convert_tokens_to_ids(visual_token)
        if self._visual_id is None or self._visual_id == tokenizer.unk_token_id:
            raise ModelError(
                f"the tokenizer does not know {visual_token}, the place of a picture; "
                "its files belong to another model"
            )
        self._controls = {VISUAL, visual_token, *_added_tokens(tokenizer)}

    @property
    def vocabulary_size(self) -> int:
        """Tokens that the tokenizer knows."""
        return len(self.tokenizer)

    def prompt_ids(
        self,
        question: str,
        history: Sequence[tuple[str, str]] = (),
        *,
        kind: InputKind = "video",
        blocks: int = 1,
        system: str | None = None,
        answer_prefix: str = "",
    ) -> list[int]:
        """Return a whole prompt; see `Words.prompt_ids`."""
        said = [(self._as_words(asked), self._as_words(answered)) for asked, answered in history]
        text = self.template.render(
            self._as_words(question),
            history=said,
            visuals=blocks,
            kind=kind,
            system=None if system is None else self._as_words(system),
            answer_prefix=answer_prefix,
        )
        ids = self.tokenizer(text.replace(VISUAL, self.visual_token)).input_ids
        return [VISUAL_ID if token == self._visual_id else token for token in ids]

    def alignment_ids(self, texts: Sequence[str], max_length: int) -> tuple[Tensor, Tensor | None]:
        """Return texts for the text tower, ``(B, L)``, and the mask where the tokenizer has one."""
        controls = _added_tokens(self.aligner_tokenizer)
        words = [without_controls(text, controls) for text in texts]
        return tower_ids(self.aligner_tokenizer, words, max_length, self.pads_texts_fully)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of ids, without control tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def save(self, folder: Path) -> None:
        """Write the language model's tokenizer into a folder."""
        self.tokenizer.save_pretrained(folder)

    def _as_words(self, text: str) -> str:
        return without_controls(text, self._controls)


def without_controls(text: str, controls: Collection[str]) -> str:
    """Take the brackets off control tokens in what a person wrote, so that they control nothing.

    Again and again, until none is left: what is left of ``<<end>>`` is one, too.
    """
    bare = {token: token.strip("<|>[]/") for token in controls}
    bracketed = {token: inside for token, inside in bare.items() if inside != token}
    while any(token in text for token in bracketed):
        for token in sorted(bracketed, key=len, reverse=True):
            text = text.replace(token, bracketed[token])
    return text


def _added_tokens(tokenizer: Any) -> set[str]:
    return {str(token) for token in tokenizer.added_tokens_decoder.values()}


def tower_ids(
    tokenizer: Any, texts: Sequence[str], max_length: int, pads_fully: bool
) -> tuple[Tensor, Tensor | None]:
    """Return texts as ids ``(B, L)`` of a text tower, and the mask where its tokenizer has one.

    Args:
        tokenizer: the tower's, of transformers.
        texts: longer ones are cut.
        max_length: the tower's positions.
        pads_fully: fill every text to that length, and not only to the longest.
    """
    encoded = tokenizer(
        list(texts),
        padding="max_length" if pads_fully else True,
        truncation=True,
        max_length=max_length,
        return_tensors="pt",
    )
    return encoded["input_ids"], encoded.get("attention_mask")


def pad_rows(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return ids ``(B, L)`` padded on the right, and the mask of what is not padding."""
    length = max(len(row) for row in rows)
    ids = torch.full((len(rows), length), pad_id)
    mask = torch.zeros((len(rows), length), dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = True
    return ids, mask
