"""The stage that makes an aligner for a base model, on a tiny InternVL and rendered shapes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from aligner_pairs import NAMES, draw, write_align_recipe, write_pairs
from small_runs import Killed, follow, log_of, same_weights, weights_of
from tiny_internvl import write_clip, write_internvl

from pplava_core.errors import ModelError, RecipeError
from pplava_core.models.checkpoint import load_model
from pplava_core.models.layouts.aligner_folder import load_aligner
from pplava_core.shapes.film import encode_mp4
from pplava_core.train import patch_samples
from pplava_core.train.align_base import AlignBaseStage, new_aligner, text_clip_scores
from pplava_core.train.recipe import read_recipe


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return SimpleNamespace(
        base=write_internvl(folder / "base", grid=8),
        clip=write_clip(folder / "clip"),
        many=write_pairs(folder / "many", 240),
        few=write_pairs(folder / "few", 24),
    )


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """Train once, for long enough to learn something."""
    folder = tmp_path_factory.mktemp("align")
    recipe = recipe_of(tiny, folder / "r.toml", pairs=tiny.many, steps=160)
    return SimpleNamespace(recipe=recipe, aligner=follow(recipe), run=folder / "run")


def recipe_of(tiny, path, *, pairs=None, steps=4, **changes):
    given = {"base": tiny.base, "clip": tiny.clip, "pairs": pairs or tiny.few} | changes
    return write_align_recipe(path, steps=steps, **given)


def test_the_loss_falls_and_clips_find_their_texts(trained):
    log = log_of(trained.run)
    losses = [line["loss"] for line in log if "loss" in line]
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])
    assert log[-1]["validation_found"] >= 3 * log[-1]["validation_chance"]


def test_relevance_falls_on_what_the_text_speaks_of(tiny, trained):
    model = load_model(tiny.base, aligner=trained.aligner)
    rng = np.random.default_rng(9)
    pictures = np.stack([draw(*name, rng) for name in NAMES])
    shown = torch.from_numpy(pictures.max(-1) > 30)
    cells = shown.unflatten(2, (8, 8)).unflatten(1, (8, 8)).any(4).any(2)
    with torch.inference_mode():
        batch = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        grids = model.parts.encode_pictures(batch, "image")[:, None]
        texts = [f"a {colour} {kind}" for kind, colour in NAMES]
        weights = model.relevance(grids, texts)[:, 0]
    on_shape = (weights * cells).sum((1, 2)).mean()
    assert float(on_shape) > 2 * float(cells.float().mean())


def test_only_the_head_and_the_temperature_learn(tiny, trained):
    torch.manual_seed(5)
    before = new_aligner(tiny.clip, patch_width=64).encoder.state_dict()
    after = weights_of(trained.aligner)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {
        "patches.norm.weight",
        "patches.norm.bias",
        "patches.projection",
        "logit_scale",
    }
    aligner = load_aligner(trained.aligner)
    assert aligner.encoder.context_length == 248
    assert aligner.encoder.patch_settings.width == 64
    values = json.loads((trained.aligner / "config.json").read_text())["training"]
    made = {"seed": 5, "steps": 160, "data": "pairs", "precision": "no"}
    assert values == {**made, "base": str(tiny.base)}


def test_the_text_tower_learns_too_where_the_recipe_says_so(tiny, tmp_path):
    recipe = recipe_of(tiny, tmp_path / "r.toml", top="train_text_tower = true")
    after = weights_of(follow(recipe))
    torch.manual_seed(5)
    before = new_aligner(tiny.clip, patch_width=64).encoder.state_dict()
    name = "text.transformer.resblocks.0.mlp.c_fc.weight"
    assert not torch.equal(after[name], before[name])


def test_a_killed_run_goes_on_to_the_same_curve_and_weights(tiny, tmp_path):
    recipe = recipe_of(tiny, tmp_path / "r.toml", steps=6)
    whole = follow(recipe, output=str(tmp_path / "whole"))
    with pytest.raises(Killed):
        follow(recipe, output=str(tmp_path / "killed"), killed_at=5)
    resumed = follow(recipe, output=str(tmp_path / "killed"))
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")
    assert same_weights(weights_of(resumed), weights_of(whole))
    other = follow(recipe, output=str(tmp_path / "other"), seed=6)
    assert not same_weights(weights_of(other), weights_of(whole))


def test_the_tower_sees_every_clip_once(tiny, tmp_path, monkeypatch):
    recipe = read_recipe(recipe_of(tiny, tmp_path / "r.toml"))
    first = AlignBaseStage(recipe)
    monkeypatch.setattr(patch_samples, "load_model", None)
    again = AlignBaseStage(recipe)
    assert np.array_equal(first.patches, again.patches)
    assert first.patches.shape == (24, 48, 64)
    assert first.patches.dtype == np.float16
    batch = first.batch(3)
    assert batch.numbers == again.batch(3).numbers != first.batch(4).numbers
    texts = [first.pairs.pairs[number][1] for number in batch.numbers]
    assert len(set(texts)) == len(texts)
    assert not set(batch.numbers) & set(first.held_out)


def test_kept_patches_give_what_the_grid_gives(tiny, tmp_path):
    recipe = recipe_of(tiny, tmp_path / "r.toml").read_text().replace("= 48", "= 64")
    (tmp_path / "r.toml").write_text(recipe)
    stage = AlignBaseStage(read_recipe(tmp_path / "r.toml"))
    model = load_model(tiny.base)
    features = model.encode(stage.pairs.clip(5, 2)).features.flatten(0, 2)
    with torch.inference_mode():
        whole = stage.model.embed_patches(features)
        kept = stage.model.embed_patches(torch.tensor(stage.patches[5]).float())
    assert float((whole - kept).abs().max()) < 5e-3 * float(whole.abs().max())


def test_films_and_the_older_keys_are_pairs_too(tiny, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3), dtype=np.uint8)
    encode_mp4(noise, tmp_path / "a.mp4", fps=4)
    picture = tiny.few.parent / "0.png"
    lines = [{"video": "a.mp4", "text": "noise"}, {"image": str(picture), "text": "a shape"}]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    stage = AlignBaseStage(read_recipe(recipe_of(tiny, tmp_path / "r.toml", pairs=pairs)))
    assert stage.patches.shape == (2, 48, 64)
    assert list(stage.held_out) == stage.learned == [0, 1]


def test_scores_are_the_shares_of_a_relevance_over_all_clips():
    torch.manual_seed(0)
    patches = torch.nn.functional.normalize(torch.randn(3, 4, 5), dim=-1)
    texts = torch.nn.functional.normalize(torch.randn(2, 5), dim=-1)
    shares = text_clip_scores(patches, texts, torch.tensor(9.0)).softmax(-1)
    for number, text in enumerate(texts):
        relevance = (9.0 * patches.flatten(0, 1) @ text).softmax(-1)
        assert torch.allclose(shares[number], relevance.view(3, 4).sum(1), atol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("text_tower = ", "# ", "needs `initial`"),
        ('source = "pairs"', 'source = "shapes"', "needs `initial`"),
        ('stage = "align_base"', 'stage = "align"', "belong to the align_base stage"),
        ("patches_per_clip = 48", "patches_per_clip = 65", "ask for fewer"),
        ("patches_per_clip = 48", "patches_per_clip = 0", "above 0"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_one_line(tiny, tmp_path, old, new, part):
    path = recipe_of(tiny, tmp_path / "r.toml")
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RecipeError, match=part) as caught:
        follow(path)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named(tiny, tmp_path):
    for changes, part in (
        ({"clip": tmp_path}, "folder of a CLIP"),
        ({"base": "absent"}, "absent"),
        ({"base": tiny.clip}, "clip"),
    ):
        with pytest.raises(ModelError, match=part) as caught:
            follow(recipe_of(tiny, tmp_path / "r.toml", **changes))
        assert "\n" not in str(caught.value)
    pairs = shutil.copytree(tiny.few.parent, tmp_path / "pairs")
    (pairs / "3.png").unlink()
    with pytest.raises(RecipeError, match=r"3\.png: No such file"):
        follow(recipe_of(tiny, tmp_path / "r.toml", pairs=pairs / "pairs.jsonl"))


def test_an_aligner_for_another_tower_is_refused(tiny, trained, tmp_path):
    other = write_internvl(tmp_path / "other", grid=8, tower_width=32)
    with pytest.raises(ModelError, match=r"64 wide, and this tower's are 128"):
        load_model(other, aligner=trained.aligner)


def test_pairs_that_all_say_the_same_are_refused(tiny, tmp_path):
    lines = [json.dumps({"path": f"{number}.png", "text": "a shape"}) for number in range(4)]
    pairs = shutil.copytree(tiny.few.parent, tmp_path / "pairs") / "pairs.jsonl"
    pairs.write_text("\n".join(lines))
    with pytest.raises(RecipeError, match="every text is the same"):
        follow(recipe_of(tiny, tmp_path / "r.toml", pairs=pairs))


def test_the_example_can_be_read():
    recipe = read_recipe(Path(__file__).parents[1] / "configs" / "internvl3-align.toml")
    assert recipe.stage == "align_base"
    assert recipe.initial == "internvl3-1b"
