"""What the language model is helped to know where words speak of a thing."""

from __future__ import annotations

import dataclasses
import math
from itertools import islice

import numpy as np
import pytest
import torch
from small_models import small_model

from pplava_core.shapes import questions as world
from pplava_core.shapes.drawing import draw_scene
from pplava_core.shapes.prompts import long_prompt
from pplava_core.train import mentions
from pplava_core.train.mentions import (
    CLASSES,
    DIFFERENCES,
    MEASURES,
    UNKNOWN,
    MentionHeads,
    differences,
    facts,
)
from pplava_core.train.packs import Pack
from pplava_core.train.rows import row_of


@pytest.fixture(scope="module")
def words():
    return small_model().words


def named(classes):
    return dict(zip(CLASSES, classes, strict=True))


def measured(measures):
    return dict(zip(MEASURES, measures, strict=True))


def scenes_with(wanted, count=3):
    return list(islice((s for s in map(draw_scene, range(500)) if wanted(s)), count))


def test_of_one_thing_everything_is_known():
    for scene in scenes_with(lambda s: any(t.mark and t.appears > 0 for t in s.things)):
        number, thing = next((n, t) for n, t in enumerate(scene.things) if t.mark and t.appears)
        classes, measures = facts(scene, (number,))
        told = named(classes)
        assert told["count"] == 1
        assert list(mentions.COLOURS)[told["colour"]] == thing.colour
        assert mentions.KINDS[told["kind"]] == thing.kind
        assert mentions.MOTIONS[told["motion"]] == thing.motion
        assert told["mark"] > 0
        assert told["blinks"] == UNKNOWN  # it comes late, which might be taken for a blink
        seconds = math.sinh(measured(measures)["appears_seconds"]) * 4
        assert seconds == pytest.approx(thing.appears * scene.duration_seconds)
        assert measured(measures)["start_x"] / 4 + 0.5 == pytest.approx(thing.start[0])


def test_marks_are_told_apart():
    found = {}
    for scene in map(draw_scene, range(300)):
        for number, thing in enumerate(scene.things):
            found.setdefault(named(facts(scene, (number,))[0])["mark"], set()).add(thing.mark)
    assert len(found) > 15
    assert all(len(marks) == 1 for marks in found.values())


def test_of_several_or_none_only_the_number_is_known():
    scene = scenes_with(lambda s: len(s.things) >= 3, 1)[0]
    for things in ((), (0, 1), (0, 1, 2)):
        classes, measures = facts(scene, things)
        assert classes == [len(things), *[UNKNOWN] * (len(CLASSES) - 1)]
        assert all(map(math.isnan, measures))


def text_until(row, place, words):
    return words.tokenizer.decode(row.ids[2 : place + 1], skip_special_tokens=True)


def test_a_mention_is_noted_where_its_words_end(words):
    noted, compared = 0, set()
    for number in range(60):
        scene, rng = draw_scene(number), np.random.default_rng(number)
        for question in world.ask(scene, rng, world.TYPES):
            if rng.random() < 0.3:
                others = [f"the {thing.phrase}" for thing in scene.things]
                text = long_prompt(question.text, rng, distractors=others)
                question = dataclasses.replace(question, text=text)
            pack = Pack(clip=0, guide="x", targets=question.targets, questions=(question,))
            row = row_of(pack, words)
            own = row.notes.mentions[: len(question.mentions)]
            if question.type == "caption":
                places = [place for place, _ in own]
                assert places == sorted(set(places))
                assert min(places, default=10**6) > row.places[0]
            for (place, things), mention in zip(own, question.mentions, strict=True):
                said = text_until(row, place, words)
                assert said.rstrip("s").endswith(mention.words.lower().rstrip("s"))
                assert things == mention.things
                noted += 1
            rest = row.notes.mentions[len(own) :]
            assert bool(row.notes.told) == (question.type == "caption")
            if question.type in ("relation", "larger", "faster", "order", "before"):
                first = row.places[0]
                chosen = question.type in ("larger", "faster", "order")
                assert rest == [(first, question.targets[:1])] * chosen
                spoken = sorted((question.text.rindex(m.words), m) for m in question.mentions)
                pair = tuple(mention.things[0] for _, mention in spoken)
                assert row.notes.pairs == [(row.places[0], pair)]
                compared.add(question.type)
            else:
                assert row.notes.pairs == []
                assert rest[-1:] == [(row.places[0], question.targets)]
                offering = rest[:-1]
                if question.type == "caption":
                    firsts = {things: place for place, things in reversed(offering)}
                    before = [text_until(row, firsts[things], words) for _, things in own]
                    after = [text_until(row, place, words) for place, _ in own]
                    assert len(firsts) == len(own)
                    told = [(place, things[0]) for place, things in (*own, *offering)]
                    assert row.notes.told == told
                    for mention, start, end in zip(question.mentions, before, after, strict=True):
                        assert end.removeprefix(start).strip() == mention.words
                    continue
                assert len(offering) == (question.type == "choice")
                for place, things in offering:
                    assert text_until(row, place, words).endswith(("?", ".", ":"))
                    assert things == question.targets
    assert noted > 300
    assert len(compared) == 5


