"""Running recipes on very small models, and looking at what a run leaves behind."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pplava_core import train
from pplava_core.train import instruct, vocabulary
from pplava_core.train.recipe import read_recipe


@contextmanager
def few_amounts():
    """Make vocabulary, validation set and measurements as small as the model."""
    patch = pytest.MonkeyPatch()
    patch.setattr(vocabulary, "_SCENES", 40)
    patch.setattr(instruct, "VALIDATION_COUNTS", {"films": 8, "long": 8})
    patch.setattr(instruct, "_SCALE_BATCHES", 3)
    try:
        yield
    finally:
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
