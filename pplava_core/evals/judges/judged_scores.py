"""From a judge's verdicts to what enters a figure: errors, gaps and gifts, alike everywhere.

Works on predictions whose ``details["judge"]`` holds replies by aspect; they are read anew
under the protocol that a report is made for. Knows no benchmark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from pplava_core.evals.base import Prediction, Settings
from pplava_core.evals.judges.judge_replies import Verdict, read_verdict

WRONG = Verdict(pred="no", score=0)
"What an answer is worth that does not exist because its video cannot be read."


def replies_in(prediction: Prediction) -> dict[str, dict[str, Any]]:
    """Return what stands beside an answer of a judge's replies, by aspect.

    Anything else under that name is passed over: files of predictions come from anywhere.
    """
    judge = prediction.details.get("judge")
    if not isinstance(judge, dict):
        return {}
    return {
        aspect: values
        for aspect, values in judge.items()
        if isinstance(values, dict) and isinstance(values.get("reply"), str)
    }


def verdict_in(prediction: Prediction | None, aspect: str, settings: Settings) -> Verdict | None:
    """Read what the judge said of one aspect; None where it was not asked."""
    if prediction is None:
        return None
    values = replies_in(prediction).get(aspect)
    return None if values is None else read_verdict(aspect, values["reply"], settings.protocol)


def counted_verdict(
    prediction: Prediction | None, aspect: str, settings: Settings
) -> Verdict | None:
    """Return the verdict that enters a figure; None leaves the answer out.

    A video that cannot be read makes a wrong answer. What the judge has not read, and what
    nobody can make out in its reply, is left out, as the official scorers have no such
    answers; with ``settings.strict`` missing answers, unreadable replies and replies that a
    protocol lets pass without a score are wrong.
    """
    if prediction is None:
        return WRONG if settings.strict else None
    if prediction.error is not None:
        return WRONG
    verdict = verdict_in(prediction, aspect, settings)
    if verdict is None or verdict.how == "read":
        return verdict
    if settings.strict:
        return WRONG
    return None if verdict.score is None and verdict.how == "unparseable" else verdict


def count_verdicts(
    asked: Iterable[tuple[Prediction | None, str]], settings: Settings
) -> dict[str, int]:
    """Count what became of the opinions that a report needs.

    Args:
        asked: predictions with the aspect that has to be judged.
        settings: for the protocol.

    Returns:
        `judged`, `unjudged` (answers without a verdict), and of those judged `unparseable`
        and `unscored`.
    """
    counts = Counter({"judged": 0, "unjudged": 0, "unparseable": 0, "unscored": 0})
    for prediction, aspect in asked:
        if prediction is None or prediction.error is not None:
            continue
        verdict = verdict_in(prediction, aspect, settings)
        counts["unjudged" if verdict is None else "judged"] += 1
        if verdict is not None and verdict.how != "read":
            counts[verdict.how] += 1
    return dict(counts)


def judge_notes(
    predictions: Iterable[Prediction], counts: dict[str, int], settings: Settings
) -> tuple[str, ...]:
    """Say who judged, in whose words, and what the figures leave out."""
    facts = sorted(
        {
            (values.get("model", "a judge that the file does not name"), values.get("prompt"))
            for prediction in predictions
            for values in replies_in(prediction).values()
        },
        key=str,
    )
    notes = [_judge_note(model, prompt) for model, prompt in facts]
    if counts["unjudged"]:
        notes.append(
            f"{counts['unjudged']} opinions of a judge are still to be had: "
            "the same command with -o FOLDER --judge-only --judge-url URL gets them."
        )
    if counts["unparseable"]:
        notes.append(f"{counts['unparseable']} replies could not be read: {_fate(settings)}.")
    if counts["unscored"]:
        fate = "wrong" if settings.strict else "taken as the ppllava protocol does"
        notes.append(f"{counts['unscored']} replies hold no score: {fate}.")
    return tuple(notes)


def _judge_note(model: str, prompt: str | None) -> str:
    words = f", prompts: {prompt}" if prompt else ""
    return f"Judged by {model}{words}; figures of different judges or prompts do not compare."


def _fate(settings: Settings) -> str:
    if settings.strict:
        return "they count as wrong"
    if settings.protocol == "lmms":
        return "they count as wrong, as in lmms-eval"
    return "they are left out, where the official script would ask for ever"
