"""The training loop: the same for every stage, resumable to the same curve.

Batch n is made from the recipe's seed and n alone, and the random state is set anew at
every step, so a run that was killed goes on as if it had not been. Devices, precision
and several processes are accelerate's business.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pplava_core.atomic import replacing
from pplava_core.errors import RecipeError
from pplava_core.train.loader import forked_loader
from pplava_core.train.recipe import Optimiser, Recipe

LOG_NAME, PLOT_NAME, STATE_NAME = "log.jsonl", "curve.png", "state"
_TEXT_TOWERS = ("video.aligner.", "text.")
"How the names of a text tower's parameters begin: in a learner, and in an aligner by itself."
_MULTIPLIES_BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16")
"What a processor that multiplies in bfloat16 can do: Intel's, also AMD's, ARM's."


class Stage(Protocol):
    """What a stage gives the loop."""

    model: nn.Module
    trained: tuple[str, ...]
    "Beginnings of the names of the parameters that learn."

    def batch(self, number: int) -> Any:
        """Return batch `number`."""

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """Return a batch's loss and its parts."""

    def evaluate(self) -> dict[str, float]:
        """Return scores on the validation set."""


Report = Callable[[int, dict[str, float]], None]


def train(stage: Stage, recipe: Recipe, *, report: Report | None = None) -> None:
    """Train a stage to its recipe's last step, from where an earlier run stopped.

    Args:
        stage: batches, loss and scores.
        recipe: steps, optimiser and where to write.
        report: called with the step and its numbers whenever they are logged.

    Raises:
        RecipeError: the run's folder holds another recipe's state, the precision cannot be
            had on this machine, or the loss is no number any more.
    """
    folder = Path(recipe.output)
    accelerator = _accelerator(precision_here(recipe.precision))
    optimiser = build_optimiser(stage, recipe.optimiser)
    schedule = build_schedule(optimiser, recipe)
    stage.model.to(accelerator.device)
    optimiser, schedule = accelerator.prepare(optimiser, schedule)
    # The stage calls the model's parts, so it is the plain module that accelerate saves.
    accelerator.register_for_checkpointing(_ModelState(stage))
    done = _resume(accelerator, folder, recipe)
    started, logged_step = time.monotonic(), done
    with closing(_batches(stage, recipe, accelerator, done)) as batches:
        for step in range(done, recipe.steps):
            numbers = _one_step(stage, recipe, accelerator, optimiser, schedule, step, batches)
            done = step + 1
            last = done == recipe.steps
            if done % recipe.log_every == 0 or last:
                seconds = time.monotonic() - started
                numbers["steps_per_second"] = (done - logged_step) / max(seconds, 1e-9)
                started, logged_step = time.monotonic(), done
                _log(accelerator, folder, done, numbers, report)
            if done % recipe.evaluate_every == 0 or last:
                _log(accelerator, folder, done, _evaluate(stage, accelerator), report)
            if done % recipe.save_every == 0 or last:
                _save_state(accelerator, folder, recipe, done)
    if accelerator.is_main_process:
        from pplava_core.train.plot import plot_curve

        plot_curve(folder / LOG_NAME, folder / PLOT_NAME)


def precision_here(asked: str) -> str:
    """Return what a recipe's precision is on this machine.

    ``auto`` is bfloat16 on a GPU or a processor that multiplies in it. One that does not only
    imitates it: batches of large matrices then take many times as long.
    """
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Older torch does not tell; float32 is right everywhere.
        found: Any = getattr(torch.cpu, "get_capabilities", dict)()
        able = any(found.get(name, False) for name in _MULTIPLIES_BFLOAT16)
    return "bf16" if able else "no"


def _accelerator(precision: str) -> Any:
    from accelerate import Accelerator

    try:
        # A step of ours is a step of the schedule, however many processes share it.
        return Accelerator(mixed_precision=precision, step_scheduler_with_optimizer=False)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"precision {precision!r} cannot be had here: {reason}") from error


def trained_parameters(stage: Stage) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters that learn; all others are frozen here."""
    chosen = []
    for name, parameter in stage.model.named_parameters():
        learns = name.startswith(stage.trained)
        parameter.requires_grad_(learns)
        if learns:
            chosen.append((name, parameter))
    return chosen


def build_optimiser(stage: Stage, settings: Optimiser) -> torch.optim.AdamW:
    """Return AdamW; vectors (biases, norms, positions) are not decayed."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in trained_parameters(stage):
        key = (parameter.ndim >= 2, name.startswith(_TEXT_TOWERS))
        groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "weight_decay": settings.weight_decay if decayed else 0.0,
                "lr": settings.learning_rate * (settings.text_tower_rate if text_tower else 1.0),
            }
            for (decayed, text_tower), parameters in groups.items()
        ],
        betas=(0.9, 0.98),
    )


def build_schedule(optimiser: torch.optim.Optimizer, recipe: Recipe) -> Any:
    """Return a linear warm-up and a cosine that ends at a twentieth of the peak."""
    warmup, steps = recipe.optimiser.warmup_steps, recipe.steps

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        share = min((step - warmup) / max(steps - warmup, 1), 1.0)
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share))

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


