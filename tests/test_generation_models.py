"""Real language models of each family: what a cache, padding and neighbours may not change."""

from __future__ import annotations

import pytest
import torch
from small_llms import (
    FAMILIES,
    VOCABULARY,
    WITH_TOWERS,
    small_llm,
    small_llm_with_tower,
    some_prompt,
)

from pplava_core.models.language import generation
from pplava_core.models.language.generation import Generation, generate_batch, generate_ids

END_IDS = frozenset({2, 7})
MANY_END_IDS = END_IDS | {13, 20}
"Enough of them for answers of different lengths."
LENGTHS = (11, 3, 17, 1, 17, 6)

MANNERS = {
    "greedy": {},
    "drawn": {"temperature": 0.9, "seed": 4},
    "top_p": {"temperature": 1.3, "top_p": 0.7, "seed": 1},
    "penalty": {"repetition_penalty": 1.6},
    "all": {"temperature": 1.1, "top_p": 0.9, "repetition_penalty": 1.2, "seed": 9},
}
BEAMS = {"beams": {"beams": 3}, "beams and penalty": {"beams": 4, "repetition_penalty": 1.3}}


@pytest.fixture(scope="module", params=FAMILIES)
def llm(request):
    return small_llm(request.param, seed=3)


def wishes(count=24, **values):
    return Generation(max_new_tokens=count, **values)


def written(llm, prompt, settings, **more):
    more.setdefault("end_ids", END_IDS)
    return list(generate_ids(llm, prompt[None], settings=settings, **more))


@torch.inference_mode()
def written_anew(llm, prompt, settings):
    """Write by reading everything again for every token, with the formulas written out."""
    generator = torch.Generator().manual_seed(settings.seed)
    embeddings, ids = prompt[None], []
    for _ in range(settings.max_new_tokens):
        scores = llm(inputs_embeds=embeddings, use_cache=False).logits[0, -1].float().clone()
        for seen in set(ids):
            factor = settings.repetition_penalty
            scores[seen] = scores[seen] * factor if scores[seen] < 0 else scores[seen] / factor
        chosen = int(scores.argmax())
        if settings.temperature > 0:
            shares = (scores / settings.temperature).softmax(-1)
            order = shares.argsort(descending=True)
            before = shares[order].cumsum(0) - shares[order]
            shares[order[before >= settings.top_p]] = 0
            chosen = int(torch.multinomial(shares / shares.sum(), 1, generator=generator))
        if chosen in END_IDS:
            break
        ids.append(chosen)
        word = llm.get_input_embeddings()(torch.tensor([[chosen]]))
        embeddings = torch.cat([embeddings, word], dim=1)
    return ids


@pytest.mark.parametrize("manner", MANNERS)
def test_a_cache_changes_nothing(llm, manner):
    settings = wishes(**MANNERS[manner])
    answers = [written(llm, some_prompt(length), settings) for length in LENGTHS]
    assert answers == [written_anew(llm, some_prompt(length), settings) for length in LENGTHS]
    assert max(map(len, answers)) > 8  # past Mistral's window
    assert len(set(map(tuple, answers))) > 2


@pytest.mark.parametrize("manner", MANNERS | BEAMS)
def test_neighbours_change_nothing(llm, manner):
    settings = wishes(**(MANNERS | BEAMS)[manner])
    prompts = [some_prompt(length, seed=number) for number, length in enumerate(LENGTHS)]
    alone = [written(llm, prompt, settings, end_ids=MANY_END_IDS) for prompt in prompts]
    assert generate_batch(llm, prompts, settings=settings, end_ids=MANY_END_IDS) == alone
    assert (
        generate_batch(llm, prompts[::-1], settings=settings, end_ids=MANY_END_IDS) == alone[::-1]
    )
    assert generate_batch(llm, prompts[2:3], settings=settings, end_ids=MANY_END_IDS) == alone[2:3]
    assert len(set(map(len, alone))) > 1  # some end before others


class Recorder:
    """A language model that remembers its logits."""

    def __init__(self, llm):
        self.llm, self.logits = llm, []

    def __call__(self, **inputs):
        output = self.llm(**inputs)
        self.logits.append(output.logits[:, -1])
        return output


def test_padding_changes_no_logits(llm):
    settings = wishes(16)
    prompts = [some_prompt(length, seed=5) for length in (9, 2, 14)]
    together = Recorder(llm)
    answers = generate_batch(together, prompts, settings=settings, end_ids=())
    for row, prompt in enumerate(prompts):
        alone = Recorder(llm)
        assert written(alone, prompt, settings, end_ids=()) == answers[row]
        for one, several in zip(alone.logits, together.logits, strict=True):
            torch.testing.assert_close(several[row], one[0], rtol=0, atol=1e-4)


def test_finished_answers_are_not_computed_on():
    llm = Recorder(small_llm("llama", seed=3))
    prompts = [some_prompt(length) for length in LENGTHS]
    answers = generate_batch(llm, prompts, settings=wishes(), end_ids=END_IDS)
    going = [len(logits) for logits in llm.logits]
    assert going == [sum(len(answer) >= step for answer in answers) for step in range(len(going))]
    assert going[-1] < len(prompts)


