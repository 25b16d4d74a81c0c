"""The report of VCG-Bench: a mean score for each aspect, and the mean of these means.

What is judged is a unit: one answer, or the two answers of a pair. Takes verdicts as
`pplava_core.evals.judges.judged_scores` counts them, but for PPLLaVA's way with replies that hold
no score.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pplava_core.evals.base import Item, Prediction, Report, Row, Settings, Table
from pplava_core.evals.benchmarks.open_scores import words_of
from pplava_core.evals.judges.judged_scores import count_verdicts, counted_verdict, judge_notes
from pplava_core.evals.results.tables import count_answers, mean_row

MOST = 5
"The best score."

ASPECTS: Mapping[str, str] = {
    "correctness": "CI",
    "detail": "DO",
    "context": "CU",
    "temporal": "TU",
    "consistency": "CO",
}
"Aspects in the order of the paper, and how its tables call them."

ASPECTS_OF_SET: Mapping[str, tuple[str, ...]] = {
    "generic": ("correctness", "detail", "context"),
    "temporal": ("temporal",),
    "consistency": ("consistency",),
}


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What is judged as one: a question, or the two of a pair."""

    first: Item
    second: Item | None = None

    @property
    def aspects(self) -> tuple[str, ...]:
        """In which aspects it is judged."""
        return ASPECTS_OF_SET[self.first.details["set"]]

    def prediction(self, predictions: Mapping[str, Prediction]) -> Prediction | None:
        """Return the answer that verdicts stand at: the first's.

        An answer of a pair that is missing or an error makes the whole pair so.
        """
        ours = [predictions.get(one.id) for one in (self.first, self.second) if one is not None]
        if None in ours:
            return None
        return next((one for one in ours if one is not None and one.error is not None), ours[0])


def units_of(items: Sequence[Item]) -> list[Unit]:
    """Put the questions of pairs together; one whose other half was not chosen is left out."""
    seconds = {one.details["row"]: one for one in items if one.details["part"] == 2}
    units = []
    for one in items:
        if one.details["set"] != "consistency":
            units.append(Unit(first=one))
        elif one.details["part"] == 1 and one.details["row"] in seconds:
            units.append(Unit(first=one, second=seconds[one.details["row"]]))
    return units


def vcg_report(
    items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
) -> Report:
    """Sum up the judge's scores.

    Returns:
        A report whose value is None while an aspect has no score at all. The interval of
        the mean of means is as wide as if the aspects moved together, which those of one
        answer nearly do.
    """
    units = units_of(items)
    asked = [(unit.prediction(predictions), aspect) for unit in units for aspect in unit.aspects]
    counts = count_verdicts(asked, settings)
    scores = _scores(units, predictions, settings)
    rows = [mean_row(name, scores[aspect]) for aspect, name in ASPECTS.items() if scores[aspect]]
    judged = bool(counts["judged"]) or not counts["unjudged"]
    whole = _mean_of_means(rows) if judged and len(rows) == len(ASPECTS) else None
    halves = sum(one.details["set"] == "consistency" for one in items)
    unpaired = halves - 2 * sum(unit.second is not None for unit in units)
    notes = judge_notes(predictions.values(), counts, settings)
    if unpaired:
        notes += (f"{unpaired} questions are without the other half of their pair: not judged.",)
    return Report(
        headline="mean of five aspects",
        value=None if whole is None else whole.value,
        low=None if whole is None else whole.low,
        high=None if whole is None else whole.high,
        unit="score",
        tables=(Table(name="score", rows=(*rows, *([whole] if whole else []))),) if judged else (),
        counts=count_answers(items, predictions, lambda _, one: words_of(one.text)) | counts,
        notes=notes,
    )


def _scores(
    units: Sequence[Unit], predictions: Mapping[str, Prediction], settings: Settings
) -> dict[str, list[int]]:
    """Collect the scores by aspect.

    A reply without a score, which only PPLLaVA's code lets pass, adds nothing to the sum
    but counts as an answer; of a pair it repeats the score of the pair before.
    """
    scores: dict[str, list[int]] = defaultdict(list)
    for unit in units:
        for aspect in unit.aspects:
            verdict = counted_verdict(unit.prediction(predictions), aspect, settings)
            if verdict is None:
                continue
            before = scores[aspect]
            if verdict.score is not None:
                before.append(verdict.score)
            elif aspect != "consistency":
                before.append(0)
            elif before:
                before.append(before[-1])
    return scores


def _mean_of_means(rows: Sequence[Row]) -> Row:
    return Row(
        name="mean",
        count=sum(row.count for row in rows),
        value=sum(row.value for row in rows) / len(rows),
        low=sum(row.low for row in rows) / len(rows),
        high=sum(row.high for row in rows) / len(rows),
        unit="score",
    )
