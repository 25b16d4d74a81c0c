"""Manners of answering in a session: beams, stop strings, several questions, what is left out."""

from __future__ import annotations

import pytest
import torch
from small_models import small_model, write_clip

from pplava_core.errors import UsageError
from pplava_core.session import Ask, Generation, PoolingChoice, Session, Turn
from pplava_core.types import Sampling

QUESTIONS = (
    "how many red circles are there?",
    "where is the star?",
    "blue?",
    "what does the large green square do while the small yellow triangle moves to the left?",
    "how many red circles are there?",
)
MANNERS = {
    "greedy": {},
    "drawn": {"temperature": 2.0, "top_p": 0.9, "seed": 3},
    "penalty": {"repetition_penalty": 1.5},
    "beams": {"beams": 3},
    "stop": {"stop": ("e", "the")},
    "beams and stop": {"beams": 3, "stop": ("e", "the")},
}


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    film = write_clip(tmp_path_factory.mktemp("films") / "film.mp4", seed=1)
    return Session.open([film], small_model(seed=6))


def wishes(count=16, **values):
    return Generation(max_new_tokens=count, **values)


def essence(answer):
    keys = ("text", "question", "evidence", "token_count", "text_token_count", "window", "stopped")
    return {key: getattr(answer, key) for key in keys} | {"warnings": answer.warnings}


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_questions_together_are_answered_as_alone(session, manner, batch_size):
    generation = wishes(**MANNERS[manner])
    alone = [session.ask(question, generation=generation) for question in QUESTIONS]
    together = session.ask_many(QUESTIONS, generation=generation, batch_size=batch_size)
    assert list(map(essence, together)) == list(map(essence, alone))
    assert len({answer.text for answer in alone}) > 1
    assert all(answer.timings.generate_seconds > 0 for answer in together)


def test_questions_together_may_have_words_around_them(session):
    asks = [
        Ask(question="where?", guide="a red circle", answer_prefix="it is"),
        Ask(question="and now?", history=(Turn(question="where?", answer="left"),), system="Be."),
        Ask(question="where?"),
    ]
    choice = PoolingChoice(weighting="max")
    together = session.ask_many(asks, pooling=choice, generation=wishes())
    for asked, answer in zip(asks, together, strict=True):
        alone = session.ask(**vars(asked), pooling=choice, generation=wishes())
        assert essence(answer) == essence(alone)
    assert together[0].text != together[2].text


def test_no_questions_and_empty_ones(session):
    assert session.ask_many([]) == []
    with pytest.raises(UsageError, match="question is empty"):
        session.ask_many(["what?", "  "])


def test_a_stream_of_words_is_the_answer_in_every_manner(session):
    for values in MANNERS.values():
        stream = session.stream(QUESTIONS[0], generation=wishes(**values))
        assert "".join(stream) == stream.answer.text
        assert stream.answer.text == session.ask(QUESTIONS[0], generation=wishes(**values)).text


def test_a_stream_is_read_once(session):
    stream = session.stream(QUESTIONS[0], generation=wishes())
    text = "".join(stream)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="written once"):
            next(iter(stream))
    assert stream.answer.text == text
    begun = session.stream(QUESTIONS[0], generation=wishes())
    first = iter(begun)
    said = next(first)
    with pytest.raises(RuntimeError, match="written once"):
        next(iter(begun))
    assert said + "".join(first) == begun.answer.text == text


