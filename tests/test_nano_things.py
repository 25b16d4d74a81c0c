"""What reads things off patches learns together with the tower, whose features stay."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_models import small_model, write_recipe
from small_runs import follow, log_of, same_weights, weights_of

from pplava_core.errors import RecipeError
from pplava_core.models.backbones.nano_things import SORTS
from pplava_core.models.checkpoint import save_model
from pplava_core.shapes.drawing import draw_scene
from pplava_core.train import read_recipe
from pplava_core.train.attending import by_sort, shared_out, sort_of
from pplava_core.train.things import ThingsStage

LISTS = {"tells_average": True, "tells_count": True, "tells_list": True}


def things_recipe(folder, **changes):
    return write_recipe(
        folder / "things.toml",
        drop=("model",),
        stage="things",
        **{"initial": str(folder / "initial"), **changes},
    )


@pytest.fixture
def stage(tmp_path):
    recipe = read_recipe(things_recipe(tmp_path, data={"crowd_share": 0.5}))
    return ThingsStage(recipe, small_model(**LISTS))


def test_the_stage_trains_tower_and_reading_and_nothing_else(tmp_path):
    save_model(small_model(**LISTS), tmp_path / "initial")
    made = follow(things_recipe(tmp_path))
    one, other = weights_of(tmp_path / "initial"), weights_of(made)
    changed = {name for name in one if not torch.equal(one[name], other[name])}
    assert any(name.startswith("parts.tower.") for name in changed)
    assert any(name.startswith("parts.things.") for name in changed)
    assert all(name.startswith(("parts.tower.", "parts.things.")) for name in changed)
    scores = [line for line in log_of(tmp_path / "run") if "validation_sorts" in line]
    assert [line["step"] for line in scores] == [2, 4]
    assert all(0 <= line["validation_sorts"] <= 1 for line in scores)
    again = follow(things_recipe(tmp_path), output=str(tmp_path / "again"))
    assert same_weights(other, weights_of(again))


def test_features_that_move_cost_more_than_those_that_stay(stage):
    batch = stage.batch(0)
    with torch.no_grad():
        loss, numbers = stage.loss(batch)
        assert numbers["moved"] == 0
        for parameter in stage.video.parts.tower.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        other, moved = stage.loss(batch)
    assert moved["moved"] > 0.01
    torch.testing.assert_close(
        (other - loss).item(), moved["held"] - numbers["held"] + 3 * moved["moved"]
    )


def test_what_is_read_off_patches_is_learned_from_what_they_hold(stage):
    batch = stage.batch(0)
    stage.video.parts.read_things = lambda features: batch.held
    assert stage.loss(batch)[1]["held"] == 0
    assert stage.evaluate()["sorts"] < 1  # the validation's batches hold other things
    stage.video.parts.read_things = lambda features: batch.held.roll(1, -1)
    assert stage.loss(batch)[1]["held"] > 0.1


def test_crowds_are_drawn_more_often_where_they_are_asked_for(stage):
    def things(share):
        data = dataclasses.replace(stage.recipe.data, crowd_share=share)
        stage.recipe = dataclasses.replace(stage.recipe, data=data)
        held = torch.stack([stage.batch(number).held for number in range(8)])
        return held[..., :SORTS].sum((3, 4, 5)).mean().item()

    assert things(1.0) > things(0.0) + 0.5


def test_a_batch_depends_on_its_number_and_split_alone(stage):
    one, again = stage.batch(3), stage.batch(3)
    assert torch.equal(one.frames, again.frames)
    assert torch.equal(one.held, again.held)
    assert not torch.equal(one.frames, stage.batch(4).frames)
    assert not torch.equal(one.frames, stage.batch(3, "validation").frames)


def test_a_thing_is_shared_out_among_its_patches_by_sort():
    scene = draw_scene(4)
    coverage = torch.rand(len(scene.things), 2, 3, 3)
    coverage[0, 0] = 0.01  # hardly seen
    shares = shared_out(coverage)
    assert not shares[0, 0].any()
    torch.testing.assert_close(shares.sum((2, 3))[1:], torch.ones(len(scene.things) - 1, 2))
    held = by_sort(shares, scene)
    sort = sort_of(scene.things[1])
    alike = [n for n, thing in enumerate(scene.things) if sort_of(thing) == sort]
    torch.testing.assert_close(held[..., sort], shares[alike].sum(0))
    torch.testing.assert_close(held[..., :SORTS].sum(-1), shares.sum(0))


def test_a_model_that_lists_nothing_has_nothing_to_learn(tmp_path):
    recipe = read_recipe(things_recipe(tmp_path))
    with pytest.raises(RecipeError, match="tells_list"):
        ThingsStage(recipe, small_model())
