"""A conversation about one clip: what the lines of a chat do.

Holds the clip that is open, the turns so far and the last answer. Reading lines and
leaving are the chat command's business.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from pplava_cli import opening
from pplava_cli.answering import (
    begin_answer,
    evidence_lines,
    show_pieces,
    tell_sampling,
)
from pplava_cli.console import Output, printable
from pplava_cli.inputs import Input, group_inputs
from pplava_cli.interrupts import first_interrupt
from pplava_cli.wishes import Wishes
from pplava_core.atomic import replacing
from pplava_core.errors import UsageError

if TYPE_CHECKING:
    from pplava_core.models.videolm import VideoLM
    from pplava_core.session import Session, Turn
    from pplava_core.types import Answer


@dataclass(frozen=True, kw_only=True)
class ChatCommand:
    """One slash command."""

    run: Callable[[Conversation, str], None]
    arguments: str
    help: str
    takes_file: bool = False


class Conversation:
    """One clip, the turns about it, and what can be done with them."""

    def __init__(self, model: VideoLM, wishes: Wishes, out: Output) -> None:
        self.model = model
        self.wishes = wishes
        self.out = out
        self.turns: list[Turn] = []
        self.last_answer: Answer | None = None
        self._transcript: list[str] = []
        self._saved: set[Path] = set()
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        """The clip that is open."""
        assert self._session is not None, "open a clip first"
        return self._session

    @property
    def name(self) -> str:
        """The clip's name, short enough for a prompt."""
        first, *others = (printable(Path(path).name) for path in self.session.source.paths)
        return f"{first} +{len(others)}" if others else first

    def handle(self, line: str) -> None:
        """Do what one line says: a slash command, or else a question.

        Raises:
            PplavaError: it cannot be done; the conversation goes on as it was.
        """
        word, _, rest = line.strip().partition(" ")
        if not word:
            return
        if not word.startswith("/"):
            self.ask(line.strip())
            return
        if word not in COMMANDS:
            close = get_close_matches(word, COMMANDS, n=1)
            raise UsageError(f"no command {word}; " + (f"{close[0]}?" if close else "try /help"))
        COMMANDS[word].run(self, rest.strip())

    def ask(self, question: str) -> None:
        """Answer a question in the light of the turns so far; Ctrl-C stops the answer only."""
        from pplava_core.session import Turn

        stream = begin_answer(
            self.session, question, self.wishes, self.out, history=tuple(self.turns)
        )
        with first_interrupt(stream.stop):
            show_pieces(stream, self.out, one_line=False)
        answer = stream.answer
        self.last_answer = answer
        self._transcript += [f"> {question}", "", answer.text, ""]
        if answer.stopped == "interrupted":
            self.out.note("stopped; this turn is not remembered")
        else:
            self.turns.append(Turn(question=question, answer=answer.text))

    def open_video(self, clip: Input) -> None:
        """Turn to another clip; what was said about the last one is forgotten.

        Raises:
            InputError: the clip cannot be read.
        """
        if clip.error is not None:
            raise clip.error
        # a range belongs to the film it was given for, so only the first clip has one
        wishes = self.wishes if self._session is None else self._with_range(None, None)
        self._open(clip.paths, wishes)
        self.reset()

    def set_range(self, words: str) -> None:
        """Look at another part of the same clip: ``START [STOP]``, nothing for all of it."""
        from pplava_core.media import parse_seconds

        times = [parse_seconds(word) for word in words.split()]
        if len(times) > 2:
            raise UsageError("/from takes a start and perhaps a stop: /from 1:30 2:00")
        start, stop = (*times, None, None)[:2]
        paths = [Path(path) for path in self.session.source.paths]
        self._open(paths, self._with_range(start, stop))

    def show_evidence(self) -> None:
        """Show the moments that weighed most in the last answer."""
        for line in evidence_lines(self._answered(), self.session.source):
            self.out.line(line)

    def draw_heatmap(self, words: str) -> None:
        """Draw where the last question points, into the file that is named."""
        from pplava_cli.heatmap import draw_heatmap

        target = _one_path(words, "/heatmap")
        answered = self._answered()
        question = answered.guide or answered.question
        drawn = draw_heatmap(self.session, [question], str(target), out=self.out)
        for file in drawn.files:
            self.out.line(printable(str(file)))

    def reset(self) -> None:
        """Forget the turns; the clip stays open."""
        self.turns.clear()
        self.last_answer = None

    def save(self, words: str) -> None:
        """Write down all that was said, as text."""
        path = _one_path(words, "/save")
        if path.exists() and path.resolve() not in self._saved:
            raise UsageError(f"{path} exists already: choose another name")
        with replacing(path) as temporary:
            temporary.write_text("\n".join(self._transcript), encoding="utf-8")
        self._saved.add(path.resolve())
        self.out.note(f"saved to {printable(str(path))}")

    def show_help(self) -> None:
        """List the commands."""
        width = max(len(f"{name} {command.arguments}") for name, command in COMMANDS.items())
        for name, command in COMMANDS.items():
            self.out.line(f"{f'{name} {command.arguments}':<{width}}  {command.help}")
        self.out.line("Ctrl-C stops an answer, Ctrl-D leaves; anything else is a question.")

    def _open(self, paths: Sequence[Path], wishes: Wishes) -> None:
        session = opening.open_session(
            paths,
            self.model,
            sampling=wishes.sampling,
            reader=wishes.reader,
            out=self.out,
            native=wishes.pooling_wishes.is_native,
        )
        tell_sampling(session, wishes.pooling, self.out)
        self._session, self.wishes = session, wishes
        self._transcript += [f"# {' '.join(session.source.paths)}", ""]

    def _with_range(self, start: float | None, stop: float | None) -> Wishes:
        sampling = replace(self.wishes.sampling, start_seconds=start, stop_seconds=stop)
        return replace(self.wishes, sampling=sampling)

    def _answered(self) -> Answer:
        if self.last_answer is None:
            raise UsageError("nothing was answered yet: ask a question first")
        return self.last_answer


