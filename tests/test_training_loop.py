"""The training loop with a stage of one layer: schedules, resuming, and what may be in its way."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import Killed, log_of, same_weights
from torch import nn

from pplava_core.errors import RecipeError
from pplava_core.train import loop
from pplava_core.train.plot import plot_curve
from pplava_core.train.recipe import Optimiser, Recipe


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


def test_attention_is_learned_through_plain_matrix_products_on_a_processor(tmp_path):
    class Watching(LineStage):
        def loss(self, batch):
            kernels.append(torch.backends.cuda.flash_sdp_enabled())
            return super().loss(batch)

    kernels = []
    before = torch.backends.cuda.flash_sdp_enabled()
    loop.train(Watching(), line_recipe(tmp_path))
    assert kernels == [False] * 6
    assert torch.backends.cuda.flash_sdp_enabled() == before is True


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


def launch(processes, *arguments):
    """Run `loop_run.py` in so many processes on the processor, as `torchrun` does."""
    here = Path(__file__).parent
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", str(here / "loop_run.py"), *map(str, arguments)]
    path = os.pathsep.join([str(here), str(here.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_two_processes_learn_what_one_does_from_twice_as_many_batches(tmp_path):
    """Also where a batch of one process uses a layer that the other's does not."""
    launch(2, tmp_path / "two", 1)
    launch(1, tmp_path / "one", 2)
    two, one = (
        torch.load(tmp_path / name / "state" / "custom_checkpoint_0.pkl") for name in ("two", "one")
    )
    assert two.keys() == one.keys()
    assert all(torch.allclose(two[name], one[name], atol=1e-6) for name in two)
    assert json.loads((tmp_path / "two" / "state" / "step.json").read_text())["processes"] == 2


def test_what_does_not_learn_stays(tmp_path):
    stage = LineStage()
    before = stage.model.still.weight.detach().clone()
    loop.train(stage, line_recipe(tmp_path))
    assert torch.equal(stage.model.still.weight, before)
    assert not stage.model.still.weight.requires_grad


def test_biases_are_not_decayed_and_the_text_tower_has_its_own_rate():
    model = nn.Module()
    model.video = nn.ModuleDict({"llm": nn.Linear(3, 3), "aligner": nn.Linear(3, 3)})
    stage = SimpleNamespace(model=model, trained=("video.llm.", "video.aligner."))
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


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        ({"avx2": True}, "no"),
        ({"avx2": True, "amx_bf16": False, "avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({"neon": True, "bf16": True}, "bf16"),
    ],
)
def test_a_processor_that_only_imitates_bfloat16_is_not_asked_to(monkeypatch, able, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert loop.precision_here("auto") == expected
    assert loop.precision_here("fp16") == "fp16"
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert loop.precision_here("auto") == "no"


def test_a_run_learns_in_the_precision_of_its_machine(tmp_path, monkeypatch):
    asked, made = [], loop._accelerator
    monkeypatch.setattr(loop, "_accelerator", lambda one: asked.append(one) or made("no"))
    monkeypatch.setattr(loop, "precision_here", lambda one: f"{one} here")
    loop.train(LineStage(), line_recipe(tmp_path, precision="auto"))
    assert asked == ["auto here"]


def test_a_curve_without_scores_is_drawn_too(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    plot_curve(tmp_path / "log.jsonl", tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.format == "PNG"
