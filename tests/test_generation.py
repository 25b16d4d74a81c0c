"""Writing an answer token by token: draws, the end mark, pieces of text."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import small_tokenizer

from pplava_core.errors import UsageError
from pplava_core.models.generation import Generation, TextPieces, generate_ids

END = 9


class Clockwork:
    """A language model whose logits for step n are given, whatever it reads."""

    def __init__(self, *rows):
        self.rows = [torch.tensor(row) for row in rows]
        self.read = []

    def __call__(self, *, past_key_values, use_cache, logits_to_keep, **inputs):
        assert use_cache
        assert logits_to_keep == 1
        steps = past_key_values or 0
        self.read.append({name: tensor.shape for name, tensor in inputs.items()})
        return SimpleNamespace(
            logits=self.rows[min(steps, len(self.rows) - 1)][None, None], past_key_values=steps + 1
        )


def one_hot(token_id, size=10):
    return [10.0 if number == token_id else 0.0 for number in range(size)]


def written(llm, **values):
    return list(generate_ids(llm, torch.zeros(1, 4, 3), settings=Generation(**values), end_id=END))


def test_the_likeliest_token_is_taken_until_the_end_mark():
    llm = Clockwork(one_hot(3), one_hot(5), one_hot(1), one_hot(END), one_hot(4))
    assert written(llm) == [3, 5, 1]
    assert llm.read == [{"inputs_embeds": (1, 4, 3)}, *[{"input_ids": (1, 1)}] * 3]


def test_an_answer_may_be_empty():
    assert written(Clockwork(one_hot(END))) == []


@pytest.mark.parametrize("count", [1, 2, 7])
def test_no_more_tokens_than_asked_for(count):
    llm = Clockwork(one_hot(3))
    assert written(llm, max_new_tokens=count) == [3] * count
    assert len(llm.read) == count


def test_nothing_is_computed_that_nobody_waits_for():
    llm = Clockwork(one_hot(3))
    ids = generate_ids(llm, torch.zeros(1, 4, 3), settings=Generation(), end_id=END)
    assert llm.read == []
    next(ids)
    next(ids)
    assert len(llm.read) == 2


def test_whoever_reads_is_not_in_inference_mode():
    for _ in generate_ids(
        Clockwork(one_hot(3)),
        torch.zeros(1, 4, 3),
        settings=Generation(max_new_tokens=2),
        end_id=END,
    ):
        assert not torch.is_inference_mode_enabled()


def test_draws_are_decided_by_the_seed():
    llm = Clockwork([0.0] * 9 + [-50.0])
    drawn = {tuple(written(llm, temperature=1.0, max_new_tokens=12, seed=s)) for s in range(5)}
    assert len(drawn) == 5
    again = written(llm, temperature=1.0, max_new_tokens=12, seed=3)
    assert tuple(again) in drawn
    torch.manual_seed(1)
    assert written(llm, temperature=1.0, max_new_tokens=12, seed=3) == again


def test_a_draw_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    written(Clockwork([0.0] * 9 + [-50.0]), temperature=2.0, max_new_tokens=3)
    assert torch.equal(torch.rand(3), wanted)


def test_temperature_spreads_the_draws():
    llm = Clockwork([2.0, 1.0, 0.0, -1.0, -90.0, -90.0, -90.0, -90.0, -90.0, -90.0])
    cold = written(llm, temperature=0.05, max_new_tokens=200)
    warm = written(llm, temperature=1.0, max_new_tokens=200)
    hot = written(llm, temperature=50.0, max_new_tokens=200)
    assert set(cold) == {0}
    assert 100 < warm.count(0) < 155  # e² / (e² + e + 1 + 1/e) is 0.644
    assert hot.count(0) < 80
    for least in (0.0, 5e-324, 1e-40, 1e-6):
        assert set(written(llm, temperature=least, max_new_tokens=5, seed=7)) == {0}


@pytest.mark.parametrize(
    "values",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": -3},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"seed": -1},
        {"seed": 2**64},
    ],
)
def test_senseless_settings_are_refused(values):
    with pytest.raises(UsageError) as caught:
        Generation(**values)
    assert "\n" not in str(caught.value)


def pieces_of(text):
    tokenizer = small_tokenizer()
    pieces = TextPieces(tokenizer)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    shown = [pieces.add(token_id) for token_id in ids]
    return shown, pieces.finish(), pieces


def test_pieces_add_up_to_the_text():
    shown, rest, pieces = pieces_of("there are 3 objects: a red circle.")
    assert "".join(shown) + rest == pieces.text == "there are 3 objects: a red circle."
    assert rest == ""
    assert len(pieces.ids) == len(shown)


@pytest.mark.parametrize("text", ["né", "日本語", "a 🟥 b", "🇨🇭", "ø", "x日y"])
def test_characters_of_several_tokens_come_out_whole(text):
    shown, rest, pieces = pieces_of(text)
    assert "\ufffd" not in "".join(shown)
    assert "".join(shown) + rest == text
    assert len(pieces.ids) > len([piece for piece in shown if piece])


def test_a_character_that_never_ends_is_shown_at_the_end():
    tokenizer = small_tokenizer()
    ids = tokenizer.encode("ok 日", add_special_tokens=False).ids
    pieces = TextPieces(tokenizer)
    shown = [pieces.add(token_id) for token_id in ids[:-1]]
    assert "".join(shown).strip() == "ok"
    assert pieces.finish().strip() == "\ufffd"


def test_special_tokens_are_not_text():
    tokenizer = small_tokenizer()
    pieces = TextPieces(tokenizer)
    assert pieces.add(tokenizer.token_to_id("<user>")) == ""
    assert pieces.add(tokenizer.encode("red", add_special_tokens=False).ids[-1]) != ""


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=12))
def test_whatever_is_written_comes_out_as_it_would_in_one_piece(text):
    tokenizer = small_tokenizer()
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    pieces = TextPieces(tokenizer)
    shown = "".join(pieces.add(token_id) for token_id in ids) + pieces.finish()
    assert shown == tokenizer.decode(ids, skip_special_tokens=True).lstrip()


@settings(max_examples=100, deadline=None)
@given(ids=st.lists(st.integers(0, 319), max_size=14))
def test_any_tokens_at_all_come_out_as_they_would_in_one_piece(ids):
    tokenizer = small_tokenizer()
    pieces = TextPieces(tokenizer)
    shown = "".join(pieces.add(token_id) for token_id in ids) + pieces.finish()
    assert shown == tokenizer.decode(ids, skip_special_tokens=True).lstrip()