class Leave(Exception):
    """Someone asked to end the chat."""


def _leave(conversation: Conversation, words: str) -> None:
    raise Leave


COMMANDS: dict[str, ChatCommand] = {
    "/help": ChatCommand(run=lambda chat, words: chat.show_help(), arguments="", help="this list"),
    "/video": ChatCommand(
        run=lambda chat, words: chat.open_video(one_clip(_paths(words, "/video"))),
        arguments="PATH",
        help="talk about another video",
        takes_file=True,
    ),
    "/from": ChatCommand(
        run=lambda chat, words: chat.set_range(words),
        arguments="TIME [TIME]",
        help="look at a part of this one; alone: at all of it",
    ),
    "/heatmap": ChatCommand(
        run=lambda chat, words: chat.draw_heatmap(words),
        arguments="FILE",
        help="draw where the last question points: .png, .mp4, .gif or a folder",
        takes_file=True,
    ),
    "/evidence": ChatCommand(
        run=lambda chat, words: chat.show_evidence(),
        arguments="",
        help="the moments that weighed most in the last answer",
    ),
    "/reset": ChatCommand(
        run=lambda chat, words: chat.reset(), arguments="", help="forget what was said"
    ),
    "/save": ChatCommand(
        run=lambda chat, words: chat.save(words),
        arguments="FILE",
        help="write down what was said",
        takes_file=True,
    ),
    "/quit": ChatCommand(run=_leave, arguments="", help="leave"),
}


def one_clip(paths: Sequence[Path]) -> Input:
    """Make sure that these files are one clip, as a conversation needs it.

    Raises:
        UsageError: they are several.
    """
    inputs = group_inputs(paths, each=False)
    if len(inputs) != 1:
        raise UsageError("a chat is about one video, or about pictures alone")
    return inputs[0]


def _paths(words: str, command: str) -> list[Path]:
    """Read file names, in quotes where they hold spaces; one that is there needs none."""
    if not words:
        raise UsageError(f"{command} needs a file name")
    whole = Path(words).expanduser()
    if whole.exists():
        return [whole]
    try:
        return [Path(word).expanduser() for word in shlex.split(words)]
    except ValueError as error:
        raise UsageError(f"{command} {words}: {error}") from None


def _one_path(words: str, command: str) -> Path:
    paths = _paths(words, command)
    if len(paths) > 1:
        raise UsageError(f"{command} takes one file; put its name in quotes if it has spaces")
    return paths[0]
