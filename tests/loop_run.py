"""A program for tests to launch: one of the processes of a run of the training loop.

Usage: ``loop_run.py FOLDER ACCUMULATION``. Even batches are of films, odd ones of pictures, of
which one of the model's two layers learns nothing.
"""

from __future__ import annotations

import os
import sys

from test_training_loop import LineStage, line_recipe

from pplava_core.train import loop


class MixedStage(LineStage):
    """A stage with a layer that only even batches use."""

    trained = ("map.", "still.")

    def batch(self, number):
        return number % 2 == 0, super().batch(number)

    def loss(self, batch):
        both, rows = batch
        told = self.model.map(rows[:, :3])
        told = self.model.still(told) if both else told
        off = (told - rows[:, 3:]).square().mean()
        return off, {"half": off.item() / 2}


if __name__ == "__main__":
    os.environ["ACCELERATE_USE_CPU"] = "true"
    loop.train(MixedStage(), line_recipe(sys.argv[1], accumulation=int(sys.argv[2])))
