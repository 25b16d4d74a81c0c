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
from pplava_core.train.rows import row_of
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
    parts = {"grounding", "naming", "layout", "learning_rate"}
    assert all(parts <= set(line) for line in losses)
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
        "align": {"seed": 3, "steps": 6, "data": "shapes", "precision": "no", "masks": True}
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
    trained = tuple(name.removeprefix("video.") for name in AlignStage.trained)
    assert all(name.startswith(trained) for name in changed)
    names = [name for name in second if name != "aligner.text.positional_embedding"]
    changed = {name for name in names if not torch.equal(first[name], second[name])}
    measured = {"parts.scale.mean", "parts.scale.spread"}
    assert measured <= changed
    trained = tuple(name.removeprefix("video.") for name in InstructStage.trained)
    assert all(name.startswith(trained) for name in changed - measured)
    for part in ("parts.projector.", "llm.", "aligner.text.", "parts.places.", "parts.clock."):
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
    features = {
        path: path.stat().st_mtime_ns for path in (instructed.run / "features").glob("*.npy")
    }
    follow(instructed.recipe, killed_at=4)
    assert same_weights(weights_of(instructed.model), before)
    assert log_of(instructed.run) == log
    assert len(features) == 6  # grids and masks: films and pictures to learn from, films held out
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


def test_packs_are_about_the_clips_of_their_batch(instruct_stage):
    talks = captions = stills = 0
    for number in range(30):
        batch = instruct_stage.batch(number)
        assert batch.features.ndim == 5
        stills += batch.features.shape[1] == 1
        assert {pack.clip for pack in batch.packs} == set(range(len(batch.features)))
        assert batch.targets.sum(1) == pytest.approx([1.0] * len(batch.packs), abs=1e-4)
        assert bool(batch.lengths_seconds.any()) == (batch.features.shape[1] > 1)
        talks += any(pack.talk for pack in batch.packs)
        captions += any(pack.questions[0].type == "caption" for pack in batch.packs)
        again = instruct_stage.batch(number)
        assert again.packs == batch.packs
        assert torch.equal(again.features, batch.features)
    assert talks
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


def single_tokens(stage, batch, pack):
    """Return what `VideoLM` itself makes of one pack's clip, and the same with the time on it."""
    model = stage.video
    features = batch.features[pack.clip : pack.clip + 1].float()
    relevance = model.relevance(features, [pack.guide])
    tokens = model.visual_tokens(features, relevance, window=batch.window).tokens
    size = batch.window.output_size(tuple(features.shape[1:4]))
    length = batch.lengths_seconds[pack.clip : pack.clip + 1]
    return model.parts.at_times(tokens, size, length) if length.any() else tokens


def test_the_loss_is_on_the_answers_tokens_alone(instruct_stage):
    batch = instruct_stage.batch(2)
    model = instruct_stage.video.eval()
    with torch.no_grad():
        _, numbers = instruct_stage.loss(batch)
        # The slow way: each question alone, without padding, token by token.
        total = counted = 0.0
        for pack in batch.packs:
            tokens = single_tokens(instruct_stage, batch, pack)
            for number, question in enumerate(pack.questions):
                if number < pack.untaught:
                    continue
                earlier = pack.questions[:number] if pack.talk else ()
                history = [(turn.text, turn.answer) for turn in earlier]
                tokenizer = model.words.tokenizer
                said = tokenizer.encode(question.answer, add_special_tokens=False).ids
                answer = [*said, model.words.end_id]
                ids = [*model.prompt_ids(question.text, history), *answer]
                embedded = model.prompt_embeddings(tokens, torch.tensor([ids]))
                said = model.llm(inputs_embeds=embedded).logits[0].log_softmax(-1)
                start = embedded.shape[1] - len(answer) - 1
                alone = dataclasses.replace(pack, questions=(question,), untaught=0)
                weights = row_of(alone, model.words).weights
                for place, (token, weight) in enumerate(zip(answer, weights, strict=True)):
                    total -= weight * float(said[start + place, token])
                counted += sum(weights)
    assert numbers["answers"] == pytest.approx(total / counted, rel=1e-4)


def test_what_is_written_greedily_is_what_the_score_takes_for_likeliest(instruct_stage):
    model = instruct_stage.video.eval()
    batch = instruct_stage.validation_batch("films", 0)
    for pack in batch.packs[:4]:
        with torch.inference_mode():
            tokens = single_tokens(instruct_stage, batch, pack)
            ids = torch.tensor([model.prompt_ids(pack.questions[0].text)])
            prompt = model.prompt_embeddings(tokens, ids)
        written = list(
            generate_ids(
                model.llm,
                prompt,
                settings=Generation(max_new_tokens=4),
                end_ids=model.words.end_ids,
            )
        )
        likeliest = likeliest_after(instruct_stage, batch, pack, written)
        assert likeliest[: len(written)] == written


def likeliest_after(stage, batch, pack, answer_ids):
    """Return what the scoring pass finds likeliest at each token of an answer given as ids."""
    tokenizer = stage.video.words.tokenizer

    class Encoder:
        def encode(self, text, add_special_tokens):
            if text == pack.questions[0].answer:
                return SimpleNamespace(ids=answer_ids)
            return tokenizer.encode(text, add_special_tokens=add_special_tokens)

        def __getattr__(self, name):
            return getattr(tokenizer, name)

    stage.video.words.tokenizer = Encoder()
    batch = dataclasses.replace(batch, packs=(pack,))
    try:
        with torch.inference_mode():
            scale = stage.video.aligner.logit_scale.exp()
            relevance = (scale * stage._cosines(batch)).softmax(-1)
            logits = stage._told(batch, relevance).logits
    finally:
        stage.video.words.tokenizer = tokenizer
    return logits.argmax(-1).tolist()


