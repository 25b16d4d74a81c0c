"""Options of the commands that run, score and fetch benchmarks, each defined once.

They are not settings for every run, as the options of `pplava_cli.options` are: a number of
frames in someone's settings file must not change a published protocol in silence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pplava_core.evals.base import PROTOCOLS, Settings
from pplava_core.models.language.generation_settings import Generation


class Protocol(StrEnum):
    """Whose rules are followed where they differ."""

    official = PROTOCOLS[0]
    ppllava = PROTOCOLS[1]
    lmms = PROTOCOLS[2]


def _option(*flags: str, help: str, panel: str, **more: Any) -> Any:
    return typer.Option(*flags, help=help.replace("[", r"\["), rich_help_panel=panel, **more)


Data = Annotated[
    Path,
    _option(
        "--data", metavar="DIR", help="The benchmark's folder, laid out as published.", panel="Data"
    ),
]


@dataclass(frozen=True, kw_only=True)
class ProtocolOptions:
    """How a benchmark's questions are put and its answers are read."""

    protocol: Annotated[
        Protocol,
        _option(
            "--protocol",
            help="Whose prompts, subtitles, extraction and scoring to follow.",
            panel="Protocol",
        ),
    ] = Protocol.official
    split: Annotated[
        str, _option("--split", metavar="NAME", help="Part of the data [first].", panel="Protocol")
    ] = ""
    subtitles: Annotated[
        bool, _option("--subtitles", help="Give the subtitles, too.", panel="Protocol")
    ] = False
    strict: Annotated[
        bool,
        _option(
            "--strict", help="Score without the gifts of an official scorer.", panel="Protocol"
        ),
    ] = False

    def settings(self, seed: int = 0) -> Settings:
        """Return what was said, as a benchmark takes it."""
        return Settings(
            protocol=self.protocol.value,
            split=self.split,
            subtitles=self.subtitles,
            strict=self.strict,
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True)
class AskingOptions(ProtocolOptions):
    """What a run may do otherwise than the protocol."""

    num_frames: Annotated[
        int | None,
        _option("--frames", metavar="N", min=1, help="Frames [the protocol's].", panel="Protocol"),
    ] = None
    max_new_tokens: Annotated[
        int | None,
        _option(
            "--max-new-tokens",
            metavar="N",
            min=1,
            help="Longest answer, in tokens [the protocol's].",
            panel="Protocol",
        ),
    ] = None
    temperature: Annotated[
        float,
        _option(
            "--temperature",
            metavar="X",
            min=0.0,
            help="0 takes the likeliest word each time.",
            panel="Protocol",
        ),
    ] = 0.0
    beams: Annotated[
        int,
        _option("--beams", metavar="N", min=1, help="Answers to pursue at once.", panel="Protocol"),
    ] = 1

    def generation(self, seed: int) -> Generation:
        """Return how answers are written, but for their length."""
        return Generation(temperature=self.temperature, beams=self.beams, seed=seed)

    def settings(self, seed: int = 0) -> Settings:
        """Return what was said, as a benchmark takes it."""
        return replace(
            super().settings(seed),
            num_frames=self.num_frames,
            max_new_tokens=self.max_new_tokens,
        )


@dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """Which questions are asked."""

    limit: Annotated[
        int | None,
        _option(
            "--limit",
            metavar="N",
            min=1,
            help="So many questions, from every task its share.",
            panel="Selection",
        ),
    ] = None
    only: Annotated[
        list[str] | None,
        _option(
            "--only",
            metavar="TASK",
            help="A task, or any row of the report; may be given several times.",
            show_default=False,
            panel="Selection",
        ),
    ] = None
    shuffle: Annotated[
        bool, _option("--shuffle", help="Take the videos in a drawn order.", panel="Selection")
    ] = False
    seed: Annotated[
        int, _option("--seed", metavar="N", min=0, help="Of every draw.", panel="Selection")
    ] = 0


@dataclass(frozen=True, kw_only=True)
class RunningOptions:
    """Where results go and how the work is done."""

    folder: Annotated[
        Path | None,
        _option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder of results [one in the cache, named by what determines them].",
            panel="Running",
        ),
    ] = None
    resume: Annotated[
        bool,
        _option(
            "--resume/--fresh",
            help="Go on with what is in the folder, or start over.",
            panel="Running",
        ),
    ] = True
    workers: Annotated[
        int,
        _option(
            "--workers",
            metavar="N",
            min=0,
            help="Processes that read clips ahead.",
            panel="Running",
        ),
    ] = 2
    dry_run: Annotated[
        bool,
        _option("--dry-run", help="Show the first questions' prompts; ask none.", panel="Running"),
    ] = False
