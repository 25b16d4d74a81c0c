"""How questions are worded, what stands around them, and what their words speak of."""

from __future__ import annotations

import dataclasses
import re
from itertools import chain

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from second_opinion import (
    CHOICE_PREFIX,
    COLOUR,
    KIND,
    KNOWN,
    NAME,
    NEW,
    PAIR_TYPES,
    numbered_scene,
    options_of,
    question_itself,
    things_meant,
    true_answer,
    wordings_of,
)

from pplava_core.shapes.drawing import draw_scene
from pplava_core.shapes.paraphrases import PARAPHRASES
from pplava_core.shapes.prompts import long_prompt, with_lead_in
from pplava_core.shapes.questions import TYPES, ask, dialogue
from pplava_core.shapes.wordings import WORDINGS

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=60, deadline=None)


def plain(text):
    return re.sub(r"[^a-z0-9{}]+", " ", text).strip()


def test_paraphrases_are_as_complete_as_wordings_and_never_the_same():
    assert PARAPHRASES.keys() == WORDINGS.keys()
    known = {plain(text) for texts in WORDINGS.values() for text in texts}
    for name, texts in PARAPHRASES.items():
        for text in texts:
            assert plain(text) not in known
            assert set(re.findall(r"{\d}", text)) == set(re.findall(r"{\d}", WORDINGS[name][0]))


@FEW
@given(seed=SEEDS)
def test_what_is_paraphrased_was_never_said_in_training(seed):
    scene = draw_scene(seed)
    for paraphrased, table, other in ((False, KNOWN, NEW), (True, NEW, KNOWN)):
        rng = np.random.default_rng(seed)
        for question in ask(scene, rng, TYPES, paraphrased=paraphrased):
            text = question.text.removeprefix(CHOICE_PREFIX)
            if question.type == "choice":
                text = options_of(text)[0]
            assert wordings_of(text, table), text
            assert not wordings_of(text, other), text


def test_a_phrase_goes_before_the_question_or_after_it():
    seen = {with_lead_in("how many?", np.random.default_rng(number)) for number in range(300)}
    before = {text for text in seen if text.endswith("how many?")}
    after = {text for text in seen if text.startswith("how many? ")}
    assert len(before) > 10
    assert len(after) > 4
    assert seen == before | after
    for text in seen:
        assert question_itself(text) == "how many?"


@FEW
@given(seed=SEEDS, paraphrased=st.booleans())
def test_a_phrase_around_a_question_changes_nothing_of_it(seed, paraphrased):
    scene, rng = draw_scene(seed), np.random.default_rng(seed)
    for question in ask(scene, rng, TYPES, paraphrased=paraphrased):
        told = dataclasses.replace(question, text=with_lead_in(question.text, rng))
        assert told.text != question.text
        assert question.text in told.text
        # What mentions mean is looked up where their words stand last.
        for mention in question.mentions if question.type != "caption" else ():
            assert len(re.findall(rf"\b{mention.words}", told.text)) == 1
        if question.type not in ("caption", "choice"):
            assert true_answer(scene, told) == question.answer, told


def test_no_training_sentence_holds_one_of_the_tests():
    """Not even one that asks for something else and goes on."""
    known = set(chain(*WORDINGS.values()))
    for new in chain(*PARAPHRASES.values()):
        assert [text for text in known if new.rstrip(".?") in text] == []


def test_no_sentence_of_the_tests_is_one_of_training_and_more():
    known = {text.rstrip(".?") for text in chain(*WORDINGS.values())}
    for new in chain(*PARAPHRASES.values()):
        assert [text for text in known if text in new] == []


@FEW
@given(seed=SEEDS, paraphrased=st.booleans())
def test_mentions_are_words_of_the_question_and_mean_their_things(seed, paraphrased):
    scene = draw_scene(seed)
    for question in ask(scene, np.random.default_rng(seed), TYPES, paraphrased=paraphrased):
        if question.type == "caption":
            said = [mention.words for mention in question.mentions]
            assert re.findall(rf"(?:{COLOUR}) (?:{KIND})", question.answer) == said
            continue
        gaps = {"count": 0, "face": 0, **dict.fromkeys(PAIR_TYPES, 2)}
        if question.type != "choice":
            assert len(question.mentions) == gaps.get(question.type, 1)
        for mention in question.mentions:
            assert len(re.findall(rf"\b{re.escape(mention.words)}", question.text)) == 1
            meant = things_meant(scene, re.sub(r"crosse$", "cross", mention.words))
            assert list(mention.things) == meant


@FEW
@given(seed=SEEDS)
def test_options_stand_in_the_text_and_the_letter_picks_the_right_one(seed):
    scene = draw_scene(seed)
    for question in ask(scene, np.random.default_rng(seed), ["choice"]):
        _, listed = options_of(question.text.removeprefix(CHOICE_PREFIX))
        assert " ".join(question.options) in question.text
        for (letter, said), option in zip(listed.items(), question.options, strict=True):
            assert option in (f"({letter}) {said}", f"{letter}. {said}")


def test_mentions_of_a_conversation_mean_what_it_is_about():
    told = 0
    for number in range(60):
        scene = numbered_scene(number)
        for turn in dialogue(scene, np.random.default_rng(number), 5):
            for mention in turn.mentions:
                assert len(re.findall(rf"\b{mention.words}", turn.text)) == 1
                assert mention.things == turn.targets
                told += mention.words == "it"
    assert told > 60


@FEW
@given(seed=SEEDS, new=st.booleans())
def test_long_prompts_put_the_question_after_all_that_clip_can_read(seed, new):
    scene = draw_scene(seed)
    others = [f"the {thing.phrase}" for thing in scene.things]
    rng = np.random.default_rng(seed)
    for question in ask(scene, rng, ["count", "motion", "colour"]):
        text = long_prompt(question.text, rng, distractors=others, new=new)
        before = text.removesuffix(question.text)
        # No token is longer than a word, and CLIP has 77 positions.
        assert before != text
        assert 77 < len(before.split()) < 140
        assert question_itself(text) == question_itself(question.text)
        assert "{" not in text
        said = re.findall(NAME, before)
        assert all(name in others for name in said)
        sentences = re.split(r"(?<=\.) ", before.strip())
        assert len(set(sentences)) == len(sentences) >= 6
        assert true_answer(scene, dataclasses.replace(question, text=text)) == question.answer


def test_new_long_prompts_begin_with_what_training_never_said():
    def first_words(new):
        prompts = [
            long_prompt("?", np.random.default_rng(n), distractors=["the star"], new=new)
            for n in range(60)
        ]
        return [re.split(r"(?<=\.) ", prompt)[:3] for prompt in prompts]

    known = {sentence for three in first_words(False) for sentence in three}
    new = {sentence for three in first_words(True) for sentence in three}
    assert known & new == set()
    assert len(known) > 10
    assert len(new) > 4


def test_the_grammar_of_questions():
    texts = [
        q.text
        for n in range(150)
        for paraphrased in (False, True)
        for q in ask(numbered_scene(n), np.random.default_rng(n), TYPES, paraphrased=paraphrased)
    ]
    assert any(" an orange " in text for text in texts)
    faults = r" a orange |crosss| {2}|{|\bthe the\b|crosse\b"
    assert [text for text in texts if re.search(faults, text)] == []