@pytest.mark.parametrize("beams", [1, 3])
def test_a_stop_string_is_no_part_of_the_answer(session, beams):
    whole = session.ask(QUESTIONS[0], generation=wishes(24, beams=beams))
    stop = whole.text[len(whole.text) // 2 :][:3]
    assert stop.strip()
    cut = session.ask(QUESTIONS[0], generation=wishes(24, beams=beams, stop=(stop,)))
    assert stop not in cut.text
    assert cut.text_token_count <= whole.text_token_count
    if beams == 1:  # with more, a shorter answer may have become the likeliest
        assert cut.text == whole.text[: whole.text.index(stop)].strip()
        assert cut.stopped == "end"
        assert cut.text_token_count < 24


def test_beams_can_be_stopped(session):
    stream = session.stream(QUESTIONS[0], generation=wishes(40, beams=3))
    generate = session.model.llm.generate
    asked = []

    def generate_and_stop(**options):
        (criterion,) = options["stopping_criteria"]

        def counted(ids, scores, **more):
            asked.append(ids.shape[1])
            if ids.shape[1] == 4:
                stream.stop()
            return criterion(ids, scores, **more)

        return generate(**{**options, "stopping_criteria": [counted]})

    session.model.llm.generate = generate_and_stop
    try:
        said = "".join(stream)
    finally:
        del session.model.llm.generate
    assert asked == [1, 2, 3, 4]
    assert stream.answer.stopped == "interrupted"
    assert said == stream.answer.text
    assert 0 < stream.answer.text_token_count <= 4


def test_how_an_answer_ends_is_told(session):
    endless = session.ask(QUESTIONS[0], generation=wishes(3))
    assert (endless.stopped, endless.text_token_count) == ("length", 3)
    (end,) = session.model.words.end_ids
    bias = torch.zeros(session.model.llm.config.vocab_size)
    bias[end] = 100.0
    head = session.model.llm.lm_head
    handle = head.register_forward_hook(lambda module, inputs, output: output + bias)
    try:
        silent = session.ask(QUESTIONS[0], generation=wishes(3))
    finally:
        handle.remove()
    assert (silent.stopped, silent.text_token_count, silent.text) == ("end", 0, "")


def turns(count):
    return tuple(Turn(question=f"q{n} " * 9, answer=f"a{n} " * 9) for n in range(count))


def test_turns_that_are_left_out_are_told_of(session):
    few = session.stream("and now?", history=turns(2), generation=wishes())
    assert few.warnings == ()
    many = session.stream("and now?", history=turns(40), generation=wishes())
    more = session.stream("and now?", history=turns(41), generation=wishes())
    assert len(many.warnings) == 1
    assert many.warnings == more.warnings  # the same words, so that they are shown once
    assert "earlier turns no longer fit small's context" in many.warnings[0]
    assert "\n" not in many.warnings[0]
    list(many)
    assert many.answer.warnings == many.warnings


def ids_asked_with(session, monkeypatch, asked):
    used = []
    original = session.model.prompt_embeddings

    def spy(tokens, ids, block_sizes):
        used.append(ids[0].tolist())
        return original(tokens, ids, block_sizes)

    with monkeypatch.context() as patch:
        patch.setattr(session.model, "prompt_embeddings", spy)
        answer = session.ask_many([asked], generation=wishes(4))[0]
    return used[0], answer.warnings


def test_instructions_go_after_the_turns_and_the_question_never(session, monkeypatch):
    model, question = session.model, "why? " * 60
    system = "be brief and exact. " * 50
    ids, warnings = ids_asked_with(
        session, monkeypatch, Ask(question=question, system=system, history=turns(1))
    )
    assert ids == model.prompt_ids(question, system="")
    assert ["earlier turns" in warnings[0], "instructions" in warnings[1]] == [True, True]
    ids, warnings = ids_asked_with(session, monkeypatch, Ask(question="why?", system=system[:40]))
    assert ids == model.prompt_ids("why?", system=system[:40])
    assert warnings == ()
    ids, warnings = ids_asked_with(
        session, monkeypatch, Ask(question="why?", system=system[:60], history=turns(40))
    )
    assert len(warnings) == 1
    assert model.words.decode(ids[2:]).count("be brief") == 3


def test_a_question_that_fits_alone_is_whole(session, monkeypatch):
    model = session.model
    room = model.context_length - session.token_count(PoolingChoice()) + 1 - 4
    lengths = {n: len(model.prompt_ids("why? " * n, system="")) for n in range(1, 300)}
    most = max(n for n, length in lengths.items() if length <= room)
    assert 1 < most < 299
    said = {"system": "s " * 600, "history": turns(9)}
    for count in (1, most // 2, most - 1, most):
        question = "why? " * count
        ids, _ = ids_asked_with(session, monkeypatch, Ask(question=question, **said))
        assert ids == model.prompt_ids(question, system="")
    with pytest.raises(UsageError):
        ids_asked_with(session, monkeypatch, Ask(question="why? " * (most + 1), **said))


def test_a_film_of_another_length_answers_together_too(tmp_path):
    film = write_clip(tmp_path / "film.mp4", seed=2)
    session = Session.open([film], small_model(seed=6), sampling=Sampling(num_frames=7))
    alone = [session.ask(question, generation=wishes()) for question in QUESTIONS[:3]]
    together = session.ask_many(QUESTIONS[:3], generation=wishes())
    assert list(map(essence, together)) == list(map(essence, alone))
