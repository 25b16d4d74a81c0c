"""The rendered world's own test: real files, greedy answers, and where the model looked.

Films are asked about one after the other; each is read once. What is right is told by
`shapes_scoring`, where the relevance lies by `shapes_pointing`, and the figures of it all are in
`shapes_tables`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pplava_core.evals.benchmarks.shapes_pointing import (
    all_brief,
    pointing_of,
    shown_by_thing,
    timing_of,
)
from pplava_core.evals.benchmarks.shapes_scoring import Scored, score
from pplava_core.session import Generation, PoolingChoice, Session, Turn
from pplava_core.shapes.dataset import Item
from pplava_core.types import Answer, Sampling

if TYPE_CHECKING:
    from pplava_core.feature_cache import FeatureCache
    from pplava_core.models.videolm import VideoLM

__all__ = ["Scored", "score_items", "set_of"]

_MAX_NEW_TOKENS = 160
"A description of every thing fits."
_BATCH_SIZE = 8


def score_items(
    items: Sequence[Item],
    folder: Path,
    model: VideoLM,
    *,
    pooling: PoolingChoice | None = None,
    cache: FeatureCache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Scored]:
    """Ask a model every question about the films of a folder, greedily.

    A film is sampled as its set wants it. Where questions make up a conversation, the later
    ones are asked after the earlier ones and the model's own answers to them.

    Args:
        items: questions, those about one film next to each other.
        folder: where the films are.
        model: who answers.
        pooling: window and weighting; None is the model's own.
        cache: where patch grids are kept.
        progress: called with questions done and in all.

    Raises:
        InputError: a film cannot be read.
        UsageError: the pooling does not fit a film.
    """
    scored: list[Scored] = []
    for _, of_film in groupby(items, key=lambda item: item.film.number):
        group = list(of_film)
        film = group[0].film
        sampling = None if film.sampling_fps is None else Sampling(least_fps=film.sampling_fps)
        path = folder / film.file_name
        session = Session.open([path], model, sampling=sampling, cache=cache)
        shown = _shown(session, group)
        for item, answer, guide in _answers(session, group, model, pooling):
            scored.append(_scored(item, answer, session, guide, shown))
            if progress:
                progress(len(scored), len(items))
    return scored


def set_of(items: Sequence[Item]) -> str | None:
    """Name the test set that questions are of, where it shows; see `shapes.dataset.SETS`."""
    if any(item.turn for item in items):
        return "chat"
    if any(item.film.sampling_fps is not None for item in items):
        return "redundant"
    return None


def _answers(
    session: Session, items: Sequence[Item], model: VideoLM, pooling: PoolingChoice | None
) -> list[tuple[Item, Answer, str]]:
    """Return every question's answer, and the text that the clip was pooled by for it."""
    generation = Generation(max_new_tokens=_MAX_NEW_TOKENS)
    if not any(item.turn for item in items):
        texts = [item.question.text for item in items]
        answers = session.ask_many(
            texts, pooling=pooling, generation=generation, batch_size=_BATCH_SIZE
        )
        return list(zip(items, answers, texts, strict=True))
    history: list[Turn] = []
    found = []
    for item in items:
        text = item.question.text
        if item.turn == 0:
            history = []
        answer = session.ask(text, pooling=pooling, generation=generation, history=tuple(history))
        found.append((item, answer, answer.guide or text))
        history.append(Turn(question=text, answer=answer.text))
    return found


def _shown(session: Session, items: Sequence[Item]) -> np.ndarray | None:
    """Return which patches show each thing, ``(things, T, H, W)``; None where nobody asks."""
    if not any(_points(item) for item in items):
        return None
    _, rows, columns = session.grid_size
    return shown_by_thing(items[0].film, session.source.indices, (rows, columns))


def _points(item: Item) -> bool:
    """Whether a question names things that are there."""
    return item.question.named and bool(item.question.targets)


def _scored(
    item: Item, answer: Answer, session: Session, guide: str, shown: np.ndarray | None
) -> Scored:
    if shown is None or not _points(item):
        return score(item, answer.text, token_count=answer.token_count)
    targets = item.question.targets
    asked_for: np.ndarray = np.logical_or.reduce(shown[list(targets)])
    if not asked_for.any():
        return score(item, answer.text, token_count=answer.token_count, hidden=True)
    relevance, timing = session.relevance(guide), None
    if all_brief(item.film, targets):
        timing = timing_of(
            item.film, targets, relevance, session.source, session.evidence(relevance)
        )
    return score(
        item,
        answer.text,
        token_count=answer.token_count,
        pointing=pointing_of(relevance, asked_for),
        timing=timing,
    )
