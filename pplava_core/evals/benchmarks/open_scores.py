"""The report of an open-ended benchmark: a judge's accuracy and score, and exact matches.

Takes verdicts as `pplava_core.evals.judges.judged_scores` counts them. Knows types of questions by
name only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pplava_core.evals.base import Extracted, Item, Prediction, Report, Row, Settings, Table
from pplava_core.evals.judges.judge_replies import MATCH, Verdict
from pplava_core.evals.judges.judged_scores import count_verdicts, counted_verdict, judge_notes
from pplava_core.evals.results.tables import count_answers, mean_row, share_row

TYPE_AXIS = "type"
ALL = "all"
NEAR = "all, capitals and full stop aside"

Answers = Sequence[tuple[Item, Prediction | None]]
Judged = Sequence[tuple[Item, Verdict]]


def open_report(
    items: Sequence[Item],
    predictions: Mapping[str, Prediction],
    settings: Settings,
    *,
    types: Sequence[str],
    unions: Mapping[str, Sequence[str]],
    notes: tuple[str, ...] = (),
) -> Report:
    """Sum up the judge's opinions and the exact matches, by type of question.

    Args:
        items: all questions.
        predictions: their answers, judged or not.
        settings: protocol and strictness.
        types: values of `TYPE_AXIS` in the order of rows.
        unions: further rows of the exact matches: name to types.
        notes: said after those about the judge.

    Returns:
        A report whose value is None while no answer has been judged.
    """
    answers = [(item, predictions.get(item.id)) for item in items]
    counts = count_verdicts([(one, MATCH) for _, one in answers], settings)
    verdicts = [
        (item, verdict)
        for item, one in answers
        if (verdict := counted_verdict(one, MATCH, settings)) is not None
    ]
    said = [pair for pair in verdicts if has_a_say(pair[1], settings)]
    tables = [Table(name="exact match", rows=_exact_rows(answers, types, unions))]
    row = None
    if said and (counts["judged"] or not counts["unjudged"]):
        row = _accuracy(ALL, said)
        tables = [
            Table(name="accuracy", rows=_rows(said, _accuracy, types)),
            Table(name="score", rows=_rows(verdicts, _mean_score, types)),
            *tables,
        ]
    return Report(
        headline="accuracy",
        value=None if row is None else row.value,
        low=None if row is None else row.low,
        high=None if row is None else row.high,
        tables=tuple(tables),
        counts=count_answers(items, predictions, lambda _, one: words_of(one.text))
        | counts
        | {"neither": sum(verdict.pred == "neither" for _, verdict in verdicts)},
        notes=(*judge_notes(predictions.values(), counts, settings), *notes),
    )


def words_of(text: str) -> Extracted:
    """Take all words of a free answer as they stand."""
    words = text.strip()
    return Extracted(value=words, how="read" if words else "unextracted")


def has_a_say(verdict: Verdict, settings: Settings) -> bool:
    """Tell whether a verdict has a place in the denominator of the accuracy."""
    return verdict.pred != "neither" or settings.strict or settings.protocol == "lmms"


def _rows(
    pairs: Judged, row: Callable[[str, Judged], Row], types: Sequence[str]
) -> tuple[Row, ...]:
    """Make a row for each type that there is, and one for all."""
    groups = [(name, [pair for pair in pairs if _type(pair[0]) == name]) for name in types]
    return tuple(row(name, group) for name, group in [*groups, (ALL, pairs)] if group)


def _accuracy(name: str, pairs: Judged) -> Row:
    return share_row(name, sum(verdict.pred == "yes" for _, verdict in pairs), len(pairs))


def _mean_score(name: str, pairs: Judged) -> Row:
    return mean_row(name, [verdict.score or 0 for _, verdict in pairs])


def _exact_rows(
    answers: Answers, types: Sequence[str], unions: Mapping[str, Sequence[str]]
) -> tuple[Row, ...]:
    """Count the answers that equal the right words, whatever a judge says of them.

    Questions without an answer are wrong (ActivityNet-QA's own script).
    """
    groups: dict[str, Sequence[str]] = {name: (name,) for name in types}
    rows = []
    for name, kinds in {**groups, **unions}.items():
        group = [pair for pair in answers if _type(pair[0]) in kinds]
        if group:
            rows.append(_exact(name, group))
    near = sum(_plain(_text(one)) == _plain(item.answer) for item, one in answers)
    return (*rows, _exact(ALL, answers), share_row(NEAR, near, len(answers)))


def _exact(name: str, answers: Answers) -> Row:
    return share_row(
        name, sum(_text(one).strip() == item.answer for item, one in answers), len(answers)
    )


def _text(one: Prediction | None) -> str:
    return "" if one is None or one.error is not None else one.text


def _type(item: Item) -> str | None:
    return item.groups.get(TYPE_AXIS)


def _plain(text: str) -> str:
    return " ".join(text.lower().strip().removesuffix(".").split())
