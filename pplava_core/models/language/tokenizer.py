"""The tokenizer that nano's text tower and language model share.

Byte-level BPE from the `tokenizers` library, so that any text can be written, with the
words of the rendered world as whole tokens. `NanoWords` puts prompts together with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pplava_core.errors import ModelError
from pplava_core.models.backbones.nano import ASSISTANT, USER, prompt
from pplava_core.models.backbones.nano import END as END
from pplava_core.models.language.words import VISUAL_ID, pad_rows, without_controls

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

    from pplava_core.types import InputKind

PAD, START = "<pad>", "<start>"
SPECIAL_TOKENS = (PAD, START, END, USER, ASSISTANT)
FILE_NAME = "tokenizer.json"


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """Learn a byte-level BPE vocabulary; the same texts give the same vocabulary."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read a model folder's tokenizer.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    from tokenizers import Tokenizer

    path = folder / FILE_NAME
    if not path.is_file():
        raise ModelError(f"{folder} has no {FILE_NAME}; the model folder is incomplete")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise ModelError(f"{path} is not a tokenizer: {error}") from error
    for token in SPECIAL_TOKENS:
        special_id(tokenizer, token)
    return tokenizer


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """Return the id of one of `SPECIAL_TOKENS`.

    Raises:
        ModelError: the tokenizer lacks it.
    """
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ModelError(f"the tokenizer lacks {token}; {FILE_NAME} belongs to another model")
    return found


def as_words(text: str) -> str:
    """Take the brackets off nano's control tokens in what a person wrote."""
    return without_controls(text, SPECIAL_TOKENS)


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str], *, max_length: int) -> list[list[int]]:
    """Return the ids of questions for the text tower: start, words, end, cut to fit."""
    start, end = special_id(tokenizer, START), special_id(tokenizer, END)
    encoded = tokenizer.encode_batch(list(map(as_words, texts)), add_special_tokens=False)
    return [[start, *item.ids[: max_length - 2], end] for item in encoded]


class NanoWords:
    """Prompts and questions of nano as ids: see `words.Words`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.pad_id, self.start_id, self.end_id = (
            special_id(tokenizer, token) for token in (PAD, START, END)
        )
        self.end_ids = frozenset({self.end_id})

    @property
    def vocabulary_size(self) -> int:
        """Tokens that the tokenizer knows."""
        return int(self.tokenizer.get_vocab_size())

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
        """Return start, the places of the visual tokens, then the words."""
        said = [(as_words(asked), as_words(answered)) for asked, answered in history]
        asked = f"{system} {question}" if system else question
        text = prompt(as_words(asked), said) + answer_prefix
        words = self.tokenizer.encode(text, add_special_tokens=False).ids
        return [self.start_id, *[VISUAL_ID] * blocks, *words]

    def alignment_ids(self, texts: Sequence[str], max_length: int) -> tuple[Tensor, Tensor]:
        """Return the texts for the text tower, ``(B, L)``, and the mask of what is no padding."""
        return pad_rows(encode_texts(self.tokenizer, texts, max_length=max_length), self.pad_id)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of ids."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def save(self, folder: Path) -> None:
        """Write the tokenizer into a model folder."""
        self.tokenizer.save(str(folder / FILE_NAME))
