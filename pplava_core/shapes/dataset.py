"""A folder of rendered films and a JSON Lines file of questions about them.

Films are real mp4 files at many sizes and frame rates, so that what is measured on them
holds for files. A third of them are `unusual`: sizes, frame rates and aspect ratios that
training never shows. Knows no model.
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
from pplava_core.shapes.film import encode_mp4
from pplava_core.shapes.questions import TYPES, Question, ask
from pplava_core.shapes.render import render
from pplava_core.shapes.scene import Scene, all_apart, draw_scene, scene_seed

QUESTIONS_NAME = "questions.jsonl"
_USUAL = {"shorter": (120, 160, 240, 360), "fps": (8.0, 12.0, 15.0, 24.0, 25.0, 30.0)}
_UNUSUAL = {"shorter": (80, 400), "fps": (5.0, 10.0, 29.97, 50.0, 60.0), "aspect": (0.5, 2.0, 2.39)}
_SCENES_PER_QUESTION = 0.25


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

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of the line."""
        film = dataclasses.asdict(self.film)
        return {"video": self.film.file_name, **dataclasses.asdict(self.question), "film": film}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Item:
        """Make the item that `to_dict` wrote down."""
        film = {**values["film"], "scene": Scene.from_dict(values["film"]["scene"])}
        question = {field.name: values[field.name] for field in dataclasses.fields(Question)}
        question["targets"] = tuple(question["targets"])
        return cls(film=Film(**film), question=Question(**question))


def choose_items(split: str, seed: int, question_count: int) -> list[Item]:
    """Choose questions about a split's scenes: as many of every type, answers balanced.

    Of each type every answer is taken in turn as long as the scenes have it, so that the
    best constant answer does badly.
    """
    quota = -(-question_count // len(TYPES))
    fewest = max(round(question_count * _SCENES_PER_QUESTION), 40)
    candidates: dict[str, dict[str, list[Item]]] = {name: defaultdict(list) for name in TYPES}
    for number in count():
        enough = all(sum(map(len, found.values())) >= quota for found in candidates.values())
        if number >= fewest and enough:
            break
        film = plan_film(split, seed, number)
        rng = np.random.default_rng([seed, number, 77])
        for question in ask(film.scene, rng, TYPES):
            answer = question.answer if question.type not in ("caption", "order") else ""
            candidates[question.type][answer].append(Item(film=film, question=question))
    chosen = [item for name in TYPES for item in _in_turn(candidates[name], quota)]
    return sorted(chosen, key=lambda item: (item.film.number, TYPES.index(item.question.type)))


def plan_film(split: str, seed: int, number: int) -> Film:
    """Decide how scene `number` of a split is filmed."""
    scene = draw_scene(scene_seed(split, seed, number))
    rng = np.random.default_rng([seed, number, 55])
    unusual = bool(rng.random() < 1 / 3)
    choices = _UNUSUAL if unusual else _USUAL
    if unusual:
        # A narrow picture brings things together; only an aspect that hides none will do.
        fitting = [aspect for aspect in choices["aspect"] if all_apart(scene.things, aspect)]
        if fitting:
            scene = dataclasses.replace(scene, aspect=float(rng.choice(fitting)))
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
        setting="unusual" if unusual else "usual",
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
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write films and questions into a new folder, which appears once it is whole.

    Args:
        folder: must not exist, or be empty.
        split: one of `shapes.scene.SPLITS`.
        seed: the same seed gives the same questions and the same frames.
        question_count: at least so many, evenly over the types.
        workers: processes that render; None is one for each core.
        progress: called with films done and in all.

    Returns:
        How many questions were written.

    Raises:
        UsageError: the folder has something in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already; name a new folder or delete it")
    items = choose_items(split, seed, question_count)
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
