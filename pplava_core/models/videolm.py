"""A video language model: tower, aligner, pooling, projector, language model, in that order.

The same class holds nano and the large models; what differs between them is in the
backbone's adapter and the config. It takes tensors and words, never files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pplava_core import alignment, pooling, rivals
from pplava_core.errors import ShapeError, UsageError
from pplava_core.models import backbones
from pplava_core.models.config import VideoLMConfig
from pplava_core.models.dual_encoder import (
    DualEncoder,
    PatchHeadSettings,
    TextTowerSettings,
)
from pplava_core.models.tokenizer import END, PAD, START, as_words, encode_texts, special_id
from pplava_core.types import Clip, PatchGrid, VisualTokens
from pplava_core.window import Size, Window

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FRAMES_PER_BATCH = 16
WEIGHTINGS = (*pooling.WEIGHTINGS, "average", "max", "none")
"Every way from a grid to tokens that `visual_tokens` knows."


class VideoLM(nn.Module):
    """A question about a patch grid becomes a prompt that the language model can answer.

    Args:
        config: what to build.
        tokenizer: shared by the text tower and the language model.
        revision: hash of the model folder's contents; names its features in caches.
    """

    def __init__(self, config: VideoLMConfig, tokenizer: Tokenizer, revision: str = "") -> None:
        super().__init__()
        from transformers import LlamaConfig, LlamaForCausalLM

        self.config = config
        self.tokenizer = tokenizer
        self.revision = revision
        self.adapter = backbones.adapter(config.backbone)
        self.parts = self.adapter.build(config)
        self.aligner = DualEncoder(
            TextTowerSettings(**config.aligner["text"]),
            PatchHeadSettings(**config.aligner["patches"]),
        )
        self.llm = LlamaForCausalLM(LlamaConfig(**{**config.llm, "attn_implementation": "sdpa"}))
        self.pad_id, self.start_id, self.end_id = (
            special_id(tokenizer, token) for token in (PAD, START, END)
        )

    @property
    def name(self) -> str:
        """The model's name, from its config."""
        return self.config.name

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return next(self.parameters()).dtype

    @property
    def context_length(self) -> int:
        """Positions of the language model: visual tokens, words and answer together."""
        return int(self.llm.config.max_position_embeddings)

    @torch.inference_mode()
    def encode(self, clip: Clip, progress: Callable[[int, int], None] | None = None) -> PatchGrid:
        """Turn a clip's frames into its patch grid, a few frames at a time.

        Args:
            clip: frames of the size that ``config.pixels`` asks for.
            progress: called with frames done and frames in all.

        Raises:
            ShapeError: the frames have another size.
        """
        wanted = (self.config.pixels.height, self.config.pixels.width)
        if clip.frames.shape[1:3] != wanted:
            raise ShapeError(f"frames are {clip.frames.shape[1:3]}; {self.name} reads {wanted}")
        features = []
        for start in range(0, len(clip.frames), FRAMES_PER_BATCH):
            batch = torch.from_numpy(clip.frames[start : start + FRAMES_PER_BATCH])
            features.append(self.parts.tower(batch.permute(0, 3, 1, 2).to(self.device)))
            if progress:
                progress(min(start + FRAMES_PER_BATCH, len(clip.frames)), len(clip.frames))
        return PatchGrid(features=torch.cat(features), seconds=clip.seconds, source=clip.source)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return the text tower's embeddings, ``(B, E)``."""
        length = self.aligner.context_length
        rows = encode_texts(self.tokenizer, texts, max_length=length)
        ids, mask = pad_rows(rows, self.pad_id)
        return self.aligner.embed_text(ids.to(self.device), mask.to(self.device))

    def relevance(self, features: Tensor, texts: Sequence[str]) -> Tensor:
        """Score every patch of each clip against that clip's text (Eq. 1).

        Args:
            features: ``(B, T, H, W, D)``.
            texts: B texts.

        Returns:
            ``(B, T, H, W)`` float32 that sums to 1 over each clip.
        """
        patches = self.aligner.embed_patches(features)
        scale = self.aligner.logit_scale.exp()
        return alignment.relevance(patches, self.embed_texts(texts), logit_scale=scale)

    def visual_tokens(
        self,
        features: Tensor,
        relevance: Tensor | None,
        *,
        window: Window | None = None,
        weighting: str | None = None,
    ) -> VisualTokens:
        """Pool grids by relevance and project them into the language model's space.

        Args:
            features: ``(B, T, H, W, D)``.
            relevance: ``(B, T, H, W)``; not needed for `average`, `max` and `none`.
            window: what to merge; the config's for films if None.
            weighting: one of `WEIGHTINGS`; the config's if None.

        Returns:
            Tokens ``(B, N, D_llm)``.

        Raises:
            UsageError: the weighting is unknown.
            ShapeError: the window is larger than the grid.
        """
        weighting = weighting or self.config.weighting
        frames, rows, columns = features.shape[1:4]
        grid_size: Size = (frames, rows, columns)
        window = Window((1, 1, 1)) if weighting == "none" else window or self.config.window
        pooled = self._pooled(features, relevance, window, weighting)
        aligned = nn.functional.normalize(self.aligner.embed_patches(pooled), dim=-1)
        tokens = self.parts.project(pooled, aligned, grid_size, window)
        return VisualTokens(tokens=tokens, grid_size=window.output_size(grid_size))

    def _pooled(
        self, features: Tensor, relevance: Tensor | None, window: Window, weighting: str
    ) -> Tensor:
        if weighting == "none":
            return features
        if weighting == "max":
            return rivals.max_pool(features, window=window)
        if weighting == "average":
            return pooling.pool(features, None, window=window)
        if weighting not in pooling.WEIGHTINGS:
            known = ", ".join(WEIGHTINGS)
            raise UsageError(f"unknown weighting {weighting!r}; choose one of: {known}")
        return pooling.pool(
            features,
            relevance,
            window=window,
            weighting=weighting,
            temperature=self.config.pooling_temperature,
        )

    def prompt_ids(self, question: str, history: Sequence[tuple[str, str]] = ()) -> list[int]:
        """Return the ids that follow the visual tokens and precede the answer."""
        said = [(as_words(asked), as_words(answered)) for asked, answered in history]
        text = self.adapter.prompt(as_words(question), said)
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def prompt_embeddings(self, tokens: Tensor, ids: Tensor) -> Tensor:
        """Put the start token before and the prompt after visual tokens.

        Args:
            tokens: ``(B, N, D_llm)``.
            ids: ``(B, L)``.

        Returns:
            ``(B, 1 + N + L, D_llm)``.
        """
        embed = self.llm.get_input_embeddings()
        start = embed(torch.full((len(ids), 1), self.start_id, device=ids.device))
        words = embed(ids)
        return torch.cat([start.to(tokens.dtype), tokens, words.to(tokens.dtype)], dim=1)


def pad_rows(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return ids ``(B, L)`` padded on the right, and the mask of what is not padding."""
    length = max(len(row) for row in rows)
    ids = torch.full((len(rows), length), pad_id)
    mask = torch.zeros((len(rows), length), dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = True
    return ids, mask
