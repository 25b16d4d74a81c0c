"""How bash, zsh and fish want to be told about commands and options.

Text from a tree of commands; where the tree comes from and where the text goes is the
business of `pplava_cli.completions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_ORIGIN = "# Completion of pplava, made by `python -m pplava_cli.completions`; do not edit."


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One option as a shell needs to know it."""

    names: tuple[str, ...]
    help: str
    takes_value: bool
    choices: tuple[str, ...] = ()
    "What the value may be; where it may be anything, file names are offered."


@dataclass(frozen=True, kw_only=True)
class Node:
    """One command, or a group with commands inside."""

    words: tuple[str, ...]
    "How it is called, without `pplava`; empty for the program itself."
    help: str
    flags: tuple[Flag, ...]
    children: tuple[Node, ...]

    @property
    def label(self) -> str:
        """A name for shell functions and cases."""
        return "_".join(("pplava", *self.words)).replace("-", "_")


def bash(tree: Node) -> str:
    """Write the completion file for bash."""
    lines = [
        _ORIGIN,
        "",
        "_pplava() {",
        '    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD - 1]}"',
        "    local command=pplava words= index",
        "    for ((index = 1; index < COMP_CWORD; index++)); do",
        '        case "$command ${COMP_WORDS[index]}" in',
    ]
    for node in _walk(tree):
        for child in node.children:
            lines.append(f'            "{node.label} {child.words[-1]}") command={child.label} ;;')
    lines += ["        esac", "    done", '    case "$command $previous" in']
    for node in _walk(tree):
        for flag in (flag for flag in node.flags if flag.takes_value):
            pattern = " | ".join(f'"{node.label} {name}"' for name in flag.names)
            if flag.choices:
                reply = f'COMPREPLY=($(compgen -W "{" ".join(flag.choices)}" -- "$current")); '
            else:
                reply = ""
            lines.append(f"        {pattern}) {reply}return ;;")
    lines += ["    esac", '    case "$command" in']
    for node in _walk(tree):
        words = [name for flag in node.flags for name in flag.names]
        words = [child.words[-1] for child in node.children] + words
        lines.append(f'        {node.label}) words="{" ".join(words)}" ;;')
    groups = "|".join(node.label for node in _walk(tree) if node.children)
    lines += [
        "    esac",
        f'    if [[ "$current" == -* || "$command" =~ ^({groups})$ ]]; then',
        '        COMPREPLY=($(compgen -W "$words" -- "$current"))',
        "    fi",
        "}",
        "",
        "# where nothing is offered, -o default offers file names",
        "complete -o default -F _pplava pplava",
    ]
    return "\n".join(lines) + "\n"


def zsh(tree: Node) -> str:
    """Write the completion file for zsh."""
    lines = ["#compdef pplava", _ORIGIN, ""]
    for node in reversed(list(_walk(tree))):
        lines += [f"_{node.label}() {{", *_zsh_body(node), "}", ""]
    lines.append('_pplava "$@"')
    return "\n".join(lines) + "\n"


def _zsh_body(node: Node) -> Iterator[str]:
    arguments = [_zsh_flag(flag) for flag in node.flags]
    if not node.children:
        yield "    _arguments \\"
        yield from (f"        {argument} \\" for argument in arguments)
        yield "        '*:file:_files'"
        return
    yield "    local line state"
    yield "    _arguments -C \\"
    yield from (f"        {argument} \\" for argument in arguments)
    yield "        '1: :->command' \\"
    yield "        '*:: :->arguments'"
    yield '    case "$state" in'
    yield "        command)"
    yield "            local -a commands=("
    for child in node.children:
        yield f"                {_quoted(child.words[-1] + ':' + child.help.replace(':', ' '))}"
    yield "            )"
    yield "            _describe command commands"
    yield "            ;;"
    yield "        arguments)"
    yield '            case "$line[1]" in'
    for child in node.children:
        yield f"                {child.words[-1]}) _{child.label} ;;"
    yield "            esac"
    yield "            ;;"
    yield "    esac"


def _zsh_flag(flag: Flag) -> str:
    help_text = "".join("\\" + letter if letter in "[]:" else letter for letter in flag.help)
    value = ""
    if flag.takes_value:
        value = f":value:({' '.join(flag.choices)})" if flag.choices else ":value:_files"
    return " ".join(_quoted(f"{name}[{help_text}]{value}") for name in flag.names)


def fish(tree: Node) -> str:
    """Write the completion file for fish."""
    lines = [_ORIGIN, ""]
    for node in _walk(tree):
        condition = _fish_condition(node)
        for child in node.children:
            others = " ".join(other.words[-1] for other in node.children)
            unless = f"not __fish_seen_subcommand_from {others}"
            where = f"{condition}; and {unless}" if condition else unless
            lines.append(
                f"complete -c pplava -f -n {_quoted(where)} "
                f"-a {child.words[-1]} -d {_quoted(child.help)}"
            )
        where = f" -n {_quoted(condition)}" if condition else ""
        lines += [f"complete -c pplava{where}{_fish_flag(flag)}" for flag in node.flags]
    return "\n".join(lines) + "\n"


def _fish_condition(node: Node) -> str:
    return "; and ".join(f"__fish_seen_subcommand_from {word}" for word in node.words)


def _fish_flag(flag: Flag) -> str:
    text = ""
    for name in flag.names:
        text += f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}"
    if flag.choices:
        text += f" -x -a {_quoted(' '.join(flag.choices))}"
    elif flag.takes_value:
        text += " -r"
    return f"{text} -d {_quoted(flag.help)}"


def _quoted(text: str) -> str:
    """Put text into single quotes, which all three shells read the same way but for the quote."""
    return "'" + text.replace("'", "'\\''") + "'"


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)
