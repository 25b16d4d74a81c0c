"""The rendered world's own test: real files, greedy answers, exact scoring by type.

Beside each accuracy stand its 95 % interval and what the best constant answer would
get. Where a question names a thing, it is also scored whether the peak of the relevance
lies on it (the pointing game).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pplava_core.evals.results.tables import wilson_interval
from pplava_core.session import Generation, PoolingChoice, Session
from pplava_core.shapes.dataset import Item
from pplava_core.shapes.questions import TYPES
from pplava_core.shapes.render import patch_coverage, render
from pplava_core.types import Relevance

if TYPE_CHECKING:
    from pplava_core.feature_cache import FeatureCache
    from pplava_core.models.videolm import VideoLM

_RENDERED_SIZE = 192


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One question, what was answered, and how right that is."""

    item: Item
    answer: str
    right: bool
    named_share: float | None
    "Descriptions: part of the things that are named."
    pointed: bool | None
    "Whether the peak is on a thing asked for; None where none is named or there."
    mass: float | None
    "Part of the relevance on patches that show a thing asked for."


@dataclass(frozen=True, kw_only=True)
class Row:
    """Accuracy over some questions."""

    name: str
    count: int
    accuracy: float
    low: float
    high: float
    constant: float
    "Accuracy of the best constant answer."


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

    Args:
        items: questions, those about one film next to each other.
        folder: where the films are.
        model: who answers.
        pooling: window and weighting; None is the model's own.
        cache: where patch grids are kept.
        progress: called with questions done and in all.

    Raises:
        InputError: a film cannot be read.
    """
    scored, session, opened = [], None, None
    for item in items:
        if session is None or item.film.number != opened:
            path = folder / item.film.file_name
            session, opened = Session.open([path], model, cache=cache), item.film.number
        answer = session.ask(
            item.question.text, pooling=pooling, generation=Generation(max_new_tokens=160)
        )
        relevance = session.relevance(item.question.text)
        indices = session.source.indices
        scored.append(_score(item, answer.text, relevance, indices))
        if progress:
            progress(len(scored), len(items))
    return scored


def table(scored: Sequence[Scored]) -> list[Row]:
    """Return a row for each type, each setting, and all."""
    groups: dict[str, list[Scored]] = defaultdict(list)
    for one in scored:
        groups[one.item.question.type].append(one)
        groups[f"all, {one.item.film.setting} files"].append(one)
    order = [*TYPES, "all, usual files", "all, unusual files"]
    rows = [_row(name, groups[name]) for name in order if groups[name]]
    pointed = [one for one in scored if one.pointed is not None]
    if pointed:
        hits = sum(bool(one.pointed) for one in pointed)
        rows.append(_counted("peak on the thing", hits, len(pointed), math.nan))
    return rows


def summary(scored: Sequence[Scored]) -> dict[str, Any]:
    """Return everything measured as plain values."""
    rows = [vars(row) for row in table(scored)]
    captions = [one.named_share for one in scored if one.named_share is not None]
    masses = [one.mass for one in scored if one.mass is not None]
    types = [row["accuracy"] for row in rows if row["name"] in TYPES and row["name"] != "caption"]
    return {
        "questions": len(scored),
        "rows": [{k: (None if v != v else v) for k, v in row.items()} for row in rows],
        "mean_over_types_without_caption": float(np.mean(types)) if types else None,
        "things_named_in_captions": float(np.mean(captions)) if captions else None,
        "relevance_on_the_thing": float(np.mean(masses)) if masses else None,
    }


def named_share(answer: str, phrases: Iterable[str]) -> float:
    """Return the part of the things that a description names, each as often as it is there."""
    wanted = Counter(phrases)
    found = sum(min(count, answer.count(phrase)) for phrase, count in wanted.items())
    return found / max(sum(wanted.values()), 1)


def _score(item: Item, text: str, relevance: Relevance, indices: Sequence[int]) -> Scored:
    question, scene = item.question, item.film.scene
    share = None
    if question.type == "caption":
        share = named_share(text, (thing.phrase for thing in scene.things))
    pointed, mass = None, None
    if question.named and question.targets:
        shown = _shown(item, relevance, indices)
        peak = np.unravel_index(int(relevance.weights.argmax()), relevance.weights.shape)
        pointed = bool(shown[peak])
        mass = float(relevance.weights.numpy()[shown].sum())
    right = _plain(text) == _plain(question.answer)
    return Scored(
        item=item, answer=text, right=right, named_share=share, pointed=pointed, mass=mass
    )


def _shown(item: Item, relevance: Relevance, indices: Sequence[int]) -> np.ndarray:
    """Return which patches show a thing asked for, ``(T, H, W)`` bool."""
    moments = [(index + 0.5) / item.film.frame_count for index in indices]
    _, owners = render(item.film.scene, moments, height=_RENDERED_SIZE, width=_RENDERED_SIZE)
    rows, columns = relevance.weights.shape[1:]
    coverage = patch_coverage(owners, len(item.film.scene.things), (rows, columns))
    shown: np.ndarray = coverage[list(item.question.targets)].max(0) > 0
    return shown


def _plain(text: str) -> str:
    return " ".join(text.lower().strip(" .").split())


def _row(name: str, group: Sequence[Scored]) -> Row:
    answers: Counter[tuple[str, str]] = Counter(
        (one.item.question.type, one.item.question.answer) for one in group
    )
    best: dict[str, int] = defaultdict(int)
    for (kind, _), count in answers.items():
        best[kind] = max(best[kind], count)
    hits = sum(one.right for one in group)
    return _counted(name, hits, len(group), sum(best.values()) / len(group))


def _counted(name: str, hits: int, count: int, constant: float) -> Row:
    low, high = wilson_interval(hits, count)
    return Row(name=name, count=count, accuracy=hits / count, low=low, high=high, constant=constant)
