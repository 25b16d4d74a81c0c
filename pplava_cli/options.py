"""Options that several commands share, each defined once.

An option bundle is a frozen dataclass whose fields carry their own flags. A command
names the bundles it wants as parameters and is wrapped in `takes_options`; Typer then
sees the single flags. Nothing here imports torch: turning text into the core's types
happens in `pplava_cli.opening`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Annotated, Any, get_type_hints

import typer

from pplava_cli.console import Output
from pplava_core.models.catalog import DEFAULT_MODEL, list_models


class Reader(StrEnum):
    """The libraries that can read a film."""

    pyav = "pyav"
    decord = "decord"


class Weighting(StrEnum):
    """The ways from relevance to pooled tokens."""

    literal = "literal"
    window = "window"
    authors = "authors"
    average = "average"
    max = "max"
    none = "none"
    native = "native"


class Quantization(StrEnum):
    """Ways to shrink a large language model's weights."""

    four = "4bit"
    eight = "8bit"


class DataType(StrEnum):
    """Number formats a model can compute in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


@dataclass
class RunState:
    """What the error table needs to know of a run: carried as the context's object."""

    debug: bool = False


def _shared(flag: str, help: str, panel: str, *, also: str | None = None, **more: Any) -> Any:
    """Build one shared option, with the environment variable that its flag implies.

    Args:
        flag: its name.
        help: one line.
        panel: under which it stands.
        also: another name of the same.
        more: what Typer takes.
    """
    flags = [flag] if also is None else [flag, also]
    return typer.Option(
        *flags,
        envvar=["PPLAVA_" + name.lstrip("-").replace("-", "_").upper() for name in flags],
        show_envvar=False,
        help=help.replace("[", r"\["),
        rich_help_panel=panel,
        **more,
    )


def _remember_debug(context: typer.Context, value: bool) -> bool:
    if value and isinstance(context.obj, RunState):
        context.obj.debug = True
    return value


def complete_model(incomplete: str) -> list[str]:
    """Offer the names of models to the shell."""
    return [entry.name for entry in list_models() if entry.name.startswith(incomplete)]


Debug = Annotated[
    bool,
    _shared(
        "--debug",
        "Show the traceback of an error.",
        "Output",
        callback=_remember_debug,
    ),
]

Model = Annotated[
    str,
    _shared(
        "--model",
        "A name from `pplava models list`, or a model folder.",
        "Model",
        metavar="NAME",
        autocompletion=complete_model,
    ),
]

Videos = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="VIDEO",
        help="Videos, pictures, or folders of numbered frames.",
        show_default=False,
    ),
]

Evidence = Annotated[
    bool,
    _shared("--evidence", "Show the moments that weighed most.", "Answer"),
]


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """Which part of a film is read, and by what."""

    num_frames: Annotated[
        int | None,
        _shared("--frames", "Frames to take [the model's own number].", "Clip", metavar="N", min=1),
    ] = None
    fps: Annotated[
        float | None,
        _shared("--fps", "Frames per second to take, instead.", "Clip", metavar="X", min=0.0),
    ] = None
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="Start of the range: seconds, mm:ss or h:mm:ss.s.",
            rich_help_panel="Clip",
        ),
    ] = None
    stop: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="TIME", help="End of the range, not included.", rich_help_panel="Clip"
        ),
    ] = None
    reader: Annotated[
        Reader,
        _shared("--reader", "What decodes films; decord's frames are unverified.", "Clip"),
    ] = Reader.pyav


