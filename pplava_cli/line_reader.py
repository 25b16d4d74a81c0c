"""Where the lines of a chat come from: an editor on a terminal, plain lines otherwise.

On a terminal, prompt_toolkit gives line editing, a history that outlives the chat, and
completion of commands and file names. Knows nothing of what the lines mean.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pplava_cli.console import is_terminal
from pplava_core.paths import cache_directory

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.history import History


class LineReader(Protocol):
    """Asks for one line at a time."""

    def read(self, prompt: str) -> str:
        """Return the next line.

        Raises:
            EOFError: there are no more (Ctrl-D).
            KeyboardInterrupt: the line was thrown away (Ctrl-C).
        """


class PlainReader:
    """Reads lines from a pipe or file; shows no prompt."""

    def read(self, prompt: str) -> str:
        """Return the next line; see `LineReader.read`."""
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line


class TerminalReader:
    """Reads lines from a person."""

    def __init__(self, commands: Mapping[str, bool]) -> None:
        """Prepare the editor.

        Args:
            commands: the words to complete, and whether a file name follows each.
        """
        from prompt_toolkit import PromptSession
        from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
        from prompt_toolkit.output import create_output

        self._session: PromptSession[str] = PromptSession(
            history=_history(cache_directory() / "chat_history"),
            auto_suggest=AutoSuggestFromHistory(),
            completer=_completer(commands),
            complete_while_typing=False,
            # stdout is kept for answers, so that a chat can be recorded with > or tee
            output=create_output(stdout=sys.stderr),
        )

    def read(self, prompt: str) -> str:
        """Return the next line; see `LineReader.read`."""
        return self._session.prompt(prompt)


def open_line_reader(commands: Mapping[str, bool]) -> LineReader:
    """Choose the reader that suits where the lines come from."""
    if is_terminal(sys.stdin) and is_terminal(sys.stderr):
        return TerminalReader(commands)
    return PlainReader()


def _history(path: Path) -> History:
    """Keep the history in a file that only its owner can read, or in memory if that fails."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


def _completer(commands: Mapping[str, bool]) -> Completer:
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
    from prompt_toolkit.document import Document

    paths = PathCompleter(expanduser=True)

    class ChatCompleter(Completer):
        """Completes a slash command, and the file name after those that take one."""

        def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
            before = document.text_before_cursor
            command, space, name = before.partition(" ")
            if not space:
                for word in commands:
                    if before and word.startswith(before):
                        yield Completion(word, start_position=-len(before))
            elif commands.get(command):
                yield from paths.get_completions(Document(name, len(name)), event)

    return ChatCompleter()
