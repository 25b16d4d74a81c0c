"""Completion files for bash, zsh and fish, made from the commands themselves.

``python -m pplava_cli.completions`` writes them into ``completions/``. They hold every
command and option as plain words, so that pressing Tab starts no Python; they change only
when the commands do. (``pplava --install-completion`` sets up the other kind, which asks
the program each time.)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pplava_cli.completion_shells import Flag, Node, bash, fish, zsh
from pplava_core.atomic import replacing

DIRECTORY = Path("completions")


def command_tree() -> Node:
    """Describe the program and all its commands."""
    from typer.main import get_command

    from pplava_cli.app import app

    program = get_command(app)
    return _node(program, (), program.make_context("pplava", [], resilient_parsing=True))


def completion_files() -> dict[str, str]:
    """Make the text of every completion file, by file name."""
    tree = command_tree()
    return {"pplava.bash": bash(tree), "_pplava": zsh(tree), "pplava.fish": fish(tree)}


def write_files(directory: Path) -> list[Path]:
    """Write the completion files and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in completion_files().items():
        paths.append(directory / name)
        with replacing(paths[-1]) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths


def _node(command: Any, words: tuple[str, ...], context: Any) -> Node:
    children = getattr(command, "commands", {})
    return Node(
        words=words,
        help=_first_sentence(command.help),
        flags=(
            *(_flag(option, context) for option in command.params if _is_offered(option)),
            Flag(names=("--help", "-h"), help="Show this message and exit", takes_value=False),
        ),
        children=tuple(_node(child, (*words, name), context) for name, child in children.items()),
    )


def _is_offered(option: Any) -> bool:
    """Tell options from arguments, and leave out what installs the other kind of completion."""
    name = option.opts[0]
    return name.startswith("-") and not name.endswith("-completion")


def _flag(option: Any, context: Any) -> Flag:
    takes_value = not option.is_flag
    # models differ from machine to machine, so they are left to --install-completion
    is_listed = takes_value and option.name != "model"
    offered = option.shell_complete(context, "") if is_listed else []
    return Flag(
        names=tuple(option.opts),
        help=_first_sentence((option.help or "").replace("\\[", "[")),
        takes_value=takes_value,
        choices=tuple(item.value for item in offered),
    )


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split()).rstrip(".")


if __name__ == "__main__":
    for written in write_files(Path(*sys.argv[1:2]) if sys.argv[1:] else DIRECTORY):
        print(written)
