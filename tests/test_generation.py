"""Writing an answer token by token: draws, the end mark, penalties."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from pplava_core.errors import UsageError
from pplava_core.models.language.generation import Generation, generate_ids

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
    return list(
        generate_ids(llm, torch.zeros(1, 4, 3), settings=Generation(**values), end_ids={END, 8})
    )


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
    ids = generate_ids(llm, torch.zeros(1, 4, 3), settings=Generation(), end_ids={END, 8})
    assert llm.read == []
    next(ids)
    next(ids)
    assert len(llm.read) == 2


def test_whoever_reads_is_not_in_inference_mode():
    for _ in generate_ids(
        Clockwork(one_hot(3)),
        torch.zeros(1, 4, 3),
        settings=Generation(max_new_tokens=2),
        end_ids=[END],
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


def test_top_p_draws_from_the_likeliest_only():
    llm = Clockwork([2.0, 1.0, 0.0, -1.0, -90.0, -90.0, -90.0, -90.0, -90.0, -90.0])
    shares = {1.0: {0, 1, 2, 3}, 0.95: {0, 1, 2}, 0.8: {0, 1}, 0.6: {0}, 1e-9: {0}}
    for top_p, tokens in shares.items():  # shares are 0.644, 0.237, 0.087, 0.032
        drawn = written(llm, temperature=1.0, top_p=top_p, max_new_tokens=300)
        assert set(drawn) == tokens


def test_top_p_without_draws_changes_nothing():
    assert written(Clockwork(one_hot(3), one_hot(END)), top_p=0.1) == [3]


def test_a_penalty_makes_what_was_written_less_likely():
    row = [3.0, 2.0, 1.9, -1.0, -3.0, -9.0, -9.0, -9.0, -9.0, -9.0]
    assert written(Clockwork(row), max_new_tokens=5) == [0] * 5
    # 3 / 1.4 > 2, so the first token is repeated, not more than that: no penalty counts twice
    assert written(Clockwork(row), max_new_tokens=4, repetition_penalty=1.4) == [0] * 4
    assert written(Clockwork(row), max_new_tokens=4, repetition_penalty=1.52) == [0, 1, 0, 0]
    row[3], row[4] = -1.0, -1.2
    assert written(Clockwork(row[3:5] * 5), max_new_tokens=3, repetition_penalty=1.5) == [0, 2, 4]


def test_a_penalty_below_one_rewards():
    rows = [[1.0, 0.0], [1.0, 1.5], [1.0, 1.5]]
    assert written(Clockwork(*rows), max_new_tokens=3) == [0, 1, 1]
    assert written(Clockwork(*rows), max_new_tokens=3, repetition_penalty=0.5) == [0, 0, 0]


def test_an_answer_ends_when_the_caller_says_so():
    asked = []

    def ended(ids):
        asked.append(list(ids))
        return len(ids) == 2

    llm = Clockwork(one_hot(3), one_hot(4), one_hot(5))
    ids = generate_ids(llm, torch.zeros(1, 4, 3), settings=Generation(), end_ids=[END], ended=ended)
    assert list(ids) == [3, 4]
    assert asked == [[3], [3, 4]]
    assert len(llm.read) == 2


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
        {"top_p": 0.0},
        {"top_p": 1.01},
        {"top_p": float("nan")},
        {"beams": 0},
        {"beams": 2, "temperature": 0.1},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": -1.0},
        {"repetition_penalty": float("inf")},
        {"repetition_penalty": float("nan")},
        {"stop": ("",)},
        {"stop": "end"},
        {"stop": ("a", "")},
    ],
)
def test_senseless_settings_are_refused(values):
    with pytest.raises(UsageError) as caught:
        Generation(**values)
    assert "\n" not in str(caught.value)
