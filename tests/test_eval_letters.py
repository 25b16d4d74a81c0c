"""Options are read out of answers exactly as those who score the benchmarks do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pplava_core.evals.benchmarks.letters import (
    LETTERS,
    LONGVIDEOBENCH_PREFIXES,
    VIDEOMME_PREFIXES,
    credited_options,
    first_capital,
    first_named,
    last_named,
    lone_letter,
    ranked_letter,
    stated_option,
)

CASES = Path(__file__).parent / "data" / "evals" / "extraction_cases_choice.jsonl"

Parser = Callable[[dict[str, Any]], int | tuple[int, ...] | None]
PARSERS: dict[str, tuple[Parser, str]] = {
    "videomme": (lambda case: first_capital(case["raw"], VIDEOMME_PREFIXES, "ABCD"), ""),
    "videomme_lmms": (lambda case: ranked_letter(case["raw"], "ABCD"), ""),
    "longvideobench_lmms": (
        lambda case: first_capital(case["raw"], LONGVIDEOBENCH_PREFIXES, "ABCDE"),
        "RANDOM",
    ),
    "mvbench": (lambda case: credited_options(case["raw"], len(case["gts"])), ""),
    "mvbench_lmms": (lambda case: lone_letter(case["raw"]), ""),
    "nextqa_lmms": (lambda case: last_named(case["raw"], list(case["options"].values())), "RANDOM"),
    "egoschema_lmms": (lambda case: first_named(case["raw"], case["options"]), "RANDOM"),
}
"How each benchmark's scorer reads an answer, and what the cases say where it reads nothing."


def cases() -> list[Any]:
    lines = CASES.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case['bench']}-{case['id']}")
def test_official_cases(case):
    parse, nothing = PARSERS[case["bench"]]
    read = parse(case)
    if isinstance(read, tuple):
        said = "".join(LETTERS[index] for index in read)
    else:
        said = nothing if read is None else LETTERS[read]
    assert said == case["official"]


def test_there_are_cases_of_every_parser():
    counts = dict.fromkeys(PARSERS, 0)
    for case in cases():
        counts[case["bench"]] += 1
    assert min(counts.values()) >= 14


def test_the_two_strings_that_were_glued_together_never_match():
    # "Best answer: D" keeps its B; had the comma not been missing it would be D
    assert first_capital("Best answer: D", VIDEOMME_PREFIXES, "ABCD") == 1
    assert first_capital("Best answer: D", LONGVIDEOBENCH_PREFIXES, "ABCD") == 3


def test_a_prefix_is_deleted_wherever_it_stands():
    assert first_capital("X The answer is The best answer is C", VIDEOMME_PREFIXES, "ABCD") == 2


def test_long_answers_without_a_capital_letter_say_nothing():
    text = "the man in the video is walking along the beach with his dog"
    assert first_capital(text, VIDEOMME_PREFIXES, "ABCD") is None


@pytest.mark.parametrize("text", ["", "(", ".", " (B)", "(."])
def test_an_answer_that_says_nothing_is_credited_to_every_option(text):
    assert credited_options(text, 4) == (0, 1, 2, 3)


def test_two_options_are_both_credited_and_a_closing_bracket_too():
    assert credited_options("(A)(B)", 4) == (0, 1)
    assert credited_options(")", 3) == (0, 1, 2)
    assert credited_options("(E)", 3) == ()


def test_a_large_number_makes_every_mark_vanish_for_lmms():
    # the marks become nothing, so that letter and word run together
    assert lone_letter("(B)x 1,000") is None
    assert lone_letter("(B)x 1000") == 1


def test_the_highest_form_wins_and_of_one_form_the_last():
    assert ranked_letter("(A) or (B), so C", "ABCD") == 2
    assert ranked_letter("it is (A), no, (C) it was", "ABCD") == 2
    assert ranked_letter("see C. the answer is maybe D, or B", "ABCD") == 1
    assert ranked_letter("see C. the answer is maybe D now", "ABCD") == 3
    assert ranked_letter("xAx yBy", "ABCD") == 1


def test_of_letters_without_a_blank_before_them_the_first_is_taken():
    assert last_named("seeA seeB x", ["one", "two"]) == 0
    assert last_named("see A see B x", ["one", "two"]) == 1


def test_words_count_only_in_long_answers():
    options = ["a red ball", "a blue ball"]
    assert last_named("a blue ball", options) is None
    assert last_named("i think it was a blue ball", options) == 1
    assert last_named("first a blue ball and then a red ball", options) == 0
    assert first_named("first a blue ball and then a red ball", options) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[("B", 1), ("(b)", 1), ("B) a dog", 1), ("b) a dog", 1), ("**B**", 1), ("B: since", 1)],
        *[("The answer is (B).", 1), ("Answer: C", 2), ("option b", 1), ("B\nsince", 1)],
        *[("the answer is a) red", 0), ("Answer: B green", 1), ("the answer is c", 2)],
        *[("the answer is a dog", None), ("a, b or c", None), ("A, B", None), ("I. e.", None)],
        *[("red", 0), ("Blue.", 1), ("(B) it is, said (B)", 1)],
        *[("", None), (" ", None), ("A dog runs", None), ("red and blue", None), ("D", None)],
        *[("(A)(B)", None), ("A or B", None), ("(A) is wrong, (B) is right", None), ("Bob", None)],
    ],
)
def test_one_option_has_to_be_stated(text, expected):
    assert stated_option(text, ["red", "blue", "green"]) == expected


def test_options_of_the_same_words_are_told_apart_by_letter_alone():
    assert stated_option("red", ["red", "red", "green"]) is None
    assert stated_option("B) red", ["red", "red", "green"]) == 1


@given(st.text(max_size=60) | st.text("ABCDEabc()., :'\"answeris\n", max_size=60))
def test_no_answer_breaks_a_parser(text):
    options = ["a red ball", "B", "", "(", "x y"]
    for read in (
        first_capital(text, VIDEOMME_PREFIXES, "ABCD"),
        ranked_letter(text, "ABCD"),
        lone_letter(text),
        last_named(text, options),
        first_named(text, options),
        stated_option(text, options),
    ):
        assert read is None or 0 <= read < 5
    assert set(credited_options(text, 5)) <= set(range(5))
