"""What determines a run's result, written beside it, so that no two runs are mixed up.

A folder of results belongs to one manifest; a run that would give other results is told
the difference and goes nowhere near it. Versions count: an answer may depend on them.
Machines, devices and how many processes share the work do not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pplava_core import __version__
from pplava_core.atomic import replacing
from pplava_core.errors import InputError, UsageError
from pplava_core.evals.base import Benchmark, Item, Settings
from pplava_core.evals.runs.predictions import FILE_NAME as PREDICTIONS_NAME
from pplava_core.evals.runs.predictions import prediction_files, unwritable
from pplava_core.evals.runs.selection import Selection

if TYPE_CHECKING:
    from pplava_core.models.language.generation_settings import Generation
    from pplava_core.models.videolm import VideoLM
    from pplava_core.session import PoolingChoice

FILE_NAME = "manifest.json"
FORMAT = 1
REPORT_NAMES = ("summary.json", "report.md", "tables.csv", "questions.jsonl")
_LIBRARIES = ("torch", "transformers", "open_clip_torch", "tokenizers", "av")
_SHOWN_CHARACTERS = 60


def make_manifest(
    benchmark: Benchmark,
    items: Sequence[Item],
    *,
    settings: Settings,
    selection: Selection,
    model: VideoLM,
    pooling: PoolingChoice,
    generation: Generation,
    reader: str,
    guide_positions: int | None = None,
) -> dict[str, Any]:
    """Describe a run as JSON values.

    Args:
        benchmark: whose rules apply.
        items: the questions that will be asked.
        settings: frames, prompts and scoring.
        selection: how the items were chosen among all.
        model: who answers.
        pooling: window and weighting; None in it is the model's own.
        generation: how answers are written; their length is in the settings.
        reader: which library decodes.
        guide_positions: how far the aligner reads into a text; None is all it can.
    """
    described = {
        "format": FORMAT,
        **_asked(benchmark, items, settings, selection),
        "model": {
            "name": model.name,
            "revision": model.revision,
            "dtype": str(model.dtype).removeprefix("torch."),
        },
        "pooling": {**dataclasses.asdict(pooling), "guide_positions": guide_positions},
        "generation": {**dataclasses.asdict(generation), "max_new_tokens": None},
        "reader": reader,
        "versions": _versions(),
    }
    return _as_read(described)


def items_hash(items: Sequence[Item]) -> str:
    """Return the SHA-256 of what is asked, in order.

    Videos and subtitles count by name, so that a data folder may be moved.
    """
    digest = hashlib.sha256()
    for item in items:
        values = dataclasses.asdict(dataclasses.replace(item, video=None))
        values["subtitles"] = item.subtitles and item.subtitles.name
        digest.update(json.dumps(values, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()


def claim_folder(folder: Path, manifest: dict[str, Any], *, fresh: bool = False) -> None:
    """Make a folder of results, or go on in one that belongs to the same manifest.

    Args:
        folder: made with its parents if it is not there.
        manifest: from `make_manifest`.
        fresh: delete what an earlier run wrote there.

    Raises:
        UsageError: the folder belongs to a run with other results, or holds other things.
        OutputError: it cannot be written into.
    """
    path = folder / FILE_NAME
    if path.is_file() and not fresh:
        there = differences(read_manifest(folder), manifest)
        if there:
            raise UsageError(
                f"{folder} holds another run ({'; '.join(there[:3])}): "
                "--fresh starts over, -o names another folder"
            )
        return
    if not path.is_file() and folder.exists() and any(_others(folder)):
        raise UsageError(f"{folder} holds other files, which stay: choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if fresh:
            _forget(folder)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise unwritable(folder, error) from error


def hold_to_manifest(
    folder: Path,
    benchmark: Benchmark,
    items: Sequence[Item],
    settings: Settings,
    selection: Selection,
) -> dict[str, Any]:
    """Return the manifest of saved answers, if these questions are what was asked for them.

    Raises:
        InputError: the folder holds no run, or its manifest is damaged.
        UsageError: the run was of other questions, or with other settings.
    """
    there = read_manifest(folder)
    now = _as_read(_asked(benchmark, items, settings, selection))
    found = differences({name: there.get(name) for name in now}, now)
    if found:
        raise UsageError(
            f"{folder} holds another run ({'; '.join(found[:3])}): "
            "repeat the options that its answers were given with"
        )
    return there


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder of results.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / FILE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{folder} is no folder of results: {FILE_NAME}: {error.strerror}"
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; run again with --fresh") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise InputError(f"{path} is of another version; run again with --fresh")
    return values


def differences(there: Any, now: Any, name: str = "") -> list[str]:
    """Name every value that differs between two manifests."""
    if isinstance(there, dict) and isinstance(now, dict):
        return [
            line
            for key in dict.fromkeys([*there, *now])
            for line in differences(
                there.get(key), now.get(key), f"{name}.{key}" if name else str(key)
            )
        ]
    return [] if there == now else [f"{name} was {_shown(there)} and would be {_shown(now)}"]


def _asked(
    benchmark: Benchmark, items: Sequence[Item], settings: Settings, selection: Selection
) -> dict[str, Any]:
    """Describe what is asked, whoever answers."""
    return {
        "benchmark": benchmark.info.name,
        # What only scores answers (`strict`) is no reason to ask again.
        "settings": {**dataclasses.asdict(settings), "strict": None},
        "selection": dataclasses.asdict(selection),
        "data": {"questions": len(items), "sha256": items_hash(items)},
    }


def _as_read(described: dict[str, Any]) -> dict[str, Any]:
    """Return values as they will be read again, so that tuples and lists do not differ."""
    values: dict[str, Any] = json.loads(json.dumps(described))
    return values


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _versions() -> dict[str, str]:
    found = {"pplava": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "unknown"
    return found


def _others(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _forget(folder: Path) -> None:
    names = (PREDICTIONS_NAME, *REPORT_NAMES)
    for path in [*prediction_files(folder), *(folder / name for name in names)]:
        path.unlink(missing_ok=True)
