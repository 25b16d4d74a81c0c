"""Training: a recipe, a stage, the loop, a model folder. Needs no hub and no GPU."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pplava_core.errors import RecipeError
from pplava_core.train.recipe import Recipe, read_recipe

if TYPE_CHECKING:
    from pplava_core.models.videolm import VideoLM
    from pplava_core.train.loop import Report

MODEL_FOLDER = "model"
_COLOURS_OF_A_PIXEL = 3

__all__ = ["MODEL_FOLDER", "Recipe", "read_recipe", "run"]


def run(
    recipe: Recipe,
    *,
    provenance: dict[str, Any] | None = None,
    report: Report | None = None,
    progress: Any = None,
) -> Path:
    """Run a recipe to its end and return the folder it wrote: a model's, or an aligner's.

    Args:
        recipe: what to do.
        provenance: what made the weights (commit, command); kept beside them.
        report: called with a step and its numbers.
        progress: called with a task's name, done and total while data are prepared.

    Raises:
        RecipeError: the recipe cannot be followed.
        ModelError: the initial model cannot be loaded.
    """
    import torch

    from pplava_core.train.loop import precision_here

    torch.manual_seed(recipe.seed)
    made = {"seed": recipe.seed, "steps": recipe.steps, "data": recipe.data.source}
    made |= {"precision": precision_here(recipe.precision)}
    made |= provenance or {}
    if recipe.stage == "align_base":
        return _run_align_base(recipe, made, report, progress)
    return _run_whole(recipe, made, report, progress)


def _run_whole(recipe: Recipe, made: dict[str, Any], report: Report | None, progress: Any) -> Path:
    """Train a model of this project's own making, and write it."""
    from pplava_core.models.checkpoint import save_model
    from pplava_core.train.loop import train

    model = _initial_model(recipe)
    if recipe.stage == "align":
        from pplava_core.train.align import AlignStage

        made["masks"] = recipe.data.masks and recipe.data.source == "shapes"
        stage: Any = AlignStage(recipe, model)
    elif recipe.stage == "things":
        from pplava_core.train.things import ThingsStage

        stage = ThingsStage(recipe, model)
    elif recipe.stage == "tally":
        from pplava_core.train.tally import TallyStage

        stage = TallyStage(recipe, model, progress=progress)
    else:
        from pplava_core.train.instruct import InstructStage

        stage = InstructStage(recipe, model, progress=progress)
    train(stage, recipe, report=report)
    history = {**model.config.training, recipe.stage: made}
    model.config = dataclasses.replace(model.config, training=history)
    folder = Path(recipe.output) / MODEL_FOLDER
    save_model(model, folder)
    return folder


def _run_align_base(
    recipe: Recipe, made: dict[str, Any], report: Report | None, progress: Any
) -> Path:
    """Train an aligner for a base model, and write it."""
    from pplava_core.models.layouts.aligner_folder import FOLDER, save_aligner
    from pplava_core.train.align_base import AlignBaseStage
    from pplava_core.train.loop import train

    stage = AlignBaseStage(recipe, progress=progress)
    train(stage, recipe, report=report)
    folder = Path(recipe.output) / FOLDER
    save_aligner(stage.aligner, folder, training={**made, "base": recipe.initial})
    return folder


def rebuilt(
    aligned: VideoLM, changes: dict[str, Any], seed: int, *, keep_learned: bool = False
) -> VideoLM:
    """Put the tower and the aligner of a model under a projector and a language model made anew.

    Args:
        aligned: a model after its first stage, or after its second.
        changes: top-level settings of its config that are to be others; of the language model
            and the tower only those that change.
        seed: of what is made anew.
        keep_learned: whether projector and language model keep what they have learned, and only
            what they lacked is made anew.

    Raises:
        RecipeError: the changed config describes no model, or has no room for what was learned.
    """
    import torch

    from pplava_core.errors import ModelError
    from pplava_core.models.checkpoint import build_model
    from pplava_core.models.config import VideoLMConfig

    torch.manual_seed(seed)
    dropped = () if keep_learned else ("instruct",)
    made = {name: how for name, how in aligned.config.training.items() if name not in dropped}
    try:
        known = aligned.config.to_dict()
        values = {**known, **changes, "training": made}
        for part in ("llm", "tower"):
            values[part] = {**known[part], **changes.get(part, {})}
        config = VideoLMConfig.from_dict(values)
        model = build_model(config, aligned.words.tokenizer)
    except ModelError as error:
        raise RecipeError(f"[changes] cannot be made: {error}") from error
    if keep_learned:
        _keep(aligned.state_dict(), model)
        return model
    for name in ("tower", "aligner"):
        old, new = (one.parts.tower if name == "tower" else one.aligner for one in (aligned, model))
        new.load_state_dict(old.state_dict())
    return model


def _keep(learned: dict[str, Any], model: VideoLM) -> None:
    """Give a model all that another one has learned, which must be of its sizes.

    Only its tower may fold pixels where the other's did not: it then sees the mean of a fold
    as the other one saw a pixel.
    """
    own = model.state_dict()
    first = "parts.tower.stem.0.weight"
    if first in own and first in learned and learned[first].shape[1] == _COLOURS_OF_A_PIXEL:
        folded = own[first].shape[1] // _COLOURS_OF_A_PIXEL
        learned = {**learned, first: learned[first].repeat_interleave(folded, dim=1) / folded}
    unlike = [name for name in learned if name not in own or own[name].shape != learned[name].shape]
    if unlike:
        raise RecipeError(
            f"keep_learned: the changed model has no place for {unlike[0]} as it was learned; "
            "keep_learned allows changes that only add to a model"
        )
    model.load_state_dict({**own, **learned})


def _initial_model(recipe: Recipe) -> VideoLM:
    from pplava_core.models.checkpoint import build_model, load_model
    from pplava_core.models.config import VideoLMConfig

    if recipe.initial is not None:
        model = load_model(Path(recipe.initial))
        if not recipe.changes:
            return model
        return rebuilt(model, recipe.changes, recipe.seed, keep_learned=recipe.keep_learned)
    from pplava_core.train.vocabulary import world_tokenizer

    values = dict(recipe.model or {})
    tokenizer = world_tokenizer(vocab_size=int(values.pop("vocab_size")), seed=recipe.seed)
    vocab_size = tokenizer.get_vocab_size()
    try:
        values["llm"] = {**values["llm"], "vocab_size": vocab_size}
        text = {**values["aligner"]["text"], "vocab_size": vocab_size}
        values["aligner"] = {**values["aligner"], "text": text}
    except (KeyError, TypeError) as error:
        raise RecipeError(f"[model] has no table {error}; see configs/nano-align.toml") from error
    return build_model(VideoLMConfig.from_dict({"format": 1, **values}), tokenizer)
