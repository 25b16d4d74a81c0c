"""What each protocol reads out of a judge's reply."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pplava_core.evals.base import PROTOCOLS
from pplava_core.evals.judges.judge_replies import MATCH, read_verdict, verdict_of, yes_or_no

_FILE = Path(__file__).parent / "data" / "evals" / "extraction_cases_judges.jsonl"
CASES = [json.loads(line) for line in _FILE.read_text(encoding="utf-8").splitlines()]
ASPECTS = (MATCH, "correctness", "detail", "context", "temporal", "consistency")


def read(text, protocol="official", aspect=MATCH):
    verdict = read_verdict(aspect, text, protocol)
    return verdict.pred, verdict.score, verdict.how


def expected(case):
    """Turn what an official scorer returned into what `read` gives."""
    official = case["official"]
    if case["bench"] == "activitynetqa_judge_lmms":
        pred, score = official or ("no", 0)
        return "neither" if pred not in ("yes", "no") else pred, score
    if case["bench"] == "vcgbench_judge_lmms":
        return None, official
    match = case["bench"] == "activitynetqa_judge"
    if not isinstance(official, dict) or not {"score", *(["pred"] * match)} <= set(official):
        return None, None  # asked again for ever, or its last step crashes
    return yes_or_no(official["pred"].lower()) if match else None, int(official["score"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["id"]))
def test_official_scorers(case):
    aspect = MATCH if case["bench"].startswith("activitynetqa") else "correctness"
    protocol = "lmms" if case["bench"].endswith("lmms") else "official"
    assert read(case["raw"], protocol, aspect)[:2] == expected(case)


@pytest.mark.parametrize(
    ("text", "pred"),
    [
        ("{'pred': 'yes', 'score': 4}", "yes"),
        ("{'pred': 'NO.', 'score': 4}", "no"),
        ("{'pred': 'not yes', 'score': 4}", "yes"),
        ("{'pred': 'unknown', 'score': 4}", "no"),
        ("{'pred': 'maybe', 'score': 4}", "neither"),
        ("  {'pred': 'yes', 'score': 4}", "yes"),
    ],
)
def test_yes_is_looked_for_before_no_and_anywhere(text, pred):
    assert read(text) == (pred, 4, "read")


@pytest.mark.parametrize(
    ("score", "read_as"),
    [("4.8", 4), ("-0.9", 0), ("True", 1), ("'4'", 4), ("7", 7), ("'4.8'", None), ("None", None)],
)
def test_scores_are_cut_to_whole_numbers(score, read_as):
    verdict = read_verdict("temporal", f"{{'score': {score}}}", "official")
    assert verdict.score == read_as
    assert verdict.how == ("unparseable" if read_as is None else "read")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yes",
        "{''score': 4.8}",
        "```python\n{'pred': 'yes', 'score': 4}\n```",
        "{'pred': 'yes', 'score': 1e999}",
        "{'pred': 'yes', 'score': " + "9" * 400 + "}",
        "[" * 5000,
        "\x00",
        "{'pred': 3, 'score': 4}",
        "__import__('os')",
    ],
)
def test_what_the_official_scripts_would_ask_for_ever_or_crash_on(text):
    assert read(text) == (None, None, "unparseable")
    assert read(text, "lmms")[1] in (0, 4)


def test_a_missing_score_is_three_for_ppllava_and_nothing_for_the_authors():
    assert read("{'pred': 'yes'}", "ppllava") == ("yes", 3, "unscored")
    assert read("{'pred': 'yes'}", "official") == (None, None, "unparseable")
    assert read("{'pred': 'yes', 'score': None}", "ppllava") == (None, None, "unparseable")


def test_a_list_is_unwrapped_by_ppllava_alone():
    text = "[{'pred': 'no', 'score': 2}]"
    assert read(text, "ppllava") == ("no", 2, "read")
    assert read(text, "official") == (None, None, "unparseable")
    assert read("[]", "ppllava") == (None, None, "unparseable")


def test_ppllava_keeps_unscored_replies_about_three_aspects():
    unscored = [aspect for aspect in ASPECTS if read("{'a': 1}", "ppllava", aspect)[2] != "read"]
    assert unscored == list(ASPECTS)
    kept = [aspect for aspect in ASPECTS if read("{'a': 1}", "ppllava", aspect)[2] == "unscored"]
    assert kept == ["correctness", "detail", "consistency"]


def test_lmms_reads_between_the_first_braces_of_a_match_but_a_score_whole():
    assert read("Sure {'pred': 'YES', 'score': '3'} {}", "lmms") == ("yes", 3, "read")
    assert read("Sure {'pred': 'yes'}", "lmms") == ("no", 0, "unparseable")
    assert read("Sure {'score': 3}", "lmms", "context") == (None, 0, "unparseable")


@given(st.text(), st.sampled_from(PROTOCOLS), st.sampled_from(ASPECTS))
def test_no_reply_is_an_error(text, protocol, aspect):
    verdict = read_verdict(aspect, text, protocol)
    assert verdict.how in ("read", "unscored", "unparseable")


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(), st.lists))
def test_no_value_is_an_error(value):
    for protocol in ("official", "ppllava"):
        assert verdict_of("detail", value, protocol).score is None
        assert verdict_of(MATCH, value, protocol).pred is None