class _Numbered(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    """A stage's batches by their numbers."""

    def __init__(self, stage: Stage, numbers: range) -> None:
        self.stage, self.numbers = stage, numbers

    def __iter__(self) -> Iterator[Any]:
        return (self.stage.batch(number) for number in self.numbers)


def _batches(
    stage: Stage, recipe: Recipe, accelerator: Any, done: int
) -> Generator[Any, None, None]:
    """Yield this process's batches from step `done` on, made ahead by a process of their own."""
    parts, processes = recipe.optimiser.accumulation, accelerator.num_processes
    first, last = done * parts * processes, recipe.steps * parts * processes
    numbers = range(first + accelerator.process_index, last, processes)
    return forked_loader(_Numbered(stage, numbers))


def _one_step(
    stage: Stage,
    recipe: Recipe,
    accelerator: Any,
    optimiser: Any,
    schedule: Any,
    step: int,
    batches: Iterator[Any],
) -> dict[str, float]:
    """Add up the gradients of every micro-batch, then step once."""
    torch.manual_seed(recipe.seed * 1_000_003 + step)
    stage.model.train()
    parts = recipe.optimiser.accumulation
    totals: dict[str, float] = {}
    for _ in range(parts):
        batch = next(batches)
        with _plain_attention(accelerator.device):
            with accelerator.autocast():
                loss, numbers = stage.loss(batch)
            accelerator.backward(loss / parts)
        for name, value in {"loss": loss.item(), **numbers}.items():
            totals[name] = totals.get(name, 0.0) + value / parts
    if not math.isfinite(totals["loss"]):
        raise RecipeError(
            f"the loss is {totals['loss']} at step {step + 1}; lower optimiser.learning_rate"
        )
    learning = [p for group in optimiser.param_groups for p in group["params"]]
    if accelerator.num_processes > 1:
        _average_gradients(accelerator, learning)
    accelerator.clip_grad_norm_(learning, recipe.optimiser.clip_norm)
    optimiser.step()
    schedule.step()
    optimiser.zero_grad()
    totals["learning_rate"] = schedule.get_last_lr()[0]
    return totals


def _plain_attention(device: torch.device) -> AbstractContextManager[Any]:
    """Leave attention to matrix products on a CPU, where the fused kernel's backward is slow."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def _average_gradients(accelerator: Any, parameters: list[nn.Parameter]) -> None:
    """Give all processes the mean of their gradients; what one did not use has none to add."""
    gradients = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    together = nn.utils.parameters_to_vector(gradients)
    mean = accelerator.reduce(together, reduction="mean")
    nn.utils.vector_to_parameters(mean, gradients)


def _evaluate(stage: Stage, accelerator: Any) -> dict[str, float]:
    stage.model.eval()
    with torch.no_grad(), accelerator.autocast():
        return {f"validation_{name}": value for name, value in stage.evaluate().items()}


def _log(
    accelerator: Any, folder: Path, step: int, numbers: dict[str, float], report: Report | None
) -> None:
    if not accelerator.is_main_process:
        return
    line = {"step": step, **{name: round(value, 6) for name, value in numbers.items()}}
    with (folder / LOG_NAME).open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
    if report:
        report(step, numbers)


class _ModelState:
    """The learning parameters, as accelerate's checkpoints take extra objects."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def state_dict(self) -> dict[str, Tensor]:
        return self.stage.model.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.stage.model.load_state_dict(state)


def _save_state(accelerator: Any, folder: Path, recipe: Recipe, step: int) -> None:
    """Write the state beside the last one, then put it in its place."""
    new, old = folder / f"{STATE_NAME}.new", folder / STATE_NAME
    if accelerator.is_main_process:
        shutil.rmtree(new, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(new), safe_serialization=False)
    accelerator.wait_for_everyone()  # another process may still be writing into the folder
    if accelerator.is_main_process:
        # This file comes last and goes first: where it is, a state is whole.
        with replacing(new / "step.json") as temporary:
            facts = {"step": step, "recipe": recipe.text, "processes": accelerator.num_processes}
            temporary.write_text(json.dumps(facts))
        (old / "step.json").unlink(missing_ok=True)
        shutil.rmtree(old, ignore_errors=True)
        new.rename(old)
    accelerator.wait_for_everyone()


def _resume(accelerator: Any, folder: Path, recipe: Recipe) -> int:
    """Return how many steps are done already, after loading the state they left."""
    folder.mkdir(parents=True, exist_ok=True)
    new, old = folder / f"{STATE_NAME}.new", folder / STATE_NAME
    if not (old / "step.json").exists() and (new / "step.json").exists():
        shutil.rmtree(old, ignore_errors=True)  # killed while the new one took its place
        new.rename(old)
    if not (old / "step.json").exists():
        (folder / LOG_NAME).unlink(missing_ok=True)
        return 0
    found = json.loads((old / "step.json").read_text())
    if found["recipe"] != recipe.text:
        raise RecipeError(
            f"{folder} holds the state of another recipe; delete that folder or change `output`"
        )
    processes = found.get("processes", 1)
    if processes != accelerator.num_processes:
        raise RecipeError(
            f"{folder} is a run of {processes} processes, which share its batches; go on with as "
            "many, or delete that folder"
        )
    accelerator.load_state(str(old))
    _cut_log(folder / LOG_NAME, found["step"])
    return int(found["step"])


def _cut_log(path: Path, step: int) -> None:
    """Drop what was logged after the saved step, and half a line: it will be logged again."""
    if not path.exists():
        return
    lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
    kept = [line for line in lines if json.loads(line)["step"] <= step]
    with replacing(path) as temporary:
        temporary.write_text("".join(line + "\n" for line in kept))