def test_differences_are_those_that_answers_rest_on():
    seen = {}
    for number in range(150):
        scene, rng = draw_scene(number), np.random.default_rng(number)
        for question in world.ask(scene, rng, ["larger", "order", "faster"]):
            told = dict(zip(DIFFERENCES, differences(scene, *question.targets), strict=True))
            name = {"larger": "larger", "order": "later", "faster": "faster"}[question.type]
            # The first target is the one that the answer names.
            assert (told[name] > 0) == (question.type != "order")
            back = differences(scene, *question.targets[::-1])
            assert back == pytest.approx([-value for value in told.values()])
            seen[name] = seen.get(name, 0) + 1
    assert min(seen.values()) > 10


def test_options_are_noted_with_the_right_one(words):
    seen = 0
    for number in range(200):
        scene, rng = draw_scene(number), np.random.default_rng(number)
        for question in world.ask(scene, rng, ["choice"]):
            pack = Pack(clip=0, guide="x", targets=(), questions=(question,))
            row = row_of(pack, words)
            assert [right for _, _, right in row.notes.options].count(True) == 1
            for (place, told, right), option, letter in zip(
                row.notes.options, question.options, "ABCD", strict=True
            ):
                assert text_until(row, place, words).endswith(option.lower())
                assert told == letter
                assert right == (letter == question.answer)
                seen += 1
    assert seen > 300


def test_of_earlier_turns_nothing_is_noted(words):
    turns = world.dialogue(draw_scene(4), np.random.default_rng(1), 4)
    pack = Pack(clip=0, guide="x", targets=(), questions=tuple(turns), talk=True, untaught=3)
    whole = dataclasses.replace(pack, untaught=0)
    late = row_of(pack, words).notes.mentions
    assert late == row_of(whole, words).notes.mentions[-len(late) :]
    assert len(late) < len(row_of(whole, words).notes.mentions)


def test_heads_read_what_states_say_and_skip_what_is_not_known():
    torch.manual_seed(0)
    scenes = [draw_scene(number) for number in range(40)]
    noted = [facts(scene, (0,)) for scene in scenes] + [facts(scenes[0], ())]
    heads = MentionHeads(64, (1, 2))
    states = [torch.randn(len(noted), 64) for _ in heads.layers]
    optimiser = torch.optim.Adam([*heads.parameters(), *(s.requires_grad_() for s in states)], 0.1)
    losses = []
    for _ in range(200):
        loss = heads.facts_loss(states, noted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    true = torch.tensor([differences(scene, 0, 0) for scene in scenes])
    assert heads.differences_loss([state[: len(true)] for state in states], true).isfinite()
    assert losses[0] > 3
    assert losses[-1] < 0.05
    nothing = [facts(scenes[0], ())]
    assert math.isfinite(heads.facts_loss([s[:1] for s in states], nothing).item())
