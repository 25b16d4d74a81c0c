"""A training recipe: one TOML file read into frozen dataclasses, checked before anything runs.

A table of the file is a dataclass here, a key is a field; an unknown key is an error.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pplava_core.errors import RecipeError

STAGES = ("align", "align_base", "things", "tally", "instruct")
SOURCES = ("shapes", "pairs")
RELEVANCES = ("question", "shuffled", "masks")
_FIXED = ("backbone", "tower", "aligner", "pixels", "training", "format", "name")
"What of a model's config the instruct stage cannot change."
_SEEN = ("pixels", "tower")
"What alone the align stage can: another weighting would not fit the projector that is kept."
PRECISIONS = ("no", "bf16", "fp16", "auto")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """AdamW under a cosine schedule."""

    learning_rate: float
    warmup_steps: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    accumulation: int = 1
    "Micro-batches added up before one step."
    text_tower_rate: float = 1.0
    "Learning rate of the text tower as a multiple of the rest (instruct and align_base)."

    def __post_init__(self) -> None:
        _need_positive("optimiser", self, "learning_rate", "clip_norm", "accumulation")
        _need_not_negative("optimiser", self, "warmup_steps", "weight_decay", "text_tower_rate")


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a stage learns from."""

    source: str = "shapes"
    "`shapes`: the rendered world; `pairs`: a JSON Lines file of pictures or films with texts."
    path: str | None = None
    "The JSON Lines file of `pairs`, relative to the recipe."
    masks: bool = True
    "Whether the align stage may use the renderer's masks."
    clips: int = 8000
    "Films of the instruct stage's training set, rendered and encoded once."
    clips_per_step: int = 8
    frames_per_clip: int = 3
    "Frames of a film in one step of align and things, and all of it in align_base."
    patches_per_clip: int = 128
    "Patches that stand for a clip in the align_base stage; more need more room on the disk."
    questions_per_clip: int = 4
    "Texts about a clip in align; in instruct, questions of a pack, which share one pooling."
    packs_per_clip: int = 2
    "Packs of questions about a clip in one step of instruct."
    still_share: float = 0.12
    "Part of the instruct stage's clips and batches that are single pictures."
    long_clips: int = 0
    "Long films of which little matters, beside the others, in the instruct stage."
    long_frames: int = 48
    "Frames of such a film; the window grows in time with them."
    long_share: float = 0.0
    "Part of the instruct stage's batches that are of long films."
    history_share: float = 0.1
    "Part of the instruct stage's conversations: questions with earlier turns before them."
    crowd_share: float = 0.0
    """Part of the instruct stage's films and pictures drawn evenly from crowds of every size; in
    the things stage part of the films that are the fuller one of two."""
    count_weight: float = 1.0
    "How much more often than usual a question how many leads a pack, in tally and instruct."
    long_prompt_share: float = 0.1
    "Part of the instruct stage's questions that come after a hundred words."
    features: str | None = None
    """Folder of the instruct stage's patch grids, for runs that share them, relative to where the
    command is typed; None is the run's own."""
    scenes_seed: int | None = None
    "Seed of the instruct stage's scenes; None is the run's."
    relevance: str = "question"
    """What pools in the instruct stage: the `question`; `shuffled`, a question about another
    clip; or `masks`, the renderer's own knowledge. The last two are for comparisons."""
    coarse_batches: int = 0
    "First batches of the instruct stage, pooled with windows twice as high and wide."
    coarse_share: float = 0.1
    "Part of the later batches that are pooled so."
    codec_share: float = 0.3
    "Part of the films that go through a real video encoder."

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise RecipeError(
                f"data.source is {self.source!r}; it must be one of {', '.join(SOURCES)}"
            )
        if self.source == "pairs" and not self.path:
            raise RecipeError("data.source is `pairs`, so data.path must name a JSON Lines file")
        if self.relevance not in RELEVANCES:
            raise RecipeError(
                f"data.relevance is {self.relevance!r}; it must be one of {', '.join(RELEVANCES)}"
            )
        positive = (
            "clips", "clips_per_step", "frames_per_clip", "patches_per_clip", "long_frames",
            "questions_per_clip", "packs_per_clip", "count_weight",
        )  # fmt: skip
        shares = (
            "still_share", "long_share", "history_share", "crowd_share", "long_prompt_share",
            "coarse_share", "codec_share",
        )  # fmt: skip
        _need_positive("data", self, *positive)
        _need_not_negative("data", self, "coarse_batches", "long_clips", *shares)
        if self.scenes_seed is not None:
            _need_not_negative("data", self, "scenes_seed")
        if self.still_share + self.long_share >= 1:
            raise RecipeError("data.still_share and data.long_share leave no films of usual length")
        if self.relevance == "shuffled" and self.clips_per_step < 2:
            raise RecipeError("data.relevance `shuffled` needs data.clips_per_step of 2 or more")
        for name in shares:
            if getattr(self, name) > 1.0:
                raise RecipeError(f"data.{name} is {getattr(self, name)}; a part is at most 1")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run of one stage."""

    stage: str
    output: str
    "Folder of the run, relative to where the command is typed."
    initial: str | None = None
    "Model folder to start from (align_base: or a name); without it `[model]` says what to build."
    text_tower: str | None = None
    "Folder of the CLIP whose text tower the aligner gets (align_base)."
    train_text_tower: bool = False
    "Whether the text tower learns with the patch head (align_base)."
    seed: int = 0
    steps: int
    precision: str = "no"
    "`no`, `bf16` or `fp16`, as accelerate names them; or `auto`, `bf16` where it is fast."
    evaluate_every: int = 500
    save_every: int = 500
    log_every: int = 20
    optimiser: Optimiser
    data: Data = field(default_factory=Data)
    model: dict[str, Any] | None = None
    "A model's `config.json` as a table, and `vocab_size`; only when there is no `initial`."
    changes: dict[str, Any] | None = None
    """Top-level settings of the initial model's config that are to be others; of `llm` and `tower`
    only what changes. In instruct its weighting or its window: the language model and the
    projector then start anew, unless `keep_learned`. In align, with `keep_learned`, its `pixels`
    and the tower's `fold`."""
    keep_learned: bool = False
    "Whether [changes] leave what the initial model has learned, and make only what it lacks anew."
    text: str = field(default="", repr=False)
    "The recipe file itself, kept with the weights."

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise RecipeError(f"stage is {self.stage!r}; it must be one of {', '.join(STAGES)}")
        if (self.initial is None) == (self.model is None):
            raise RecipeError("give either `initial`, a model folder, or a [model] table, not both")
        if self.model is not None and type(self.model.get("vocab_size")) is not int:
            raise RecipeError("[model] needs a vocab_size: how many tokens the vocabulary may have")
        if self.precision not in PRECISIONS:
            raise RecipeError(
                f"precision is {self.precision!r}; it must be one of {', '.join(PRECISIONS)}"
            )
        self._check_stage()
        _need_positive("", self, "steps", "evaluate_every", "save_every", "log_every")
        _need_not_negative("", self, "seed")

    def _check_stage(self) -> None:
        """Refuse what the stage cannot use."""
        self._check_changes()
        if self.stage in ("things", "tally", "instruct") and self.data.source != "shapes":
            raise RecipeError(f"the {self.stage} stage learns from data.source `shapes` only")
        if self.stage == "things" and self.initial is None:
            raise RecipeError("the things stage needs `initial`, a model whose features are kept")
        if self.stage == "align_base":
            if self.initial is None or self.text_tower is None or self.data.source != "pairs":
                raise RecipeError(
                    "the align_base stage needs `initial`, a base model, `text_tower`, a CLIP's "
                    "folder, and data.source `pairs`"
                )
        elif self.text_tower is not None or self.train_text_tower:
            raise RecipeError("text_tower and train_text_tower belong to the align_base stage only")

    def _check_changes(self) -> None:
        """Refuse to change what another stage has made."""
        if self.keep_learned and self.changes is None:
            raise RecipeError("keep_learned belongs to a [changes] table")
        if self.changes is None:
            return
        if self.stage in ("align_base", "things") or self.initial is None:
            raise RecipeError(
                "a [changes] table belongs to the align, tally or instruct stage, with an `initial`"
            )
        if self.stage != "instruct" and not self.keep_learned:
            raise RecipeError(
                f"a [changes] table of the {self.stage} stage needs keep_learned = true"
            )
        changed = set(self.changes)
        refused = changed - set(_SEEN) if self.stage == "align" else changed & set(_FIXED)
        for name in sorted(refused):
            raise RecipeError(f"[changes] of the {self.stage} stage cannot change {name}")
        for name in ("llm", "tower"):
            if not isinstance(self.changes.get(name, {}), dict):
                raise RecipeError(f"[changes] {name} must be a table of what is to be another")


