"""Both stages of training on a very small model, from nothing to a folder that loads."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_models import write_recipe
from torch import nn

from pplava_core import train
from pplava_core.errors import InputError, ModelError, RecipeError
from pplava_core.models.checkpoint import load_model
from pplava_core.models.generation import Generation, generate_ids
from pplava_core.shapes.questions import TYPES, ask
from pplava_core.shapes.scene import COLOURS, KINDS, draw_scene
from pplava_core.train import instruct, loop, vocabulary
from pplava_core.train.align import (
    PAIRS,
    AlignStage,
    contrastive_loss,
    grounding_loss,
    patch_cosines,
)
from pplava_core.train.features import sampled_moments
from pplava_core.train.instruct import InstructStage
from pplava_core.train.plot import plot_curve
from pplava_core.train.recipe import Optimiser, Recipe, read_recipe
from pplava_core.window import Window


@pytest.fixture(scope="module", autouse=True)
def small_amounts():
    """Make vocabulary, validation set and measurements as small as the model."""
    patch = pytest.MonkeyPatch()
    patch.setattr(vocabulary, "_SCENES", 40)
    patch.setattr(instruct, "VALIDATION_FILMS", 8)
    patch.setattr(instruct, "VALIDATION_STILLS", 2)
    patch.setattr(instruct, "_SCALE_BATCHES", 3)
    yield
    patch.undo()


def log_of(run):
    """Return a run's log without the times, which differ."""
    lines = [json.loads(line) for line in (Path(run) / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "steps_per_second"} for line in lines]


def weights_of(folder):
    return load_file(Path(folder) / "model.safetensors")


def same_weights(one, other):
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


class Killed(BaseException):
    pass


def follow(path, *, killed_at=None, **overrides):
    """Run a recipe; `killed_at` ends it as it reports that step for the first time."""

    def report(step, numbers):
        if step == killed_at:
            raise Killed

    return train.run(read_recipe(path, overrides=overrides), report=report)


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


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(3, 2)
        self.still = nn.Linear(2, 2)


class LineStage:
    """A stage whose batch n of c rows is rows n c to (n + 1) c of one long table."""

    trained = ("map.",)

    def __init__(self, rows=4, *, damage=None):
        torch.manual_seed(0)
        self.model, self.rows, self.damage = Line(), rows, damage

    def batch(self, number):
        generator = np.random.default_rng(0)
        table = torch.from_numpy(generator.normal(size=(200, 5))).float()
        return table[number * self.rows : (number + 1) * self.rows]

    def loss(self, batch):
        off = (self.model.map(batch[:, :3]) - batch[:, 3:]).square().mean()
        if self.damage is not None and (batch == self.batch(self.damage)).all():
            off = off * torch.nan
        return off, {"half": off.item() / 2}

    def evaluate(self):
        return {"weight": float(self.model.map.weight.detach().sum())}


def line_recipe(folder, **changes):
    optimiser = Optimiser(
        learning_rate=1e-2, warmup_steps=2, accumulation=changes.pop("accumulation", 1)
    )
    values = {"steps": 6, "save_every": 2, "evaluate_every": 3, "log_every": 1, "text": "line"}
    return Recipe(
        stage="align",
        output=str(folder),
        initial="none",
        optimiser=optimiser,
        **values | changes,
    )


