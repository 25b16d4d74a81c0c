"""Where and when the relevance lies, against where and when the things asked for are seen.

What is true is rendered anew at the sampled moments, so that it is exact to the pixel. Knows
maps of relevance and scenes; nothing of models and answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pplava_core.evidence import frame_edges, frame_shares, span_of
from pplava_core.shapes.dataset import Film
from pplava_core.shapes.render import patch_coverage, render
from pplava_core.types import ClipSource, Moment, Relevance

_RENDERED_SIZE = 192
_FRAMES_AT_ONCE = 64
"So that ten minutes of frames need no more memory than one."
BRIEF_SHARE = 0.5
"Things are brief that are there for less than this part of the film."
GOOD_OVERLAP = 0.5
"Intersection over union from which on a stretch of time counts as found."
Span = tuple[float, float]
"Seconds ``[start, stop)``."


@dataclass(frozen=True, kw_only=True)
class Pointing:
    """Where one map of relevance points."""

    hit: bool
    "Whether the peak is on a patch that shows any of a thing asked for."
    mass: float
    "Part of the relevance on such patches."
    chance: float
    "Part of the patches that are such: how often a random peak hits, the mass of an even map."


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When one map of relevance points, where all that is asked for is brief.

    Of several things the one that fits best counts.
    """

    peak_inside: bool
    "Whether the frame with the largest share shows a moment at which a thing is there."
    chance: float
    "Part of the frames that do."
    meets: bool
    "Whether the first moment of the evidence shares any time with a thing; all of the film does."
    overlap: float
    "Intersection over union of that moment and the time in which the thing is there."
    best_overlap: float
    "What choosing just the sampled frames that show the thing would give."


def shown_by_thing(film: Film, indices: Sequence[int], grid: tuple[int, int]) -> np.ndarray:
    """Return which patches show any of each thing, ``(things, T, H, W)`` bool.

    Args:
        film: what was shown.
        indices: the sampled frames.
        grid: rows and columns of patches.
    """
    moments, size = sampled_moments(film, indices), _RENDERED_SIZE
    parts = []
    for start in range(0, len(moments), _FRAMES_AT_ONCE):
        some = moments[start : start + _FRAMES_AT_ONCE]
        _, owners = render(film.scene, some, height=size, width=size)
        parts.append(patch_coverage(owners, len(film.scene.things), grid) > 0)
    return np.concatenate(parts, axis=1)


def sampled_moments(film: Film, indices: Sequence[int]) -> list[float]:
    """Return at which fractions of the film its frames were rendered."""
    return [(index + 0.5) / film.frame_count for index in indices]


def pointing_of(relevance: Relevance, shown: np.ndarray) -> Pointing:
    """Hold a map of relevance against the patches that show what is asked for.

    Args:
        relevance: ``(T, H, W)``.
        shown: ``(T, H, W)`` bool, somewhere true.
    """
    weights = relevance.weights.double().numpy()
    peak = np.unravel_index(int(weights.argmax()), weights.shape)
    return Pointing(
        hit=bool(shown[peak]),
        mass=float(weights[shown].sum()),
        chance=float(shown.mean()),
    )


def all_brief(film: Film, targets: Sequence[int]) -> bool:
    """Whether whatever is asked for is there for less than half the film.

    Where one thing stays, any moment would be right.
    """
    things = [film.scene.things[number] for number in targets]
    return bool(things) and all(t.vanishes - t.appears < BRIEF_SHARE for t in things)


def timing_of(
    film: Film,
    targets: Sequence[int],
    relevance: Relevance,
    source: ClipSource,
    evidence: Sequence[Moment],
) -> Timing:
    """Hold a map of relevance against the times at which what is asked for is there.

    Args:
        film: what was shown.
        targets: numbers of the things asked for, at least one.
        relevance: ``(T, H, W)``.
        source: which frames were shown, and the range they stand for.
        evidence: the moments that were made of the relevance, the heaviest first.
    """
    things = [film.scene.things[number] for number in targets]
    moments = sampled_moments(film, source.indices)
    present = np.array([[thing.present(moment) for moment in moments] for thing in things])
    spans = [_span(film, thing.appears, thing.vanishes) for thing in things]
    edges = frame_edges(relevance.seconds, span_of(source))
    found = (evidence[0].start_seconds, evidence[0].stop_seconds)
    peak = int(frame_shares(relevance.weights.double().numpy()).argmax())
    return Timing(
        peak_inside=bool(present[:, peak].any()),
        chance=float(present.any(axis=0).mean()),
        meets=any(_shared_seconds(found, span) > 0 for span in spans),
        overlap=max(overlap(found, span) for span in spans),
        best_overlap=max(
            overlap(_range_of(frames, edges), span)
            for frames, span in zip(present, spans, strict=True)
        ),
    )


def overlap(one: Span, other: Span) -> float:
    """Return the intersection over union of two stretches of time, 0 to 1."""
    shared = _shared_seconds(one, other)
    union = one[1] - one[0] + other[1] - other[0] - shared
    return shared / union if union > 0 else 0.0


def _span(film: Film, appears: float, vanishes: float) -> Span:
    """Return fractions of a film as seconds on the clock of its file."""
    seconds = film.frame_count / film.fps
    return appears * seconds, vanishes * seconds


def _range_of(chosen: np.ndarray, edges: np.ndarray) -> Span:
    """Return the stretch from the first to the last chosen frame; empty where none is."""
    numbers = np.flatnonzero(chosen)
    if not len(numbers):
        return 0.0, 0.0
    return float(edges[numbers[0]]), float(edges[numbers[-1] + 1])


def _shared_seconds(one: Span, other: Span) -> float:
    return max(min(one[1], other[1]) - max(one[0], other[0]), 0.0)
