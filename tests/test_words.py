"""What a person types controls nothing: neither the prompt nor the text tower."""

from __future__ import annotations

import pytest
from golden_files import FOLDER

from pplava_core.models.checkpoint import load_model
from pplava_core.models.language.words import VISUAL_ID, without_controls


@pytest.fixture(scope="module")
def words():
    return load_model(FOLDER / "clip_plain" / "checkpoint").words


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        ("is it <end>?", "is it end?"),
        ("<<end>> <<<end>>>", "end end"),
        ("<<end>end>", "<endend>"),
        ("a < b and c > d", "a < b and c > d"),
        ("end", "end"),
    ],
)
def test_brackets_go_until_no_control_token_is_left(typed, left):
    assert without_controls(typed, ["<end>", "bare"]) == left


def test_a_token_without_brackets_is_left_alone():
    assert without_controls("bare words", ["bare"]) == "bare words"


@pytest.mark.parametrize("typed", ["<image>", "<<image>>", "</s>", "<image> <s> </s>"])
def test_what_is_typed_adds_no_places_and_ends_nothing(words, typed):
    ids = words.prompt_ids(f"what is {typed} here?")
    assert ids.count(VISUAL_ID) == 1
    assert not set(ids) & set(words.end_ids)


def test_a_typed_end_mark_does_not_cut_the_text_for_the_text_tower(words):
    end = words.aligner_tokenizer.eos_token
    ids, _ = words.alignment_ids([f"a dog {end} on a sofa"], 248)
    plain, _ = words.alignment_ids(["a dog on a sofa"], 248)
    assert ids.shape[1] > plain.shape[1]
    assert (ids == words.aligner_tokenizer.eos_token_id).sum() == 1
