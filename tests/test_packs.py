"""Packs of questions: what shares a pooling, and that nothing in a pack sees the rest of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_models import small_model, write_recipe

from pplava_core.shapes import questions as world
from pplava_core.shapes.descriptions import telling_order
from pplava_core.shapes.drawing import draw_redundant_scene, draw_scene, key_things
from pplava_core.train import instruct, packs, read_recipe
from pplava_core.train.instruct import InstructStage
from pplava_core.train.recipe import Data


@pytest.fixture
def stage(tmp_path, monkeypatch):
    counts = {"films": 8, "long": 8}
    monkeypatch.setattr(instruct, "VALIDATION_COUNTS", counts)
    monkeypatch.setattr(instruct, "_SCALE_BATCHES", 2)
    long = {"long_clips": 8, "long_frames": 8, "long_share": 0.3}
    recipe = write_recipe(
        tmp_path / "recipe.toml",
        drop=("model",),
        stage="instruct",
        initial="x",
        data={**long, "questions_per_clip": 4, "clips": 8},
    )
    return InstructStage(read_recipe(recipe), small_model(tells_magnitude=True))


def film_batches(stage):
    return [b for b in map(stage.batch, range(12)) if b.features.shape[1] == 4]


def logits_of(stage, batch, relevance):
    with torch.no_grad():
        told = stage._told(batch, relevance)
    rows = [number for number, row in enumerate(told.rows) for _ in row.labels]
    return told.logits, told.labels, told.weights, torch.tensor(rows)


def test_a_question_in_a_pack_is_answered_as_if_it_were_alone(stage):
    stage.video.eval()
    compared = 0
    for batch in film_batches(stage):
        relevance = (10 * stage._cosines(batch)).softmax(-1).detach()
        together, labels, _, rows = logits_of(stage, batch, relevance)
        for number, pack in enumerate(batch.packs):
            if pack.talk or len(pack.questions) < 2:
                continue
            alone = [
                dataclasses.replace(pack, questions=(question,)) for question in pack.questions
            ]
            single = dataclasses.replace(
                batch, packs=tuple(alone), targets=batch.targets[[number] * len(alone)]
            )
            one_by_one = logits_of(stage, single, relevance[[number] * len(alone)])
            torch.testing.assert_close(together[rows == number], one_by_one[0], atol=1e-4, rtol=0)
            assert labels[rows == number].tolist() == one_by_one[1].tolist()
            compared += len(alone)
    assert compared > 20


def test_every_taught_question_of_a_pack_is_scored_by_its_own_words(stage, monkeypatch):
    stage.video.eval()
    for batch in film_batches(stage)[:2]:
        with torch.no_grad():
            told = stage._told(batch, torch.full_like(batch.targets, 1 / batch.targets.shape[1]))
        logits = torch.nn.functional.one_hot(told.labels, told.logits.shape[1]).float()
        taught = [q for pack in batch.packs for q in pack.questions[pack.untaught :]]
        for wrong_at in (None, 0, len(told.rows[0].labels)):
            answered = logits.clone()
            if wrong_at is not None:
                answered[wrong_at] = 1 - answered[wrong_at]
            faked = dataclasses.replace(told, logits=answered)
            monkeypatch.setattr(stage, "_told", lambda *_, faked=faked: faked)
            hits = stage.hits(batch)
            assert [name for name, _ in hits] == [question.type for question in taught]
            assert [hit for _, hit in hits].count(False) == (wrong_at is not None)
        monkeypatch.undo()


def test_a_turn_of_a_conversation_is_answered_as_chat_would_ask_it(stage):
    stage.video.eval()
    talks = (world.dialogue(draw_scene(n), np.random.default_rng(3), 3) for n in range(50))
    turns = next(turns for turns in talks if len(turns) == 3)
    pack = packs.Pack(clip=0, guide="x", targets=(), questions=tuple(turns), talk=True, untaught=2)
    first = film_batches(stage)[0]
    batch = dataclasses.replace(first, packs=(pack,), targets=first.targets[:1])
    relevance = torch.full_like(batch.targets, 1 / batch.targets.shape[1])
    logits, labels, _, _ = logits_of(stage, batch, relevance)
    tokens = stage._visual_tokens(batch, relevance)
    history = [(turn.text, turn.answer) for turn in turns[:2]]
    words = stage.video.words
    prompt = words.prompt_ids(turns[2].text, history)
    answer = [*words.tokenizer.encode(turns[2].answer, add_special_tokens=False).ids, words.end_id]
    assert labels.tolist() == answer
    ids = torch.tensor([[*prompt, *answer[:-1]]])
    with torch.no_grad():
        embeddings = stage.video.prompt_embeddings(tokens, ids)
        alone = stage.video.llm(inputs_embeds=embeddings).logits[0, -len(answer) :]
    torch.testing.assert_close(logits, alone, atol=1e-4, rtol=0)


def draw(number, *, kind="films", **shares):
    data = Data(questions_per_clip=4, **{"long_prompt_share": 0.0, "history_share": 0.0, **shares})
    scene = draw_redundant_scene(number) if kind == "long" else draw_scene(number)
    return scene, packs.draw_pack(0, scene, kind, np.random.default_rng(number), data)


def test_all_questions_of_a_pack_are_about_what_was_pooled():
    sizes, singles = [], 0
    for number in range(200):
        _, pack = draw(number)
        lead, *company = pack.questions
        assert lead.text == pack.guide
        assert lead.targets == pack.targets
        for question in company:
            same = set(question.targets) == set(pack.targets)
            assert same or (len(question.targets) == 1 and question.targets[0] in pack.targets)
            singles += not same
        sizes.append(len(pack.questions))
    assert singles > 50
    assert max(sizes) == 4
    assert np.mean(sizes) > 2


def test_counts_that_lead_are_often_the_greatest_of_their_scene():
    greatest, asked = 0, 0
    for number in range(600):
        scene, pack = draw(number)
        lead = pack.questions[0]
        if lead.type in ("count_colour", "count_kind"):
            name = lead.type.removeprefix("count_")
            named = [getattr(thing, name) for thing in scene.things]
            greatest += int(lead.answer) == max(map(named.count, named))
            asked += 1
    assert asked > 60
    assert 0.6 < greatest / asked < 0.95


def test_questions_how_many_lead_more_often_where_they_weigh_more():
    shares = []
    for weight in (0.2, 1.0, 5.0):
        drawn = [draw(n, history_share=0.0, count_weight=weight)[1] for n in range(150)]
        shares.append(sum(pack.questions[0].type in packs.COUNTS for pack in drawn) / len(drawn))
    assert shares[0] < 0.15
    assert shares[1] < 0.45
    assert shares[2] > 0.55


def test_descriptions_lead_many_packs_in_twos_and_in_order():
    packed = 0
    for number in range(300):
        scene, pack = draw(number)
        names = [question.type for question in pack.questions]
        assert names.count("caption") == 2 * (names[0] == "caption")
        packed += names[0] == "caption"
        for question in pack.questions[: names.count("caption")]:
            order = [mention.things[0] for mention in question.mentions]
            assert order == telling_order(scene)
    assert 75 < packed < 180


def test_some_clips_are_drawn_evenly_from_crowds(stage):
    data = dataclasses.replace(stage.recipe.data, crowd_share=1.0)
    crowded = dataclasses.replace(stage.recipe, data=data)
    found = InstructStage(crowded, stage.video).crowds
    assert "long" not in found
    sizes = [{stage.store.scene("films", n).most_alike for n in crowd} for crowd in found["films"]]
    assert all(len(size) == 1 and min(size) >= 3 for size in sizes)
    stage.recipe, stage.crowds = crowded, {"films": [[1], [2, 3]]}
    drawn = [n for number in range(40) for n in stage._choose("films", batch_dice(number))]
    assert set(drawn) == {1, 2, 3}
    assert 0.3 < drawn.count(1) / len(drawn) < 0.7
    assert set(stage._choose("long", batch_dice(1))) - {1, 2, 3}


def batch_dice(number):
    return np.random.default_rng([number, 4])


def test_pictures_are_asked_nothing_about_time():
    types = {q.type for number in range(100) for q in draw(number, kind="stills")[1].questions}
    assert types
    assert not types & set(world.MOVING_TYPES)


def test_long_films_are_asked_about_what_matters():
    for number in range(100):
        scene, pack = draw(number, kind="long")
        assert not pack.targets or set(key_things(scene)) & set(pack.targets)


def test_conversations_teach_only_what_their_last_guide_shows():
    seen = 0
    for number in range(200):
        _, pack = draw(number, history_share=1.0)
        if not pack.talk:
            continue  # nothing in the scene can be told from the rest
        taught = pack.questions[pack.untaught :]
        assert taught
        assert {frozenset(q.targets) for q in taught} == {frozenset(pack.targets)}
        assert pack.guide.endswith(pack.questions[-1].text)
        assert pack.guide.startswith(pack.questions[0].text)
        seen += pack.untaught > 0
    assert seen > 10


def test_some_conversations_end_with_options_or_a_comparison():
    packed = [draw(number, history_share=1.0)[1] for number in range(200)]
    last = {pack.questions[-1].type for pack in packed if pack.talk}
    assert {"choice", "larger", "order", "count_colour", "caption"} <= last


def test_some_conversations_are_about_anything_from_the_first_question_on():
    packed = [draw(number, history_share=1.0)[1] for number in range(200)]
    first = {pack.questions[0].type for pack in packed if pack.talk}
    assert {"choice", "count_colour", "caption"} <= first


def test_two_batches_of_a_step_are_alike_in_shape(stage):
    pairs = [(stage.batch(number), stage.batch(number + 1)) for number in range(0, 24, 2)]
    assert all(
        one.features.shape == other.features.shape and one.window == other.window
        for one, other in pairs
    )
    assert len({(one.features.shape, one.window) for one, _ in pairs}) > 1
    assert all(one.packs != other.packs for one, other in pairs)


def test_long_prompts_end_with_the_question():
    for number in range(40):
        _, pack = draw(number, long_prompt_share=0.9)
        if len(pack.guide) > 200:
            return
    pytest.fail("no long prompt in forty")


def test_the_masks_may_take_the_place_of_relevance(stage):
    batch = film_batches(stage)[0]
    noise = torch.rand_like(batch.targets).softmax(-1)
    own = stage._visual_tokens(batch, noise)
    data = dataclasses.replace(stage.recipe.data, relevance="masks")
    stage.recipe = dataclasses.replace(stage.recipe, data=data)
    by_masks = stage._visual_tokens(batch, noise)
    assert not torch.allclose(own, by_masks)
    torch.testing.assert_close(by_masks, stage._visual_tokens(batch, noise.roll(1, 0)))


def test_a_shuffled_question_is_one_about_another_clip(stage):
    data = dataclasses.replace(stage.recipe.data, relevance="shuffled")
    for batch in (film_batches(stage)[0], stage.validation_batch("films", 0)):
        packs = batch.packs
        for number, pack in enumerate(packs):
            guide = instruct._of_another_clip(packs, number)
            assert guide in {other.guide for other in packs if other.clip != pack.clip}
        own = stage._cosines(batch)
        recipe = stage.recipe
        stage.recipe = dataclasses.replace(recipe, data=data)
        shuffled = stage._cosines(batch)
        stage.recipe = recipe
        changed = (own - shuffled).abs().amax(1) > 1e-6
        assert changed.float().mean() > 0.8