@dataclass(frozen=True, kw_only=True)
class PoolingOptions:
    """How many visual tokens the language model gets, and how they are made."""

    kernel: Annotated[
        str | None,
        _shared(
            "--kernel", "Patches merged along time, height, width.", "Pooling", metavar="T,H,W"
        ),
    ] = None
    stride: Annotated[
        str | None,
        _shared("--stride", "Step of the window [the kernel].", "Pooling", metavar="T,H,W"),
    ] = None
    tokens: Annotated[
        int | None,
        _shared(
            "--tokens",
            "Budget of visual tokens: the window is chosen to meet it.",
            "Pooling",
            metavar="N",
            min=1,
        ),
    ] = None
    weighting: Annotated[
        Weighting | None,
        _shared(
            "--pooling",
            f"How patches are merged [the model's own]: {', '.join(Weighting)}.",
            "Pooling",
            also="--weighting",
            metavar="NAME",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """How the answer is written."""

    max_new_tokens: Annotated[
        int,
        _shared("--max-new-tokens", "Longest answer, in tokens.", "Answer", metavar="N", min=1),
    ] = 128
    temperature: Annotated[
        float,
        _shared(
            "--temperature",
            "0 takes the likeliest word each time.",
            "Answer",
            metavar="X",
            min=0.0,
        ),
    ] = 0.0
    top_p: Annotated[
        float,
        _shared(
            "--top-p",
            "Draw from the likeliest words that together have this probability.",
            "Answer",
            metavar="X",
            min=0.0,
            max=1.0,
        ),
    ] = 1.0
    seed: Annotated[
        int, _shared("--seed", "Seed for temperatures above 0.", "Answer", metavar="N", min=0)
    ] = 0
    beams: Annotated[
        int,
        _shared(
            "--beams",
            "Answers to pursue at once; the likeliest is shown when all are done.",
            "Answer",
            metavar="N",
            min=1,
        ),
    ] = 1
    repetition_penalty: Annotated[
        float,
        _shared(
            "--repetition-penalty",
            "Above 1, words that the answer has already are less likely.",
            "Answer",
            metavar="X",
            min=0.0,
        ),
    ] = 1.0
    stop_strings: Annotated[
        list[str] | None,
        typer.Option(
            "--stop",
            metavar="TEXT",
            help="End the answer before this text; may be given several times.",
            show_default=False,
            rich_help_panel="Answer",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model answers, and where it runs."""

    model: Model = DEFAULT_MODEL
    device: Annotated[
        str, _shared("--device", "auto, cpu, cuda, cuda:1, mps.", "Model", metavar="NAME")
    ] = "auto"
    dtype: Annotated[
        DataType | None,
        _shared(
            "--dtype",
            f"Number format [what fits]: {', '.join(DataType)}.",
            "Model",
            metavar="NAME",
        ),
    ] = None
    quantize: Annotated[
        Quantization | None,
        _shared(
            "--quantize",
            f"Shrink the language model of a large model: {' or '.join(Quantization)}.",
            "Model",
            metavar="NAME",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class VoiceOptions:
    """How a run speaks that only speaks to people."""

    quiet: Annotated[bool, _shared("--quiet", "Only the answer and errors.", "Output")] = False
    debug: Debug = False

    def open(self) -> Output:
        """Make the voice of this run."""
        return Output(quiet=self.quiet, debug=self.debug)


@dataclass(frozen=True, kw_only=True)
class OutputOptions(VoiceOptions):
    """How a run speaks that also speaks to programs."""

    json: Annotated[bool, _shared("--json", "One JSON object a line on stdout.", "Output")] = False

    def open(self) -> Output:
        """Make the voice of this run."""
        return Output(json=self.json, quiet=self.quiet, debug=self.debug)


def takes_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command receive option bundles: flatten their fields into its signature.

    Parameters annotated with a bundle are replaced, for Typer, by the bundle's fields;
    when the command is called, the bundles are put together again. The docstring's
    paragraphs lose their line breaks, for the help to set its own.
    """
    bundles: dict[str, Any] = {}
    flat: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        bundle: Any = parameter.annotation
        if not is_dataclass(bundle):
            flat.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        bundles[parameter.name] = bundle
        hints = get_type_hints(bundle, include_extras=True)
        flat.extend(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=hints[field.name],
                default=field.default,
            )
            for field in fields(bundle)
        )

    @functools.wraps(command)
    def flattened(**arguments: Any) -> Any:
        for name, bundle in bundles.items():
            values = {field.name: arguments.pop(field.name) for field in fields(bundle)}
            arguments[name] = bundle(**values)
        return command(**arguments)

    flattened.__doc__ = "\n\n".join(
        " ".join(paragraph.split()) for paragraph in (inspect.getdoc(command) or "").split("\n\n")
    )
    flattened.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    flattened.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return flattened


def examples(*lines: str) -> str:
    """Lay out copyable command lines as the end of a command's help."""
    return "\n\n".join(["[bold]Examples[/bold]", *(line.replace("[", r"\[") for line in lines)])