def test_stills_and_films_share_no_scene(instruct_stage):
    store = instruct_stage.store
    films = {store.scene("films", number).backdrop_seed for number in range(6)}
    stills = {store.scene("stills", number).backdrop_seed for number in range(6)}
    assert not films & stills
    assert all(thing.motion == "still" for thing in store.scene("stills", 1).things)


def test_kept_features_are_those_of_the_tower_and_masks_those_of_the_renderer(instruct_stage):
    store = instruct_stage.store
    for name, kind in store.kinds.items():
        frames, covered = store.render(kind, 1)
        pictures = torch.from_numpy(frames).permute(0, 3, 1, 2)
        with torch.inference_mode():
            features = instruct_stage.video.parts.tower(pictures)
        kept = torch.from_numpy(store.features[name][1].copy()).float()
        assert torch.allclose(kept, features, atol=2e-2, rtol=2e-3)
        masks = store.coverage[name][1]
        assert np.abs(masks[: len(covered)] / 255 - covered).max() < 0.003
        assert not masks[len(covered) :].any()


def test_settings_of_the_model_may_be_changed_for_the_second_stage(aligned, tmp_path):
    changes = {"weighting": "window", "tells_magnitude": True}
    recipe = read_recipe(instruct_recipe(tmp_path, aligned, changes=changes))
    model = train._initial_model(recipe)
    assert (model.config.weighting, model.config.tells_magnitude) == ("window", True)
    assert model.parts.magnitude is not None
    first = load_model(aligned.model)
    for old, new in ((first.parts.tower, model.parts.tower), (first.aligner, model.aligner)):
        assert same_weights(old.state_dict(), new.state_dict())
    again = train._initial_model(recipe)
    assert same_weights(model.state_dict(), again.state_dict())


def test_what_was_learned_is_kept_where_something_is_added(instructed, tmp_path):
    changes = {"keep_learned": True, "changes": {"tells_average": True}}
    recipe = read_recipe(instruct_recipe(tmp_path, instructed, **changes))
    old, new = load_model(instructed.model), train._initial_model(recipe)
    own = new.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in old.state_dict().items())
    assert not new.parts.average.scale.measured
    stage = InstructStage(recipe, new)
    assert new.parts.average.scale.measured
    assert torch.equal(new.parts.scale.mean, old.parts.scale.mean)
    learning = [name for name, _ in loop.trained_parameters(stage)]
    assert "video.parts.average.linear.weight" in learning


def test_an_aligned_tower_may_learn_on_with_more_pixels(instructed, tmp_path):
    recipe = write_recipe(
        tmp_path / "sharper.toml",
        drop=("model",),
        steps=2,
        initial=str(instructed.model),
        keep_learned=True,
        changes={
            "pixels": {"height": 96, "width": 96, "resize": "squash"},
            "tower": {"fold": 2},
        },
    )
    model = load_model(follow(recipe))
    assert model.parts.tower.stem[0].weight.shape[1] == 12
    assert {"align", "instruct"} <= set(model.config.training)
    old = load_model(instructed.model)
    assert same_weights(old.llm.state_dict(), model.llm.state_dict())


def test_what_was_learned_cannot_be_kept_in_other_sizes(instructed, tmp_path):
    changes = {"keep_learned": True, "changes": {"llm": {"num_hidden_layers": 1}}}
    recipe = read_recipe(instruct_recipe(tmp_path, instructed, **changes))
    with pytest.raises(RecipeError, match="has no place for llm"):
        train._initial_model(recipe)


def test_of_the_language_model_only_what_is_named_changes(aligned, tmp_path):
    path = instruct_recipe(tmp_path, aligned, changes={"llm": {"num_hidden_layers": 3}})
    old = load_model(aligned.model).config.llm
    assert old["num_hidden_layers"] != 3
    assert train._initial_model(read_recipe(path)).config.llm == {**old, "num_hidden_layers": 3}
    path = instruct_recipe(tmp_path, aligned, changes={"llm": 3})
    with pytest.raises(RecipeError, match="llm must be a table"):
        read_recipe(path)


def test_a_change_that_makes_no_model_is_refused(aligned, tmp_path):
    recipe = instruct_recipe(tmp_path, aligned, changes={"weighting": "gut feeling"})
    with pytest.raises(RecipeError, match="gut feeling"):
        follow(recipe)


def test_a_run_of_other_processes_is_not_gone_on_with(aligned, tmp_path):
    run = tmp_path / "killed"
    with pytest.raises(Killed):
        follow(aligned.recipe, output=str(run), killed_at=5)
    facts = json.loads((run / "state" / "step.json").read_text())
    (run / "state" / "step.json").write_text(json.dumps(facts | {"processes": 2}))
    with pytest.raises(RecipeError, match="2 processes"):
        follow(aligned.recipe, output=str(run))


def test_a_changed_model_is_made_ready_anew(instructed, tmp_path):
    changes = {"weighting": "average"}
    path = instruct_recipe(tmp_path, SimpleNamespace(model=instructed.model), changes=changes)
    model = train._initial_model(read_recipe(path))
    assert "instruct" not in model.config.training
    assert "align" in model.config.training
    InstructStage(read_recipe(path), model)
    assert not torch.equal(model.parts.scale.spread, torch.ones_like(model.parts.scale.spread))
