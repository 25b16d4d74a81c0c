"""A folder of rendered films and a JSON Lines file of questions about them.

Films are real mp4 files at many sizes and frame rates, so that what is measured on them
holds for files. A fifth of them are `unusual`: sizes, frame rates and aspect ratios that
training never shows. Half of the questions are worded as training never does. Knows no model.

There are five sets. `plain` asks everything; `redundant` has films of 20 seconds to two
minutes, and a few of ten, of which a few seconds or one small thing matter; `long-prompt` puts
a hundred words before the question; `unseen` asks about combinations of colour, shape and
motion that training never shows; `chat` asks five questions in a row, later ones about "it".
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from pplava_core.errors import InputError, UsageError
from pplava_core.shapes.drawing import all_apart, draw_redundant_scene, draw_scene, key_things
from pplava_core.shapes.film import encode_mp4
from pplava_core.shapes.prompts import long_prompt
from pplava_core.shapes.questions import (
    BRIEF_TYPES,
    NOTHING,
    TYPES,
    Question,
    ask,
    clear_on_screen,
    dialogue,
)
from pplava_core.shapes.render import render
from pplava_core.shapes.scene import Scene, scene_seed

QUESTIONS_NAME = "questions.jsonl"
_USUAL = {"shorter": (120, 160, 240, 360), "fps": (8.0, 12.0, 15.0, 24.0, 25.0, 30.0)}
_UNUSUAL = {"shorter": (80, 400), "fps": (5.0, 10.0, 29.97, 50.0, 60.0), "aspect": (0.5, 2.0, 2.39)}
_REDUNDANT = {"shorter": (96, 120, 160), "fps": (5.0, 8.0, 10.0)}
_UNUSUAL_SHARE = 0.2
_VERY_LONG_EVERY = 25
"One redundant film in so many lasts ten minutes."
_SCENES_PER_QUESTION = 0.25
SETS = ("plain", "redundant", "long-prompt", "unseen", "chat")
_MANY_ANSWERS = ("caption", "order", "larger", "faster", "face")
"Types whose answers are too many to take in turn."
_WRITTEN = ("type", "text", "answer", "targets", "named")
"What the file says of a question."
TURNS = 5
"Questions of a conversation in the set `chat`."
TYPES_OF_SET: dict[str, tuple[str, ...]] = {
    "plain": TYPES,
    "redundant": tuple(name for name in BRIEF_TYPES if name not in ("face", "read")),
    "long-prompt": tuple(name for name in TYPES if name not in ("caption", "choice")),
    # Whatever is asked about must be there, so that "is there a ...?" would always be yes.
    "unseen": tuple(
        name for name in TYPES if name not in ("count", "caption", "face", "read", "presence")
    ),
}


@dataclass(frozen=True, kw_only=True)
class Film:
    """How one scene is filmed."""

    number: int
    "Of the scene, in its split."
    scene: Scene
    height: int
    width: int
    fps: float
    crf: int
    setting: str
    "`usual` or `unusual`."
    sampling_fps: float | None = None
    "Frames per second that are to be sampled at least; None leaves it to the model."

    @property
    def frame_count(self) -> int:
        """Frames of the whole film."""
        return max(round(self.scene.duration_seconds * self.fps), 1)

    @property
    def file_name(self) -> str:
        """Where it lies in the dataset's folder."""
        return f"films/{self.number:06d}.mp4"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One line of the questions file."""

    film: Film
    question: Question
    wording: str = "known"
    "`known` from training, or `new`."
    turn: int = 0
    "Place in a conversation about the film; 0 begins one, or stands alone."

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of the line."""
        film = dataclasses.asdict(self.film)
        asked = {name: getattr(self.question, name) for name in _WRITTEN}
        place = {"wording": self.wording, "turn": self.turn}
        return {"video": self.film.file_name, **asked, **place, "film": film}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Item:
        """Make the item that `to_dict` wrote down."""
        film = {**values["film"], "scene": Scene.from_dict(values["film"]["scene"])}
        question = {name: values[name] for name in _WRITTEN}
        question["targets"] = tuple(question["targets"])
        return cls(
            film=Film(**film),
            question=Question(**question),
            wording=values.get("wording", "known"),
            turn=values.get("turn", 0),
        )


