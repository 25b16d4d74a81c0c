"""The `pplava` program: wires the commands up, and turns errors into exit codes.

Importing this module must stay cheap: ``--help`` and shell completion pass through here
and never load torch.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from pplava_cli import (
    ask,
    bench,
    cache,
    caption,
    chat,
    frames,
    heatmap,
    models,
    settings,
    shapes,
    train,
    version,
)
from pplava_cli import eval as evaluate
from pplava_cli.config_file import config_path, defaults_from, read_config, variables_of
from pplava_cli.console import Output, ReaderGone
from pplava_cli.failures import ANSWERED, EXIT_CODE_MEANINGS, INTERRUPTED, USAGE, exit_code_of
from pplava_cli.options import Debug, RunState
from pplava_core import __version__

_COMMANDS = (
    ask,
    caption,
    chat,
    heatmap,
    frames,
    train,
    evaluate,
    shapes,
    bench,
    models,
    cache,
    settings,
    version,
)

_CommandLineError: type[Exception] = typer.BadParameter.__mro__[1]
"What the parser raises on a wrong command line; Typer exports only this subclass of it."

_EPILOG = "\n\n".join(
    [
        "[bold]Settings[/bold]",
        "Most options can be set for good: PPLAVA_MODEL=... in the environment, or "
        'model = "..." in config.toml; `pplava settings` shows all. '
        "A flag beats the environment, and that beats the file.",
        "[bold]Exit codes[/bold]",
        "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODE_MEANINGS.items()) + ".",
    ]
)

app = typer.Typer(
    name="pplava",
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
    epilog=_EPILOG,
)
for _command in _COMMANDS:
    _command.register(app)


def _show_version(value: bool) -> None:
    if value:
        Output().line(f"pplava {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def _program(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Debug = False,
) -> None:
    """Ask questions about video. Nothing leaves this machine."""
    if context.invoked_subcommand is None:
        Output().line(context.get_help())
        return
    path = config_path()
    context.default_map = defaults_from(context.command, read_config(path), path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code; every error becomes one line on stderr.

    Args:
        arguments: the command line without the program's name; None takes it from the
            process.
    """
    state = RunState()
    _prepare_streams()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return app(arguments, prog_name="pplava", standalone_mode=False, obj=state) or ANSWERED
    except ReaderGone:
        return ANSWERED
    except _CommandLineError as error:
        Output().error(_usage_line(error))
        return USAGE
    except typer.Abort:
        return INTERRUPTED
    except (Exception, KeyboardInterrupt) as error:
        Output(debug=state.debug).failure(error)
        return exit_code_of(error)
    finally:
        _finish_streams()


def _usage_line(error: Any) -> str:
    """Put the parser's complaint into one line that says where the value came from."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context, parameter = error.ctx, getattr(error, "param", None)
    command = context.command_path if context is not None else "pplava"
    if context is not None and parameter is not None:
        source = context.get_parameter_source(parameter.name)
        if source is not None and source.name == "ENVIRONMENT":
            variables = [name for name in variables_of(parameter) if os.environ.get(name)]
            message += f" (from {variables[0]} in the environment)"
        elif source is not None and source.name == "DEFAULT_MAP":
            message += f" (from {config_path()})"
    return f"{message}; see `{command} --help`"


def _prepare_streams() -> None:
    """Make sure that no file name or answer can fail for want of a character."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _finish_streams() -> None:
    """Write out what is left; where nobody takes it, keep Python from complaining at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, stream.fileno())
            os.close(sink)
