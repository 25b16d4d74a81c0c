"""A video language model: tower, aligner, pooling, projector, language model, in that order.

The same class holds nano and the large models; what differs between them is in the
backbone's adapter and the config. It takes tensors and words, never files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from pplava_core import pooling, rivals
from pplava_core.errors import ModelError, ShapeError, UsageError
from pplava_core.models.config import VideoLMConfig
from pplava_core.models.dual_encoder import DualEncoder
from pplava_core.models.language.words import VISUAL_ID, Words
from pplava_core.types import Clip, ClipSource, InputKind, PatchGrid, VisualTokens
from pplava_core.window import Size, Window

WEIGHTINGS = (*pooling.WEIGHTINGS, "average", "max", "none", "native")
"Every way from a grid to tokens that `visual_tokens` knows."
UNGUIDED = ("average", "max", "none", "native")
"Those that do without relevance, and so without an aligner."


class VideoLM(nn.Module):
    """A question about a patch grid becomes a prompt that the language model can answer.

    Args:
        config: what it is.
        parts: what stands between a film and the language model; see `backbones`.
        aligner: scores patches against texts; None where a base model has none.
        llm: a language model of transformers that takes embeddings.
        words: its tokenizer, and the aligner's.
        revision: hash of the model folder's contents; names its features in caches.
    """

    def __init__(
        self,
        config: VideoLMConfig,
        *,
        parts: Any,
        aligner: DualEncoder | None,
        llm: Any,
        words: Words,
        revision: str = "",
    ) -> None:
        super().__init__()
        for setting, taken in (
            ("tells_magnitude", "takes_magnitudes"),
            ("tells_average", "takes_averages"),
            ("tells_count", "takes_counts"),
            ("tells_list", "takes_lists"),
        ):
            if getattr(config, setting) and not getattr(parts, taken, False):
                what = taken.removeprefix("takes_")
                raise ModelError(
                    f"{config.name}: {setting} is for models whose projector takes {what}"
                )
        self.config = config
        self.parts = parts
        self.aligner: Any = aligner
        self.llm = llm
        self.words = words
        self.revision = revision

    @property
    def name(self) -> str:
        """The model's name, from its config."""
        return self.config.name

    @property
    def device(self) -> torch.device:
        """Where the language model takes its input."""
        return cast(torch.device, self.llm.get_input_embeddings().weight.device)

    @property
    def dtype(self) -> torch.dtype:
        """Number format in which it computes."""
        return cast(torch.dtype, self.llm.get_input_embeddings().weight.dtype)

    @property
    def context_length(self) -> int:
        """Positions of the language model: visual tokens, words and answer together."""
        return int(self.llm.config.get_text_config().max_position_embeddings)

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
        count, kind = len(clip.frames), clip.source.kind
        together = self.parts.frames_together(kind, count)
        for start in range(0, count, together):
            batch = torch.from_numpy(clip.frames[start : start + together]).permute(0, 3, 1, 2)
            features.append(self.parts.encode_pictures(batch.to(self.device), kind))
            if progress:
                progress(min(start + together, count), count)
        return PatchGrid(features=torch.cat(features), seconds=clip.seconds, source=clip.source)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return the text tower's embeddings, ``(B, E)``.

        Raises:
            ModelError: the model has no aligner.
        """
        aligner = self._aligner()
        ids, mask = self.words.alignment_ids(texts, aligner.context_length)
        return aligner.embed_text(
            ids.to(aligner.device), None if mask is None else mask.to(aligner.device)
        )

    def guide(self, question: str, earlier: Sequence[str]) -> str:
        """Return the text that pools the grid for a question of a conversation.

        Args:
            question: the one to be answered.
            earlier: those before it, the oldest first; the oldest are left out where the
                aligner could not read to the end.
        """
        for first in range(len(earlier)):
            text: str = self.parts.guide(question, earlier[first:])
            if text == question or self.aligner is None:
                return text
            longest = self.aligner.context_length
            if self.words.alignment_ids([text], longest + 1)[0].shape[1] <= longest:
                return text
        return question

    def embed_patches(self, features: Tensor) -> Tensor:
        """Return the aligner's view of ``(B, T, H, W, D)`` features, ``(B, T, H, W, E)``.

        Raises:
            ModelError: the model has no aligner.
        """
        aligner = self._aligner()
        return aligner.embed_patches(features.to(aligner.device, aligner.dtype))

    def read_things(self, features: Tensor) -> Tensor | None:
        """Return which things each patch holds, ``(B, T, H, W, K)``; None where none are read.

        Args:
            features: ``(B, T, H, W, D)``.
        """
        if not self.config.tells_list:
            return None
        things: Tensor = self.parts.read_things(features)
        return things

    def relevance(
        self, features: Tensor, texts: Sequence[str], *, patches: Tensor | None = None
    ) -> Tensor:
        """Score every patch of each clip against that clip's text (Eq. 1).

        Args:
            features: ``(B, T, H, W, D)``.
            texts: B texts.
            patches: what `embed_patches` makes of the features, where it is known already.

        Returns:
            ``(B, T, H, W)`` float32 that sums to 1 over each clip; see `DualEncoder.relevance`
            for the one exception.

        Raises:
            ModelError: the model has no aligner.
        """
        patches = self.embed_patches(features) if patches is None else patches
        return self._aligner().score(patches, self.embed_texts(texts), features)

    def _aligner(self) -> DualEncoder:
        if self.aligner is None:
            raise ModelError(
                f"{self.name} has no aligner, so nothing tells it what a question is about: "
                "use --pooling average, or train an aligner/ for its folder with `pplava train` "
                "(stage align_base, docs/training.md)"
            )
        return cast(DualEncoder, self.aligner)

    def visual_tokens(
        self,
        features: Tensor,
        relevance: Tensor | None,
        *,
        window: Window | None = None,
        weighting: str | None = None,
        source: ClipSource | None = None,
        clip_of: Tensor | None = None,
        things: Tensor | None = None,
    ) -> VisualTokens:
        """Pool grids by relevance and project them into the language model's space.

        Args:
            features: ``(B, T, H, W, D)``, or as many as there are clips where `clip_of` is given.
            relevance: ``(B, T, H, W)``; not needed for those of `UNGUIDED`.
            window: what to merge; the config's for films if None.
            weighting: one of `WEIGHTINGS`; the config's if None.
            source: what the clip is, where its kind matters to the arrangement.
            clip_of: ``(B,)``: of which clip each map is, where clips are asked several things.
            things: what `read_things` makes of the features, where it is known already.

        Returns:
            Tokens ``(B, N, D_llm)``.

        Raises:
            UsageError: the weighting is unknown, or the base model has no path of its own.
            ShapeError: the window is larger than the grid.
        """
        weighting = weighting or self.config.weighting
        if weighting not in WEIGHTINGS:
            known = ", ".join(WEIGHTINGS)
            raise UsageError(f"unknown weighting {weighting!r}; choose one of: {known}")
        if weighting == "native":
            features = features if clip_of is None else features[clip_of]
            return cast(VisualTokens, self.parts.native(features, source))
        grid_size = _grid_size(features)
        window = Window((1, 1, 1)) if weighting == "none" else window or self.config.window
        if self.config.projector_order == "pool_first":
            things = self.read_things(features) if things is None else things
            tokens = self._pool_then_project(
                features, relevance, window, weighting, clip_of, things
            )
        else:
            features = features if clip_of is None else features[clip_of]
            tokens = self._project_then_pool(features, relevance, window, weighting)
        return cast(VisualTokens, self.parts.arrange(tokens, window.output_size(grid_size), source))

    def _pool_then_project(
        self,
        clips: Tensor,
        relevance: Tensor | None,
        window: Window,
        weighting: str,
        clip_of: Tensor | None,
        things: Tensor | None,
    ) -> Tensor:
        """Return ``(B, N, D_llm)`` in the paper's order, which is also the cheapest."""

        def each(of_clips: Tensor) -> Tensor:
            return of_clips if clip_of is None else of_clips[clip_of]

        features = each(clips)
        pooled = self._pooled(features, relevance, window, weighting)
        aligned = None
        if self.parts.takes_aligned:
            aligned = nn.functional.normalize(self.embed_patches(pooled), dim=-1)
        told = {}
        if self.config.tells_magnitude:
            told["magnitudes"] = self._magnitudes(features, relevance, window)
        if self.config.tells_average:
            told["averages"] = each(pooling.pool(clips, None, window=window))
        if things is not None:
            told["held"] = each(pooling.pool(things, None, window=window))
        grid_size = _grid_size(features)
        tokens: Tensor = self.parts.project(pooled, aligned, grid_size, window, **told)
        return tokens

    def _magnitudes(self, features: Tensor, relevance: Tensor | None, window: Window) -> Tensor:
        """Return ``(B, T', H', W')``; all windows are alike where nothing was scored."""
        if relevance is None:
            return features.new_ones(len(features), *window.output_size(_grid_size(features)))
        return pooling.window_magnitudes(relevance.to(features.device), window=window)

    def _project_then_pool(
        self, features: Tensor, relevance: Tensor | None, window: Window, weighting: str
    ) -> Tensor:
        """Return ``(B, N, D_llm)`` in the released checkpoints' order.

        Only what is not linear has to come before the pooling: a weighted sum passes
        through the projector's last layer, which then runs on far fewer tokens.
        """
        hidden = self.parts.before_last_layer(features)
        if weighting == "max":
            return rivals.max_pool(self.parts.last_layer(hidden), window=window).flatten(1, 3)
        pooled = self._pooled(hidden, relevance, window, weighting)
        sums = None
        if weighting == "literal":
            assert relevance is not None
            sums = pooling.window_weights(relevance, window=window, weighting=weighting)
            sums = sums.sum((-3, -2, -1))
        tokens: Tensor = self.parts.last_layer(pooled, sums)
        return tokens.flatten(1, 3)

    def _pooled(
        self, features: Tensor, relevance: Tensor | None, window: Window, weighting: str
    ) -> Tensor:
        if weighting == "none":
            return features
        if weighting == "max":
            return rivals.max_pool(features, window=window)
        if weighting == "average":
            return pooling.pool(features, None, window=window)
        assert relevance is not None
        return pooling.pool(
            features,
            relevance.to(features.device),
            window=window,
            weighting=weighting,
            temperature=self.config.pooling_temperature,
        )

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
        """Return a whole prompt, `words.VISUAL_ID` at each block's place; see `words.Words`."""
        return self.words.prompt_ids(
            question,
            history,
            kind=kind,
            blocks=blocks,
            system=system,
            answer_prefix=answer_prefix,
        )

    def prompt_embeddings(
        self, tokens: Tensor, ids: Tensor, block_sizes: Sequence[int] | None = None
    ) -> Tensor:
        """Put visual tokens at their places between the words.

        Args:
            tokens: ``(B, N, D_llm)``.
            ids: ``(B, L)`` of `prompt_ids`; the places are the same in every row.
            block_sizes: how N is split over the places; None is all at one.

        Returns:
            ``(B, L - places + N, D_llm)``.

        Raises:
            ShapeError: there are more places than blocks, or fewer.
        """
        sizes = [tokens.shape[1]] if block_sizes is None else list(block_sizes)
        blocks = torch.split(tokens, sizes, dim=1)
        places = torch.eq(ids[0], VISUAL_ID).nonzero().flatten().tolist()
        if len(places) != len(blocks):
            raise ShapeError(f"{len(blocks)} blocks of visual tokens for {len(places)} places")
        words = self.llm.get_input_embeddings()(ids.clamp(min=0)).to(tokens.dtype)
        pieces, start = [], 0
        for place, block in zip(places, blocks, strict=True):
            pieces += [words[:, start:place], block.to(words.device)]
            start = place + 1
        return torch.cat([*pieces, words[:, start:]], dim=1)


def _grid_size(features: Tensor) -> Size:
    frames, rows, columns = features.shape[1:4]
    return frames, rows, columns
