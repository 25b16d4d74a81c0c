"""`pplava train`: recipes, each one stage, each a model folder."""

from __future__ import annotations

import shlex
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pplava_cli import opening
from pplava_cli.console import Output, StepProgress, printable
from pplava_cli.libraries import import_libraries
from pplava_cli.options import VoiceOptions, examples, takes_options
from pplava_core.errors import UsageError

if TYPE_CHECKING:
    from pplava_core.train.recipe import Recipe

_EXAMPLES = examples(
    "pplava train --config configs/nano-align.toml",
    "pplava train --config configs/nano-align.toml --config configs/nano-instruct.toml",
    "pplava train --config configs/nano-instruct.toml --seed 2 -o runs/second",
    "pplava train --config configs/internvl3-align.toml",
)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("train", epilog=_EXAMPLES)(takes_options(train))


def train(
    *,
    configs: Annotated[
        list[Path],
        typer.Option(
            "--config", metavar="FILE", help="The recipe, a TOML file; several run in order."
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder of the run \\[the recipe's]."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Seed \\[the recipe's].", min=0)
    ] = None,
    output: VoiceOptions,
) -> None:
    """Train a model as its recipes say, from where an earlier run of them stopped.

    A run's folder gets a log, a picture of the curve, and the model, or the aligner for a
    base model. Prints that folder.
    """
    from pplava_core import train as training

    if folder is not None and len(configs) > 1:
        raise UsageError("--output names one run's folder, but there are several recipes")
    out = output.open()
    overrides = {"output": None if folder is None else str(folder), "seed": seed}
    recipes = [training.read_recipe(path, overrides=overrides) for path in configs]
    command = ["pplava", "train", *(f"--config={path}" for path in configs)]
    command += [f"--{key}={value}" for key, value in overrides.items() if value is not None]
    made_by = {"command": shlex.join(command), **_commit()}
    for path, recipe in zip(configs, recipes, strict=True):
        out.note(
            f"{printable(str(path))}: {recipe.stage}, {recipe.steps} steps, seed {recipe.seed}"
        )
        made = _train_one(recipe, made_by, out)
        out.line(str(made))
        if recipe.stage == "align_base":
            out.note(
                f"it is used once it lies in the base model's folder: {_copying(made, recipe)}"
            )


def _copying(aligner: Path, recipe: Recipe) -> str:
    """Say how an aligner gets to where its base model finds it."""
    base = opening.find_model(str(recipe.initial)).folder
    return printable(shlex.join(["cp", "-r", str(aligner), str(base / aligner.name)]))


def _train_one(recipe: Recipe, provenance: dict[str, str], out: Output) -> Path:
    from pplava_core import train as training

    import_libraries()
    reporter = _Reporter(recipe.steps, out)
    with out.progress(f"Training {recipe.stage}") as bar:
        reporter.bar = bar
        return training.run(
            recipe, provenance=provenance, report=reporter, progress=reporter.prepare
        )


class _Reporter:
    """Moves the bar with every logged step, and says how it goes now and then."""

    def __init__(self, steps: int, out: Output) -> None:
        self.steps, self.out = steps, out
        self.bar: StepProgress | None = None
        self.said = 0.0

    def __call__(self, step: int, numbers: dict[str, float]) -> None:
        """Take note of a step's numbers."""
        if self.bar is not None:
            self.bar(step, self.steps)
        scores = {n: v for n, v in numbers.items() if n.startswith("validation_")}
        if not scores and time.monotonic() - self.said < 30:
            return
        self.said = time.monotonic()
        shown = scores or {n: numbers[n] for n in ("loss", "steps_per_second") if n in numbers}
        words = ", ".join(f"{n.removeprefix('validation_')} {v:.3g}" for n, v in shown.items())
        self.out.note(f"step {step} of {self.steps}: {words}")

    def prepare(self, name: str, done: int, total: int) -> None:
        """Take note of how far a training set is."""
        if self.bar is not None:
            self.bar(done, total)
        if done == total:
            self.out.note(f"{name}: {total} encoded")


def _commit() -> dict[str, str]:
    """Name the commit that the source is at, where a repository keeps it at all.

    An installed copy may lie in the folder of a project that has nothing to do with it.
    """
    try:
        for arguments in (
            ["ls-files", "--error-unmatch", Path(__file__).name],
            ["rev-parse", "HEAD"],
        ):
            found = subprocess.run(
                ["git", *arguments],
                capture_output=True,
                text=True,
                check=True,
                cwd=Path(__file__).parent,
            )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": found.stdout.strip()}
