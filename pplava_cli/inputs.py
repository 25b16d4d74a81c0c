"""What the words of a command line stand for: which are files, which is the question.

Decides before anything heavy is loaded, so that a typing mistake costs no waiting. It
looks at names and kinds of files only; reading them is the media package's business.
"""

from __future__ import annotations

import mimetypes
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pplava_core.errors import InputError, UsageError
from pplava_core.types import InputKind


@dataclass(frozen=True, kw_only=True)
class Input:
    """What one answer is about: a film, a folder of frames, a picture or several."""

    paths: tuple[Path, ...]
    error: InputError | None = None
    "Why it is already known to be unreadable."

    @property
    def name(self) -> str:
        """The name to show beside its answer."""
        return ", ".join(str(path) for path in self.paths)


def check_question(names: Sequence[str], question: str) -> tuple[list[Path], str]:
    """Make sure that ``VIDEO… QUESTION`` is what was given; ``-`` reads the question from stdin.

    Raises:
        UsageError: the question or the videos are missing, or the question is empty or no text.
    """
    if os.path.exists(question):
        raise UsageError(
            f"the question is missing: {question!r} is a file; put the question last, in quotes"
        )
    if not names:
        raise UsageError(
            f"the video is missing: {question!r} is no file here; give VIDEO… and then QUESTION"
        )
    if " " not in question and _media_type(question) in ("video", "image"):
        raise UsageError(
            f"the question is missing: {question!r} looks like a file, and there is none; "
            "put the question last, in quotes"
        )
    paths = check_videos(names)
    try:
        question = sys.stdin.read() if question == "-" else question
        question.encode()  # bytes that are no text arrive as lone surrogates
    except UnicodeError:
        raise UsageError("the question is not text in UTF-8: type it, or convert it") from None
    if not question.strip():
        raise UsageError("the question is empty: put it last, in quotes, or pipe it in with -")
    return paths, question.strip()


def check_videos(names: Sequence[str]) -> list[Path]:
    """Make sure that there is at least one video and that none stands for stdin.

    Raises:
        UsageError: there is none, or one is ``-``.
    """
    if not names:
        raise UsageError("the video is missing: name at least one video, picture or folder")
    if "-" in names:
        raise UsageError("a video cannot come from stdin: name its file instead of -")
    return [Path(name) for name in names]


def group_inputs(paths: Sequence[Path], *, each: bool) -> list[Input]:
    """Decide which inputs are answered together.

    Still pictures alone make one joint input; as soon as one of them is a film or a
    folder, or with ``each``, every path is an input of its own. Files that cannot be
    read come back with their error, to be reported in their turn.
    """
    kinds: list[InputKind | None] = []
    errors: list[InputError | None] = []
    for path in paths:
        kind, error = _kind(path)
        kinds.append(kind)
        errors.append(error)
    if not each and all(kind == "image" for kind in kinds):
        first_error = next((error for error in errors if error is not None), None)
        return [Input(paths=tuple(paths), error=first_error)]
    return [Input(paths=(path,), error=error) for path, error in zip(paths, errors, strict=True)]


def _kind(path: Path) -> tuple[InputKind, InputError | None]:
    """Tell what a path is; of an unreadable one, what its name says it should have been."""
    from pplava_core.media import kind_of

    try:
        return kind_of(path), None
    except InputError as error:
        return ("image" if _media_type(path.name) == "image" else "video"), error


def _media_type(name: str) -> str | None:
    guessed, _ = mimetypes.guess_type(name)
    return guessed.partition("/")[0] if guessed else None