def read_recipe(path: Path, *, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        path: a TOML file.
        overrides: top-level keys that replace the file's.

    Raises:
        RecipeError: the file cannot be read, is not TOML, or asks for something unknown.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}; give a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    if "text" in values:
        raise RecipeError(f"{path}: unknown key 'text'")
    changed = {k: v for k, v in (overrides or {}).items() if v is not None and values.get(k) != v}
    # A run's state belongs to the recipe as it was followed, wherever that was written to.
    notes = [f"# instead: {key} = {value!r}\n" for key, value in changed.items() if key != "output"]
    recipe = _build(Recipe, {**values, **changed, "text": text + "".join(notes)}, str(path))
    if recipe.data.path:
        located = dataclasses.replace(recipe.data, path=str(path.parent / recipe.data.path))
        recipe = dataclasses.replace(recipe, data=located)
    return recipe


def _build(kind: type[T], values: dict[str, Any], where: str) -> T:
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        known = ", ".join(name for name in hints if name != "text")
        raise RecipeError(f"{where}: unknown key {unknown[0]!r}; known here: {known}")
    made = {}
    for name, value in values.items():
        hint = hints[name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            if not isinstance(value, dict):
                raise RecipeError(f"{where}: {name} must be a table")
            made[name] = _build(hint, value, f"{where} [{name}]")
        else:
            made[name] = _checked(value, hint, f"{where}: {name}")
    try:
        return kind(**made)
    except TypeError as error:
        missing = str(error).split(": ")[-1]
        raise RecipeError(f"{where}: missing {missing}") from error


def _checked(value: Any, hint: Any, where: str) -> Any:
    """Return a value of one of the hint's types; a whole number may stand for a float."""
    options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    kinds = [get_origin(option) or option for option in options]
    if float in kinds and type(value) is int:
        return float(value)
    if type(value) not in kinds:
        names = " or ".join(kind.__name__ for kind in kinds if kind is not NoneType)
        raise RecipeError(f"{where} is {value!r}; it must be of type {names}")
    return value


def _need_positive(table: str, settings: Any, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not 0 < value < math.inf:
            raise RecipeError(f"{_dotted(table, name)} is {value}; it must be above 0")


def _need_not_negative(table: str, settings: Any, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value < math.inf:
            raise RecipeError(f"{_dotted(table, name)} is {value}; it must be 0 or more")


def _dotted(table: str, name: str) -> str:
    return f"{table}.{name}" if table else name
