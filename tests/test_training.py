"""Both stages of training on a very small model, from nothing to a folder that loads."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import write_recipe
from small_runs import Killed, few_amounts, follow, log_of, same_weights, weights_of

from pplava_core import train
from pplava_core.errors import ModelError, RecipeError
from pplava_core.models.checkpoint import load_model
from pplava_core.models.language.generation import Generation, generate_ids
from pplava_core.shapes.questions import TYPES
from pplava_core.train import loop
from pplava_core.train.align import (
    PAIRS,
    AlignStage,
)
from pplava_core.train.instruct import InstructStage
from pplava_core.train.recipe import read_recipe
from pplava_core.window import Window


@pytest.fixture(scope="module", autouse=True)
def small_amounts():
    with few_amounts():
        yield


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    """Run the first stage once, uninterrupted."""
    folder = tmp_path_factory.mktemp("align")
    recipe = write_recipe(folder / "align.toml", steps=6, evaluate_every=3)
    return SimpleNamespace(recipe=recipe, model=follow(recipe), run=folder / "run")


def instruct_recipe(folder, aligned, **changes):
    changes = {"steps": 4, "evaluate_every": 4} | changes
    return write_recipe(
        folder / "instruct.toml",
        drop=("model",),
        stage="instruct",
        initial=str(aligned.model),
        **changes,
    )


@pytest.fixture(scope="module")
def instructed(tmp_path_factory, aligned):
    """Run the second stage once, uninterrupted."""
    folder = tmp_path_factory.mktemp("instruct")
    recipe = instruct_recipe(folder, aligned)
    return SimpleNamespace(recipe=recipe, model=follow(recipe), run=folder / "run")


def test_the_first_stage_leaves_a_log_a_curve_and_a_model(aligned):
    log = log_of(aligned.run)
    losses = [line for line in log if "loss" in line]
    assert [line["step"] for line in losses] == [1, 2, 3, 4, 5, 6]
    assert all({"grounding", "naming", "learning_rate"} <= set(line) for line in losses)
    scores = [line for line in log if "validation_peak" in line]
    assert [line["step"] for line in scores] == [3, 6]
    assert all(0 <= line[name] <= 1 for line in scores for name in line if name != "step")
    with Image.open(aligned.run / "curve.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 400
    assert aligned.model == aligned.run / "model"
    assert not list(aligned.run.glob("*.new"))


def test_the_model_says_how_it_was_made(aligned, instructed):
    first = load_model(aligned.model)
    assert first.config.training == {
        "align": {"seed": 3, "steps": 6, "data": "shapes", "masks": True}
    }
    second = load_model(instructed.model)
    assert second.config.training["align"] == first.config.training["align"]
    assert second.config.training["instruct"]["steps"] == 4
    assert second.aligner.context_length == 248


def test_a_stage_changes_what_it_trains_and_nothing_else(aligned, instructed):
    recipe = read_recipe(aligned.recipe)
    torch.manual_seed(recipe.seed)
    new = train._initial_model(recipe).state_dict()
    first, second = weights_of(aligned.model), weights_of(instructed.model)
    changed = {name for name in first if not torch.equal(first[name], new[name])}
    assert changed
    assert all(name.startswith(AlignStage.trained) for name in changed)
    names = [name for name in second if name != "aligner.text.positional_embedding"]
    changed = {name for name in names if not torch.equal(first[name], second[name])}
    measured = {"parts.scale.mean", "parts.scale.spread"}
    assert measured <= changed
    assert all(name.startswith(InstructStage.trained) for name in changed - measured)
    for part in ("parts.projector.", "llm.", "aligner.text.", "parts.places.", "parts.shortcut."):
        assert any(name.startswith(part) for name in changed)


def test_the_second_stage_scores_every_type(instructed):
    log = log_of(instructed.run)
    assert [line["step"] for line in log if "loss" in line] == [1, 2, 3, 4]
    scores = log[-1]
    names = {name.removeprefix("validation_") for name in scores if name != "step"}
    assert {"mean", "count", "colour", "presence", "caption"} <= names <= {"mean", *TYPES}
    values = [scores[f"validation_{name}"] for name in names - {"mean"}]
    assert scores["validation_mean"] == pytest.approx(np.mean(values), abs=1e-5)


def test_same_seed_same_curve_and_weights(aligned, tmp_path):
    again = follow(aligned.recipe, output=str(tmp_path / "again"))
    assert log_of(tmp_path / "again") == log_of(aligned.run)
    assert same_weights(weights_of(again), weights_of(aligned.model))


def test_another_seed_gives_another_curve(aligned, tmp_path):
    follow(aligned.recipe, output=str(tmp_path / "other"), seed=4)
    losses = [
        [line.get("loss") for line in log_of(run)] for run in (aligned.run, tmp_path / "other")
    ]
    assert losses[0] != losses[1]


def test_a_killed_run_goes_on_to_the_same_curve(aligned, tmp_path):
    run = tmp_path / "killed"
    with pytest.raises(Killed):
        follow(aligned.recipe, output=str(run), killed_at=5)
    assert not (run / "model").exists()
    assert json.loads((run / "state" / "step.json").read_text())["step"] == 4
    model = follow(aligned.recipe, output=str(run))
    assert log_of(run) == log_of(aligned.run)
    assert same_weights(weights_of(model), weights_of(aligned.model))


def test_the_second_stage_goes_on_as_well(instructed, tmp_path):
    run = tmp_path / "killed"
    with pytest.raises(Killed):
        follow(instructed.recipe, output=str(run), killed_at=3)
    model = follow(instructed.recipe, output=str(run))
    assert log_of(run) == log_of(instructed.run)
    assert same_weights(weights_of(model), weights_of(instructed.model))


def test_a_finished_run_is_not_run_again(instructed):
    before, log = weights_of(instructed.model), log_of(instructed.run)
    features = {path: path.stat().st_mtime_ns for path in (instructed.run / "features").iterdir()}
    follow(instructed.recipe, killed_at=4)
    assert same_weights(weights_of(instructed.model), before)
    assert log_of(instructed.run) == log
    assert len(features) == 4
    assert features == {path: path.stat().st_mtime_ns for path in features}


def test_a_run_with_another_seed_is_another_recipe(aligned):
    with pytest.raises(RecipeError, match="state of another recipe"):
        follow(aligned.recipe, seed=9)


@pytest.mark.filterwarnings("ignore:Mismatch dtype")
def test_bfloat16_trains_both_stages(aligned, tmp_path):
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)
    try:
        first = write_recipe(tmp_path / "align.toml", precision="bf16", steps=2)
        follow(first)
        follow(
            instruct_recipe(tmp_path, aligned, precision="bf16", steps=2),
            output=str(tmp_path / "two"),
        )
    finally:
        AcceleratorState._reset_state(True)
    for run in (tmp_path / "run", tmp_path / "two"):
        assert all(np.isfinite(line["loss"]) for line in log_of(run) if "loss" in line)
    assert {t.dtype for t in weights_of(tmp_path / "run" / "model").values()} == {torch.float32}


def test_a_missing_initial_model_is_a_model_error(tmp_path):
    recipe = write_recipe(tmp_path / "recipe.toml", drop=("model",), initial="nowhere")
    with pytest.raises(ModelError, match="nowhere"):
        follow(recipe)


def test_a_model_table_without_its_tables_is_refused(tmp_path):
    recipe = write_recipe(tmp_path / "recipe.toml", drop=("model.llm",))
    with pytest.raises(RecipeError, match="llm"):
        follow(recipe)


def test_too_few_clips_for_the_pictures_asked_for(aligned, tmp_path):
    data = {"clips": 3, "still_share": 0.1}
    with pytest.raises(RecipeError, match="still_share"):
        follow(instruct_recipe(tmp_path, aligned, data=data))


class OneBatch(AlignStage):
    """Sees the same few clips again and again."""

    def batch(self, number, split="train"):
        return super().batch(0, split)


def test_a_few_clips_are_learned_by_heart(tmp_path):
    changes = {"steps": 30, "log_every": 5, "evaluate_every": 30, "save_every": 30}
    rate = {"learning_rate": 1e-2, "warmup_steps": 5}
    path = write_recipe(tmp_path / "recipe.toml", optimiser=rate, **changes)
    recipe = read_recipe(path)
    torch.manual_seed(0)
    loop.train(OneBatch(recipe, train._initial_model(recipe)), recipe)
    losses = [line["loss"] for line in log_of(tmp_path / "run") if "loss" in line]
    assert losses[-1] < 0.6 * losses[0]


class OneInstructBatch(InstructStage):
    """Is asked the same few questions again and again."""

    def batch(self, number):
        return super().batch(1)


def test_a_few_answers_are_learned_by_heart(aligned, tmp_path):
    changes = {"steps": 30, "log_every": 5, "evaluate_every": 30, "save_every": 30}
    rate = {"learning_rate": 1e-2, "warmup_steps": 5}
    recipe = read_recipe(instruct_recipe(tmp_path, aligned, optimiser=rate, **changes))
    loop.train(OneInstructBatch(recipe, load_model(aligned.model)), recipe)
    log = [line for line in log_of(tmp_path / "run") if "loss" in line]
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert log[-1]["token_accuracy"] > log[0]["token_accuracy"]


@pytest.fixture(scope="module")
def stage(aligned):
    return AlignStage(read_recipe(aligned.recipe), load_model(aligned.model))


def test_batches_depend_on_their_number_alone(stage):
    first, again, second = stage.batch(5), stage.batch(5), stage.batch(6)
    assert torch.equal(first.frames, again.frames)
    assert first.texts == again.texts
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.frames, second.frames)
    assert not torch.equal(first.frames, stage.batch(5, "validation").frames)


def test_targets_of_texts_are_shares_on_the_things(stage):
    named = 0
    for number in range(6):
        batch = stage.batch(number)
        assert batch.targets.shape == (len(batch.texts), 2, 6, 6)
        assert batch.targets.sum((1, 2, 3)) == pytest.approx([1.0] * len(batch.texts), abs=1e-4)
        labels = batch.patch_labels
        assert labels.shape == (2, 2, 6, 6)
        for text, clip, target in zip(batch.texts, batch.clip_of, batch.targets, strict=True):
            phrase = next((pair for pair in PAIRS if text.endswith(pair)), None)
            if phrase is None or not (target == 0).any():
                continue
            # Where most of a phrase's weight lies, the renderer saw that very thing.
            peak = np.unravel_index(int(target.argmax()), target.shape)
            if labels[clip][peak] >= 0:
                assert PAIRS[labels[clip][peak]] == phrase
                named += 1
    assert named > 3


@pytest.fixture(scope="module")
def instruct_stage(instructed):
    return InstructStage(read_recipe(instructed.recipe), load_model(instructed.model))


def test_examples_are_about_the_clips_of_their_batch(instruct_stage):
    with_history = captions = stills = 0
    for number in range(30):
        batch = instruct_stage.batch(number)
        assert batch.features.ndim == 5
        stills += batch.features.shape[1] == 1
        assert {example.clip for example in batch.examples} == set(range(len(batch.features)))
        with_history += any(example.history for example in batch.examples)
        captions += batch.examples[0].question.type == "caption"
        again = instruct_stage.batch(number)
        assert again.examples == batch.examples
        assert torch.equal(again.features, batch.features)
    assert with_history
    assert captions
    assert 0 < stills < 30


def test_coarse_windows_come_first(aligned, tmp_path):
    data = {"coarse_batches": 10, "coarse_share": 0.5, "still_share": 0.25}
    recipe = read_recipe(instruct_recipe(tmp_path, aligned, data=data))
    stage = InstructStage(recipe, load_model(aligned.model))
    films = [n for n in range(60) if stage.batch(n).features.shape[1] > 1]
    windows = {number: stage.batch(number).window for number in films}
    coarse, fine = Window((2, 4, 4)), Window((2, 2, 2))
    assert {windows[n] for n in films if n < 10} == {coarse}
    later = [windows[n] for n in films if n >= 10]
    assert 0.2 < np.mean([window == coarse for window in later]) < 0.8
    assert set(later) == {coarse, fine}


def test_the_loss_is_on_the_answers_tokens_alone(instruct_stage):
    batch = instruct_stage.batch(2)
    model = instruct_stage.model.eval()
    with torch.no_grad():
        _, labels, rows = instruct_stage._answer_logits(batch)
        wanted = []
        for example in batch.examples:
            ids = model.words.tokenizer.encode(
                example.question.answer, add_special_tokens=False
            ).ids
            wanted += [*ids, model.words.end_id]
        assert labels.tolist() == wanted
        loss, _ = instruct_stage.loss(batch)
        # The slow way: each example alone, without padding, token by token.
        total = 0.0
        for number, example in enumerate(batch.examples):
            features = batch.features[example.clip : example.clip + 1]
            relevance = model.relevance(features, [example.question.text])
            tokens = model.visual_tokens(features, relevance, window=batch.window).tokens
            answer = labels[rows == number].tolist()
            ids = [*model.prompt_ids(example.question.text, example.history), *answer]
            embedded = model.prompt_embeddings(tokens, torch.tensor([ids]))
            said = model.llm(inputs_embeds=embedded).logits[0].log_softmax(-1)
            start = embedded.shape[1] - len(answer) - 1
            total -= sum(float(said[start + n, token]) for n, token in enumerate(answer))
    assert float(loss) == pytest.approx(total / len(labels), rel=1e-4)


def test_what_is_written_greedily_is_what_the_score_takes_for_likeliest(instruct_stage):
    model = instruct_stage.model.eval()
    batch = instruct_stage._validation_batch(0)
    for example in batch.examples[:4]:
        features = batch.features[example.clip : example.clip + 1]
        with torch.inference_mode():
            relevance = model.relevance(features, [example.question.text])
            tokens = model.visual_tokens(features, relevance, window=batch.window).tokens
            ids = torch.tensor([model.prompt_ids(example.question.text)])
            prompt = model.prompt_embeddings(tokens, ids)
        written = list(
            generate_ids(
                model.llm,
                prompt,
                settings=Generation(max_new_tokens=4),
                end_ids=model.words.end_ids,
            )
        )
        likeliest = likeliest_after(instruct_stage, batch, example, written)
        assert likeliest[: len(written)] == written


def likeliest_after(stage, batch, example, answer_ids):
    """Return what the scoring pass finds likeliest at each token of an answer given as ids."""
    tokenizer = stage.model.words.tokenizer

    class Encoder:
        def encode(self, text, add_special_tokens):
            if text == example.question.answer:
                return SimpleNamespace(ids=answer_ids)
            return tokenizer.encode(text, add_special_tokens=add_special_tokens)

        def __getattr__(self, name):
            return getattr(tokenizer, name)

    stage.model.words.tokenizer = Encoder()
    try:
        with torch.inference_mode():
            logits, _, _ = stage._answer_logits(dataclasses.replace(batch, examples=(example,)))
    finally:
        stage.model.words.tokenizer = tokenizer
    return logits.argmax(-1).tolist()


def test_stills_and_films_share_no_scene(instruct_stage):
    store = instruct_stage.store
    films = {store.scene(number, still=False).backdrop_seed for number in range(6)}
    stills = {store.scene(number, still=True).backdrop_seed for number in range(6)}
    assert not films & stills
    assert all(thing.motion == "still" for thing in store.scene(1, still=True).things)


def test_kept_features_are_those_of_the_tower(instruct_stage):
    store = instruct_stage.store
    for frames, kept in ((4, store.films), (1, store.stills)):
        pictures = torch.from_numpy(store.render(1, frames)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            features = instruct_stage.model.parts.tower(pictures)
        assert torch.allclose(
            torch.from_numpy(kept[1].copy()).float(), features, atol=2e-2, rtol=2e-3
        )
