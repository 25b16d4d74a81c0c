"""What a judge's reply says, read as each protocol's scorer reads it.

A judge is asked for a small Python dictionary and does not always give one. The scorers
differ in what they make of the rest; where theirs crash or ask for ever, a reply is
`unparseable` here. Pure text in, `Verdict` out; knows nothing of prompts or endpoints.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

MATCH = "match"
"The one aspect of question answering: does the answer match."

MISSING_MATCH_SCORE = 3
"Given to a reply without a score (PPLLaVA evaluation code)."

_UNSCORED_ASPECTS = ("correctness", "detail", "consistency")
"Whose replies PPLLaVA's code keeps although they hold no score."

_FAILURES = (ValueError, SyntaxError, TypeError, KeyError, AttributeError, ArithmeticError)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A judge's opinion of one answer."""

    pred: Literal["yes", "no", "neither"] | None = None
    "Whether the answer matches; None for aspects that have a score alone."
    score: int | None = None
    "Mostly 0 to 5: scorers do not hold a judge to it. None where there is none."
    how: Literal["read", "unscored", "unparseable"] = "read"
    "`unscored`: a dictionary without a score that the protocol lets pass."


UNPARSEABLE = Verdict(how="unparseable")
"Nothing could be read, and the protocol gives no value for that."


def read_verdict(aspect: str, text: str, protocol: str) -> Verdict:
    """Read a reply about one aspect of one answer.

    Args:
        aspect: `MATCH`, or one of VCG-Bench's (`pplava_core.evals.benchmarks.vcgbench.ASPECTS`).
        text: what the judge wrote.
        protocol: `official` (Video-ChatGPT's scripts), `ppllava` or `lmms`.
    """
    if protocol == "lmms":
        return _lmms_match(text) if aspect == MATCH else _lmms_score(text)
    try:
        value = ast.literal_eval(text)
    except (*_FAILURES, MemoryError, RecursionError):
        return UNPARSEABLE
    return verdict_of(aspect, value, protocol)


def verdict_of(aspect: str, value: Any, protocol: str) -> Verdict:
    """Read a reply that is a Python value already, as official result files hold it."""
    if aspect != MATCH:
        return _score(aspect, value, protocol)
    if protocol == "ppllava" and isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, Mapping):
        return UNPARSEABLE
    unscored = protocol == "ppllava" and "score" not in value
    try:
        score = MISSING_MATCH_SCORE if unscored else whole(value["score"])
        pred = value["pred"].lower()
    except _FAILURES:
        return UNPARSEABLE
    return Verdict(pred=yes_or_no(pred), score=score, how="unscored" if unscored else "read")


def yes_or_no(pred: str) -> Literal["yes", "no", "neither"]:
    """Look for "yes" anywhere in lower-case words, and only then for "no"."""
    if "yes" in pred:
        return "yes"
    return "no" if "no" in pred else "neither"


def whole(score: Any) -> int:
    """Cut a score to a whole number as every scorer does: 4.8 is 4, "4.8" an error.

    Raises:
        ValueError: text that is no whole number.
        TypeError: neither a number nor text.
        OverflowError: no number that a mean could be taken of.
    """
    value = int(score)
    float(value)
    return value


def _score(aspect: str, value: Any, protocol: str) -> Verdict:
    if protocol == "ppllava" and aspect in _UNSCORED_ASPECTS and not _has_score(value):
        return Verdict(how="unscored")
    try:
        return Verdict(score=whole(value["score"]))
    except _FAILURES:
        return UNPARSEABLE


def _has_score(value: Any) -> bool:
    return isinstance(value, Mapping) and "score" in value


def _lmms_match(text: str) -> Verdict:
    """Read what stands between the first braces; anything else is a "no" of score 0."""
    try:
        value = ast.literal_eval(text[text.index("{") : text.index("}") + 1])
        score, pred = whole(value["score"]), value["pred"].lower()
    except (*_FAILURES, MemoryError, RecursionError):
        return Verdict(pred="no", score=0, how="unparseable")
    return Verdict(pred=yes_or_no(pred), score=score)


def _lmms_score(text: str) -> Verdict:
    """Read the whole text; anything but a dictionary with a score is a 0."""
    try:
        return Verdict(score=whole(ast.literal_eval(text)["score"]))
    except (*_FAILURES, MemoryError, RecursionError):
        return Verdict(score=0, how="unparseable")
