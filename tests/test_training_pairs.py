"""What the first stage learns from and how it is scored: plain pairs, no masks, its losses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import write_recipe
from small_runs import few_amounts, follow, log_of
from torch import nn

from pplava_core.errors import InputError, RecipeError
from pplava_core.models.checkpoint import load_model
from pplava_core.shapes.drawing import draw_scene
from pplava_core.shapes.questions import TYPES, ask
from pplava_core.shapes.scene import COLOURS, KINDS
from pplava_core.train import vocabulary
from pplava_core.train.align import (
    AlignStage,
    contrastive_loss,
    grounding_loss,
    patch_cosines,
)
from pplava_core.train.features import sampled_moments
from pplava_core.train.recipe import read_recipe


@pytest.fixture(scope="module", autouse=True)
def small_amounts():
    with few_amounts():
        yield


def test_without_masks_only_clips_and_texts_are_contrasted(tmp_path):
    recipe = write_recipe(tmp_path / "recipe.toml", steps=2, data={"masks": False})
    model = load_model(follow(recipe))
    assert model.config.training["align"]["masks"] is False
    losses = [line for line in log_of(tmp_path / "run") if "loss" in line]
    assert all("contrast" in line and "grounding" not in line for line in losses)
    assert "validation_contrast" in log_of(tmp_path / "run")[-1]


def write_pairs(folder, count=5):
    lines = []
    for number, colour in enumerate(list(COLOURS)[:count]):
        Image.new("RGB", (40 + number, 30), COLOURS[colour]).save(folder / f"{colour}.png")
        lines.append({"image": f"{colour}.png", "text": f"a {colour} picture"})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"source": "pairs", "path": "pairs.jsonl", "clips_per_step": 4, "frames_per_clip": 2}


def test_plain_pairs_are_learned_from(tmp_path):
    recipe = write_recipe(tmp_path / "recipe.toml", steps=2, data=write_pairs(tmp_path))
    model = load_model(follow(recipe))
    assert model.config.training["align"] == {
        "seed": 3,
        "steps": 2,
        "data": "pairs",
        "precision": "no",
        "masks": False,
    }
    stage = AlignStage(read_recipe(recipe), model)
    batch = stage.batch(0)
    assert batch.frames.shape == (4, 2, 3, 48, 48)
    assert len(set(batch.texts)) == 4
    for frames, text in zip(batch.frames, batch.texts, strict=True):
        wanted = COLOURS[text.split()[1]]
        assert frames[0].float().mean((1, 2)) == pytest.approx(wanted, abs=1.0)
        assert torch.equal(frames[0], frames[1])


def test_pairs_that_cannot_be_read_are_one_line(tmp_path):
    data = write_pairs(tmp_path)
    recipe = write_recipe(tmp_path / "recipe.toml", steps=2, data=data)
    for path in tmp_path.glob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(InputError) as caught:
        follow(recipe)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"image": "a.png"}\n', "line 1"),
        ('{"image": "a.png", "text": "x"}\nnot json\n', "line 2"),
        ("[1]\n", "line 1"),
        ('{"image": "a.png", "text": "x"}\n', "at least two"),
        ("", "at least two"),
    ],
)
def test_a_damaged_file_of_pairs_is_one_line(tmp_path, text, part):
    data = write_pairs(tmp_path)
    (tmp_path / "pairs.jsonl").write_text(text)
    with pytest.raises(RecipeError, match=part) as caught:
        follow(write_recipe(tmp_path / "recipe.toml", data=data))
    assert "\n" not in str(caught.value)


def test_a_missing_file_of_pairs_is_named(tmp_path):
    data = {"source": "pairs", "path": "absent.jsonl"}
    with pytest.raises(RecipeError, match="No such file"):
        follow(write_recipe(tmp_path / "recipe.toml", data=data))


def test_the_losses_equal_slow_ones():
    torch.manual_seed(0)
    patches = nn.functional.normalize(torch.randn(3, 2, 2, 2, 5), dim=-1)
    texts = nn.functional.normalize(torch.randn(4, 5), dim=-1)
    clip_of, scale = torch.tensor([2, 0, 0, 1]), torch.tensor(7.0)
    cosines = patch_cosines(patches, texts, clip_of)
    for number, clip in enumerate(clip_of):
        for place, patch in enumerate(patches[clip].flatten(0, 2)):
            assert cosines[number, place] == pytest.approx(float(texts[number] @ patch), abs=1e-6)
    targets = torch.rand(4, 2, 2, 2)
    targets /= targets.sum((1, 2, 3), keepdim=True)
    slow = 0.0
    for number in range(4):
        logits = (cosines[number] * scale).tolist()
        total = sum(np.exp(logits))
        slow -= sum(
            float(t) * np.log(np.exp(x) / total)
            for t, x in zip(targets[number].flatten(), logits, strict=True)
        )
    loss = grounding_loss(patches, texts, clip_of, targets, scale)
    assert float(loss) == pytest.approx(slow / 4, rel=1e-5)


def test_the_contrast_is_symmetric_and_best_for_the_right_pairs():
    torch.manual_seed(1)
    patches = torch.randn(3, 2, 2, 2, 5)
    clips = nn.functional.normalize(patches.flatten(1, 3).mean(1), dim=-1)
    scale = torch.tensor(20.0)
    order = torch.tensor([2, 0, 1])
    right = contrastive_loss(patches, clips[order], order, scale)
    wrong = contrastive_loss(patches, clips, order, scale)
    assert float(right) < 0.1 < float(wrong)
    swapped = contrastive_loss(patches[order], clips[order], torch.arange(3), scale)
    assert float(right) == pytest.approx(float(swapped), abs=1e-5)


def test_sampled_moments_are_in_order_and_in_the_film():
    for seed in range(50):
        for frames in (1, 4, 16):
            moments = sampled_moments(np.random.default_rng(seed), frames)
            assert len(moments) == frames
            assert moments == sorted(moments)
            assert moments[0] >= 0.0
            assert moments[-1] < 1.0


def test_the_vocabulary_knows_the_words_of_the_world():
    tokenizer = vocabulary.world_tokenizer(vocab_size=640, seed=1)
    for word in (*COLOURS, *KINDS):
        assert len(tokenizer.encode(word, add_special_tokens=False).ids) <= 2
    for question in ask(draw_scene(3), np.random.default_rng(3), TYPES):
        ids = tokenizer.encode(question.text, add_special_tokens=False).ids
        assert tokenizer.decode(ids).strip() == question.text.lower()
    again = vocabulary.world_tokenizer(vocab_size=640, seed=1)
    assert again.to_str() == tokenizer.to_str()