def test_accumulated_batches_equal_one_large_batch(tmp_path):
    small, large = LineStage(rows=4), LineStage(rows=8)
    loop.train(small, line_recipe(tmp_path / "small", accumulation=2))
    loop.train(large, line_recipe(tmp_path / "large"))
    for one, other in zip(small.model.parameters(), large.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    losses = [[x["loss"] for x in log_of(tmp_path / n) if "loss" in x] for n in ("small", "large")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_accumulation_resumes_at_the_right_batch(tmp_path):
    whole, parts = LineStage(), LineStage()
    loop.train(whole, line_recipe(tmp_path / "whole", accumulation=3))

    def kill(step, numbers):
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        loop.train(parts, line_recipe(tmp_path / "parts", accumulation=3), report=kill)
    resumed = LineStage()
    loop.train(resumed, line_recipe(tmp_path / "parts", accumulation=3))
    assert same_weights(resumed.model.state_dict(), whole.model.state_dict())
    assert log_of(tmp_path / "parts") == log_of(tmp_path / "whole")


def test_what_does_not_learn_stays(tmp_path):
    stage = LineStage()
    before = stage.model.still.weight.detach().clone()
    loop.train(stage, line_recipe(tmp_path))
    assert torch.equal(stage.model.still.weight, before)
    assert not stage.model.still.weight.requires_grad


def test_biases_are_not_decayed_and_the_text_tower_has_its_own_rate():
    model = nn.Module()
    model.llm, model.aligner = nn.Linear(3, 3), nn.Linear(3, 3)
    stage = SimpleNamespace(model=model, trained=("llm.", "aligner."))
    settings = Optimiser(learning_rate=1.0, weight_decay=0.5, text_tower_rate=0.1)
    groups = loop.build_optimiser(stage, settings).param_groups
    seen = {(len(group["params"][0].shape), group["weight_decay"], group["lr"]) for group in groups}
    assert seen == {(2, 0.5, 1.0), (1, 0.0, 1.0), (2, 0.5, 0.1), (1, 0.0, 0.1)}


def test_the_schedule_warms_up_and_ends_at_a_twentieth(tmp_path):
    loop.train(LineStage(), line_recipe(tmp_path, steps=12))
    rates = [line["learning_rate"] for line in log_of(tmp_path) if "loss" in line]
    assert rates[0] == pytest.approx(1e-2)  # logged after the step: what the next one takes
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(5e-4)


def test_another_recipes_state_is_refused(tmp_path):
    loop.train(LineStage(), line_recipe(tmp_path))
    with pytest.raises(RecipeError, match="state of another recipe") as caught:
        loop.train(LineStage(), line_recipe(tmp_path, text="another"))
    assert "\n" not in str(caught.value)


def test_a_run_with_another_seed_is_another_recipe(aligned):
    with pytest.raises(RecipeError, match="state of another recipe"):
        follow(aligned.recipe, seed=9)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    with pytest.raises(RecipeError, match="nan at step 4; lower optimiser"):
        loop.train(LineStage(damage=3), line_recipe(tmp_path))
    assert json.loads((tmp_path / "state" / "step.json").read_text())["step"] == 2


def killed_line(folder, at=5):
    def kill(step, numbers):
        if step == at:
            raise Killed

    with pytest.raises(Killed):
        loop.train(LineStage(), line_recipe(folder), report=kill)
    return folder


def resumed_log(folder):
    loop.train(LineStage(), line_recipe(folder))
    return log_of(folder)


@pytest.fixture(scope="module")
def whole_log(tmp_path_factory):
    """The log of a run that nobody killed."""
    return resumed_log(tmp_path_factory.mktemp("whole"))


def test_killed_before_anything_was_saved(tmp_path, whole_log):
    run = killed_line(tmp_path, at=1)
    assert log_of(run)
    assert not (run / "state").exists()
    assert resumed_log(run) == whole_log


def test_half_a_line_in_the_log_is_no_obstacle(tmp_path, whole_log):
    run = killed_line(tmp_path)
    with (run / "log.jsonl").open("a") as log:
        log.write('{"step": 5, "lo')
    assert resumed_log(run) == whole_log


@pytest.mark.parametrize("old", ["gone", "half deleted", "whole"])
def test_killed_while_the_new_state_took_the_old_ones_place(tmp_path, whole_log, old):
    run = killed_line(tmp_path)
    state = run / "state"
    if old == "whole":
        (run / "state.new").mkdir()  # killed before the new one was finished
        (run / "state.new" / "optimizer.bin").write_bytes(b"half")
    else:
        state.rename(run / "state.new")
    if old == "half deleted":
        state.mkdir()
        (state / "random_states_0.pkl").write_bytes(b"left over")
    assert resumed_log(run) == whole_log
    assert not (run / "state.new").exists()


def test_no_process_outlives_a_run(tmp_path):
    resumed_log(tmp_path / "whole")
    assert multiprocessing.active_children() == []
    killed_line(tmp_path / "killed")
    assert multiprocessing.active_children() == []
    with pytest.raises(RecipeError):
        loop.train(LineStage(damage=3), line_recipe(tmp_path / "broken"))
    assert multiprocessing.active_children() == []


def test_a_precision_that_cannot_be_had_is_one_line(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("half precision can be had here")
    with pytest.raises(RecipeError, match="precision 'fp16' cannot be had here") as caught:
        loop.train(LineStage(), line_recipe(tmp_path, precision="fp16"))
    assert "\n" not in str(caught.value)


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
            ids = model.tokenizer.encode(example.question.answer, add_special_tokens=False).ids
            wanted += [*ids, model.end_id]
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
                model.llm, prompt, settings=Generation(max_new_tokens=4), end_id=model.end_id
            )
        )
        likeliest = likeliest_after(instruct_stage, batch, example, written)
        assert likeliest[: len(written)] == written


def likeliest_after(stage, batch, example, answer_ids):
    """Return what the scoring pass finds likeliest at each token of an answer given as ids."""
    tokenizer = stage.model.tokenizer

    class Encoder:
        def encode(self, text, add_special_tokens):
            if text == example.question.answer:
                return SimpleNamespace(ids=answer_ids)
            return tokenizer.encode(text, add_special_tokens=add_special_tokens)

        def __getattr__(self, name):
            return getattr(tokenizer, name)

    stage.model.tokenizer = Encoder()
    try:
        with torch.inference_mode():
            logits, _, _ = stage._answer_logits(dataclasses.replace(batch, examples=(example,)))
    finally:
        stage.model.tokenizer = tokenizer
    return logits.argmax(-1).tolist()


def test_sampled_moments_are_in_order_and_in_the_film():
    for seed in range(50):
        for frames in (1, 4, 16):
            moments = sampled_moments(np.random.default_rng(seed), frames)
            assert len(moments) == frames
            assert moments == sorted(moments)
            assert moments[0] >= 0.0
            assert moments[-1] < 1.0


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


def test_the_vocabulary_knows_the_words_of_the_world():
    tokenizer = vocabulary.world_tokenizer(vocab_size=640, seed=1)
    for word in (*COLOURS, *KINDS):
        assert len(tokenizer.encode(word, add_special_tokens=False).ids) <= 2
    for question in ask(draw_scene(3), np.random.default_rng(3), TYPES):
        ids = tokenizer.encode(question.text, add_special_tokens=False).ids
        assert tokenizer.decode(ids).strip() == question.text.lower()
    again = vocabulary.world_tokenizer(vocab_size=640, seed=1)
    assert again.to_str() == tokenizer.to_str()


def test_a_curve_without_scores_is_drawn_too(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    plot_curve(tmp_path / "log.jsonl", tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.format == "PNG"