@pytest.mark.parametrize("kind", WITH_TOWERS)
def test_a_tower_beside_the_language_model_changes_nothing(kind):
    inner = small_llm("qwen2", seed=3)
    llm = small_llm_with_tower(kind, inner)
    prompts = [some_prompt(length) for length in LENGTHS]
    for values in ({}, {"temperature": 0.9}, {"beams": 3}):
        settings = wishes(12, **values)
        alone = [written(inner, prompt, settings) for prompt in prompts]
        assert [written(llm, prompt, settings) for prompt in prompts] == alone
        assert generate_batch(llm, prompts, settings=settings, end_ids=END_IDS) == alone


def test_no_prompts_no_answers(llm):
    assert generate_batch(llm, [], settings=wishes(), end_ids=END_IDS) == []


def likelihood(llm, prompt, ids):
    """Mean log probability of an answer, its end mark included, with no length penalty beyond."""
    words = llm.get_input_embeddings()(torch.tensor([ids]))
    logits = llm(inputs_embeds=torch.cat([prompt[None], words], dim=1)).logits[0]
    shares = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return float(shares[range(len(ids)), ids].mean())


@torch.inference_mode()
def test_a_beam_search_finds_likelier_answers():
    llm = small_llm("llama", seed=3)
    gains = []
    for number in range(8):
        prompt = some_prompt(5, seed=number)
        greedy = written(llm, prompt, wishes(6), end_ids=(VOCABULARY,))
        found = written(llm, prompt, wishes(6, beams=8), end_ids=(VOCABULARY,))
        assert len(greedy) == len(found) == 6
        gains.append(likelihood(llm, prompt, found) - likelihood(llm, prompt, greedy))
    assert min(gains) > -1e-5
    assert max(gains) > 0.05


@torch.inference_mode()
def test_as_many_beams_as_tokens_find_the_likeliest_pair():
    llm = small_llm("qwen2", seed=1)
    prompt = some_prompt(4)
    found = written(llm, prompt, wishes(2, beams=VOCABULARY), end_ids=(VOCABULARY,))
    firsts = llm.get_input_embeddings()(torch.arange(VOCABULARY)[:, None])
    both = torch.cat([prompt.expand(VOCABULARY, -1, -1), firsts], dim=1)
    shares = llm(inputs_embeds=both).logits[:, -2:].log_softmax(-1)
    pairs = shares[:, 0].diagonal()[:, None] + shares[:, 1]
    assert found == list(divmod(int(pairs.argmax()), VOCABULARY))


def test_a_checkpoints_own_habits_do_not_count():
    llm = small_llm("qwen2", seed=3)
    plain = [written(llm, some_prompt(5), wishes(**values)) for values in ({}, {"beams": 3})]
    llm.generation_config.update(
        do_sample=True, temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.9, num_beams=2
    )
    assert plain == [
        written(llm, some_prompt(5), wishes(**values)) for values in ({}, {"beams": 3})
    ]


def test_an_answer_ends_where_it_is_told_to(llm):
    for values in ({}, {"beams": 3}):
        settings = wishes(**values)
        whole = written(llm, some_prompt(6), settings, end_ids=(VOCABULARY,))
        for length in (1, 5):
            cut = written(
                llm,
                some_prompt(6),
                settings,
                end_ids=(VOCABULARY,),
                ended=lambda ids, length=length: len(ids) >= length,
            )
            assert len(cut) == length
            assert values or cut == whole[:length]


def test_answers_of_a_batch_end_one_by_one(llm):
    settings = wishes(end := 12)
    prompts = [some_prompt(length) for length in LENGTHS]
    whole = generate_batch(llm, prompts, settings=settings, end_ids=())
    marks = {row[3] for row in whole}
    expected = [
        row[: next((n + 1 for n, one in enumerate(row) if one in marks), end)] for row in whole
    ]
    cut = generate_batch(
        llm, prompts, settings=settings, end_ids=(), ended=lambda ids: ids[-1] in marks
    )
    assert cut == expected


def test_a_beam_search_is_asked_after_every_token():
    lengths = []

    def ended(ids):
        lengths.append(len(ids))
        return False

    llm = small_llm("llama")
    written(llm, some_prompt(4), wishes(5, beams=2), end_ids=(VOCABULARY,), ended=ended)
    assert sorted(set(lengths)) == [1, 2, 3, 4, 5]


def test_a_batch_in_half_precision_runs():
    llm = small_llm("mistral").to(torch.bfloat16)
    prompts = [some_prompt(length).to(torch.bfloat16) for length in (3, 12, 1)]
    answers = generate_batch(llm, prompts, settings=wishes(6), end_ids=())
    assert [len(answer) for answer in answers] == [6, 6, 6]
    assert generation._pad_left(prompts)[1].sum(1).tolist() == [3, 12, 1]
