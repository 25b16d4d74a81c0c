"""From a question made ready to its answer: streamed, or several together.

Knows a model and prompts as embeddings, with what is to be said of them in the answer; it
knows no clip and pools nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from pplava_core.models.language.generation import generate_batch, generate_ids
from pplava_core.models.language.generation_settings import Generation
from pplava_core.models.language.text_pieces import TextPieces, has_stop
from pplava_core.types import Answer, Moment, Timings
from pplava_core.window import Window

if TYPE_CHECKING:
    from pplava_core.models.videolm import VideoLM


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A question made ready for the language model, and what its answer will rest on."""

    question: str
    "As it was asked."
    guide: str
    "The text that pooled the grid; empty where none did."
    embeddings: Tensor
    "``(1, L, D)``: words and visual tokens."
    evidence: tuple[Moment, ...]
    "The moments that weighed most."
    patch_count: int
    "Patches before pooling."
    token_count: int
    "Visual tokens after it."
    window: Window | None
    "What was pooled together; None where every patch was passed."
    weighting: str
    "How relevance weighed."
    timings: Timings
    "What reading and encoding the clip cost."
    warnings: tuple[str, ...] = ()
    "What had to be left out, in words."


class AnswerStream:
    """An answer being written: iterate over its pieces of text, once, then take `answer`.

    Args:
        model: who answers.
        prompt: what is asked.
        generation: how to write.
        started_seconds: `time.perf_counter` when work on the question began; None is now.
    """

    def __init__(
        self,
        model: VideoLM,
        prompt: Prompt,
        generation: Generation,
        *,
        started_seconds: float | None = None,
    ) -> None:
        self._model, self._prompt, self._generation = model, prompt, generation
        self._started = time.perf_counter() if started_seconds is None else started_seconds
        self._pieces = TextPieces(model.words.decode, stop=generation.stop)
        self._begun = False
        self._stopping = self._interrupted = False
        self._answer: Answer | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What of the prompt had to be left out, in words."""
        return self._prompt.warnings

    def __iter__(self) -> Iterator[str]:
        """Yield pieces of text until the answer ends or is stopped.

        Raises:
            RuntimeError: somebody has read from the beginning already.
        """
        if self._begun:
            raise RuntimeError("an answer is written once: ask again, or take `answer`")
        self._begun = True
        ids = generate_ids(
            self._model.llm,
            self._prompt.embeddings,
            settings=self._generation,
            end_ids=self._model.words.end_ids,
            ended=self._ended,
        )
        for token_id in ids:
            piece = self._pieces.add(token_id)
            if piece:
                yield piece
        rest = self._pieces.finish()
        if rest:
            yield rest
        seconds = time.perf_counter() - self._started
        self._answer = _answer(
            self._prompt, self._pieces, self._generation, seconds, interrupted=self._interrupted
        )

    def stop(self) -> None:
        """End the answer after the token that is being written."""
        self._stopping = True

    @property
    def answer(self) -> Answer:
        """The whole answer; iterating must have ended.

        Raises:
            RuntimeError: the answer is still being written.
        """
        if self._answer is None:
            raise RuntimeError("the answer is still being written; iterate to its end first")
        return self._answer

    def _ended(self, ids: list[int]) -> bool:
        """Tell whether to write no further: a stop string is there, or someone wishes it.

        A beam search asks about answers of which nothing has come out as text yet.
        """
        if self._pieces.stopped or has_stop(ids, self._model.words.decode, self._generation.stop):
            return True
        self._interrupted = self._stopping
        return self._interrupted


def answer_together(
    model: VideoLM,
    prompts: Sequence[Prompt],
    generation: Generation,
    *,
    started_seconds: float | None = None,
) -> list[Answer]:
    """Answer several prompts at once, each as it would be answered alone.

    Arguments are those of `AnswerStream`; the time it took is shared out equally.
    """
    started = time.perf_counter() if started_seconds is None else started_seconds
    decode, stop = model.words.decode, generation.stop
    rows = generate_batch(
        model.llm,
        [prompt.embeddings[0] for prompt in prompts],
        settings=generation,
        end_ids=model.words.end_ids,
        ended=(lambda ids: has_stop(ids, decode, stop)) if stop else None,
    )
    seconds = (time.perf_counter() - started) / max(len(prompts), 1)
    answers = []
    for prompt, ids in zip(prompts, rows, strict=True):
        pieces = TextPieces(decode, stop=stop)
        for token_id in ids:
            pieces.add(token_id)
        pieces.finish()
        answers.append(_answer(prompt, pieces, generation, seconds, interrupted=False))
    return answers


def _answer(
    prompt: Prompt, pieces: TextPieces, generation: Generation, seconds: float, *, interrupted: bool
) -> Answer:
    stopped: Literal["end", "length", "interrupted"] = "end"
    if interrupted:
        stopped = "interrupted"
    elif len(pieces.ids) == generation.max_new_tokens and not pieces.stopped:
        stopped = "length"
    window = prompt.window
    return Answer(
        text=pieces.text,
        question=prompt.question,
        guide=prompt.guide,
        evidence=prompt.evidence,
        patch_count=prompt.patch_count,
        token_count=prompt.token_count,
        text_token_count=len(pieces.ids),
        window=None if window is None else (window.kernel, window.step),
        weighting=prompt.weighting,
        timings=Timings(
            decode_seconds=prompt.timings.decode_seconds,
            encode_seconds=prompt.timings.encode_seconds,
            generate_seconds=seconds,
        ),
        stopped=stopped,
        warnings=prompt.warnings,
    )