def choose_items(split: str, seed: int, question_count: int, test_set: str = "plain") -> list[Item]:
    """Choose questions about a split's scenes: as many of every type, answers balanced.

    Of each type every answer is taken in turn as long as the scenes have it, so that the
    best constant answer does badly. Conversations are taken as they come.

    Raises:
        KeyError: the set is none of `SETS`.
    """
    if test_set == "chat":
        return _conversations(split, seed, question_count)
    types = TYPES_OF_SET[test_set]
    quota = -(-question_count // len(types))
    fewest = max(round(question_count * _SCENES_PER_QUESTION), 40)
    candidates: dict[str, dict[str, list[Item]]] = {name: defaultdict(list) for name in types}
    for number in count():
        enough = all(_balanced(candidates[name], quota) for name in types)
        if number >= fewest and enough:
            break
        film = plan_film(split, seed, number, test_set)
        for item in _questions(film, seed, test_set):
            name = item.question.type
            answer = item.question.answer
            # Of many answers only that there is nothing is one that could be most of them.
            group = answer if name not in _MANY_ANSWERS or answer == NOTHING else ""
            candidates[name][group].append(item)
    chosen = [item for name in types for item in _in_turn(candidates[name], quota)]
    return sorted(chosen, key=lambda item: (item.film.number, types.index(item.question.type)))


def _questions(film: Film, seed: int, test_set: str) -> list[Item]:
    """Ask one question of every type about a film."""
    scene, types = film.scene, TYPES_OF_SET[test_set]
    rng = np.random.default_rng([seed, film.number, 77])
    new = bool(rng.random() < 0.5)
    about = {"redundant": key_things(scene), "unseen": (0,)}.get(test_set)
    asked = ask(scene, rng, types, about=about, paraphrased=new)
    asked = [question for question in asked if clear_on_screen(scene, question)]
    if test_set == "unseen":
        asked = [question for question in asked if question.targets]
    if test_set == "long-prompt":
        others = [f"the {thing.phrase}" for thing in scene.things]
        asked = [
            dataclasses.replace(q, text=long_prompt(q.text, rng, distractors=others, new=new))
            for q in asked
        ]
    wording = "new" if new else "known"
    return [Item(film=film, question=question, wording=wording) for question in asked]


def _conversations(split: str, seed: int, question_count: int) -> list[Item]:
    items: list[Item] = []
    for number in count():
        if len(items) >= question_count:
            break
        conversation = _conversation(plan_film(split, seed, number, "chat"), seed)
        # Of things that cannot be told apart there is too little to talk about.
        if len(conversation) == TURNS:
            items += conversation
    return items


def _conversation(film: Film, seed: int) -> list[Item]:
    rng = np.random.default_rng([seed, film.number, 78])
    new = bool(rng.random() < 0.5)
    asked = dialogue(film.scene, rng, TURNS, paraphrased=new)
    wording = "new" if new else "known"
    return [Item(film=film, question=q, wording=wording, turn=n) for n, q in enumerate(asked)]


def plan_film(split: str, seed: int, number: int, test_set: str = "plain") -> Film:
    """Decide how scene `number` of a split is filmed."""
    # Each set has scenes of its own.
    scene_number = number + 1_000_000 * SETS.index(test_set)
    drawn = scene_seed(split, seed, scene_number)
    rng = np.random.default_rng([seed, scene_number, 55])
    if test_set == "redundant":
        return _plan_long_film(drawn, number, rng)
    scene = draw_scene(drawn, held_out=test_set == "unseen")
    unusual = bool(rng.random() < _UNUSUAL_SHARE)
    choices = _UNUSUAL if unusual else _USUAL
    if unusual:
        # A narrow picture brings things together; only an aspect that hides none will do.
        fitting = [aspect for aspect in choices["aspect"] if all_apart(scene.things, aspect)]
        if fitting:
            scene = dataclasses.replace(scene, aspect=float(rng.choice(fitting)))
    return _filmed(scene, number, rng, choices, setting="unusual" if unusual else "usual")


def _plan_long_film(drawn: np.random.SeedSequence, number: int, rng: np.random.Generator) -> Film:
    very_long = number % _VERY_LONG_EVERY == _VERY_LONG_EVERY - 1
    scene = draw_redundant_scene(drawn, seconds=(540.0, 600.0) if very_long else (20.0, 120.0))
    choices = {"shorter": (96,), "fps": (5.0,)} if very_long else _REDUNDANT
    film = _filmed(scene, number, rng, choices, setting="very long" if very_long else "long")
    # Three frames at least must hold what is seen for three seconds.
    return dataclasses.replace(film, sampling_fps=2.0 if scene.duration_seconds <= 60 else 1.0)


def _filmed(
    scene: Scene,
    number: int,
    rng: np.random.Generator,
    choices: dict[str, tuple[Any, ...]],
    *,
    setting: str,
) -> Film:
    shorter = int(rng.choice(choices["shorter"]))
    height = shorter if scene.aspect >= 1 else 2 * round(shorter / scene.aspect / 2)
    width = 2 * round(shorter * scene.aspect / 2) if scene.aspect >= 1 else shorter
    return Film(
        number=number,
        scene=scene,
        height=height,
        width=width,
        fps=float(rng.choice(choices["fps"])),
        crf=int(rng.integers(18, 31)),
        setting=setting,
    )


def write_film(film: Film, path: Path) -> None:
    """Render and encode one film."""
    moments = [(index + 0.5) / film.frame_count for index in range(film.frame_count)]
    frames, _ = render(film.scene, moments, height=film.height, width=film.width)
    encode_mp4(frames, path, fps=film.fps, crf=film.crf)


def write_dataset(
    folder: Path,
    *,
    split: str,
    seed: int,
    question_count: int,
    test_set: str = "plain",
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write films and questions into a new folder, which appears once it is whole.

    Args:
        folder: must not exist, or be empty.
        split: one of `shapes.scene.SPLITS`.
        seed: the same seed gives the same questions and the same frames.
        question_count: at least so many, evenly over the types.
        test_set: one of `SETS`.
        workers: processes that render; None is one for each core.
        progress: called with films done and in all.

    Returns:
        How many questions were written.

    Raises:
        UsageError: the folder has something in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already; name a new folder or delete it")
    items = choose_items(split, seed, question_count, test_set)
    films = list({item.film.number: item.film for item in items}.values())
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.with_name(f".{folder.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        (new / "films").mkdir(parents=True)
        _write_films(films, new, workers, progress)
        lines = (json.dumps(item.to_dict(), ensure_ascii=False) + "\n" for item in items)
        (new / QUESTIONS_NAME).write_text("".join(lines), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return len(items)


def read_dataset(folder: Path) -> list[Item]:
    """Read the questions of a folder that `write_dataset` wrote.

    Raises:
        InputError: there are none, or a line is damaged.
    """
    path = folder / QUESTIONS_NAME
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        items = [Item.from_dict(json.loads(line)) for line in lines]
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; write it with `pplava shapes render`"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {error}; render the folder again") from error
    if not items:
        raise InputError(f"{path} has no questions; render the folder again")
    return items


def _write_films(
    films: Sequence[Film],
    folder: Path,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(write_film, film, folder / film.file_name) for film in films]
        try:
            for done, job in enumerate(jobs, 1):
                job.result()
                if progress:
                    progress(done, len(films))
        finally:
            # After an error, and on Ctrl-C, nobody waits for the films that are left.
            pool.shutdown(cancel_futures=True)


def _balanced(by_answer: dict[str, list[Item]], quota: int) -> bool:
    """Whether a quota can be filled with no answer, of several, right for more than half."""
    most = -(-quota // 2)
    filled = sum(
        len(items) if not answer else min(len(items), most) for answer, items in by_answer.items()
    )
    return filled >= quota


def _in_turn(by_answer: dict[str, list[Item]], quota: int) -> list[Item]:
    chosen: list[Item] = []
    queues: list[Iterator[Item]] = [iter(by_answer[answer]) for answer in sorted(by_answer)]
    while queues and len(chosen) < quota:
        still: list[Iterator[Item]] = []
        for queue in queues:
            item = next(queue, None)
            if item is not None and len(chosen) < quota:
                chosen.append(item)
            if item is not None:
                still.append(queue)
        queues = still
    return chosen
