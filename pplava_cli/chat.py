"""`pplava chat`: question after question about one video, each in the light of the last."""

from __future__ import annotations

import typer

from pplava_cli import opening
from pplava_cli.console import Output
from pplava_cli.conversation import COMMANDS, Conversation, Leave, one_clip
from pplava_cli.inputs import check_videos
from pplava_cli.line_reader import LineReader, open_line_reader
from pplava_cli.options import (
    ClipOptions,
    GenerationOptions,
    ModelOptions,
    PoolingOptions,
    Videos,
    VoiceOptions,
    examples,
    takes_options,
)
from pplava_cli.wishes import wishes_from

_EXAMPLES = examples(
    "pplava chat examples/shapes.mp4",
    "pplava chat film.mp4 --from 10:00 --to 12:00",
    "printf 'how many objects?\\nwhat colour is it?\\n' | pplava chat clip.mp4",
)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("chat", epilog=_EXAMPLES)(takes_options(chat))


def chat(
    *,
    context: typer.Context,
    videos: Videos = None,
    clip: ClipOptions,
    pooling: PoolingOptions,
    generation: GenerationOptions,
    model: ModelOptions,
    output: VoiceOptions,
) -> None:
    """Talk about a video; it is read once, and earlier turns are remembered.

    /help lists what can be done besides asking. Ctrl-C stops an answer, Ctrl-D leaves.
    """
    out = output.open()
    first = one_clip(check_videos(videos or []))
    if first.error is not None:
        raise first.error
    wishes = wishes_from(context, clip, pooling, generation)
    conversation = Conversation(opening.open_model(model, out, wishes), wishes, out)
    conversation.open_video(first)
    reader = open_line_reader({name: command.takes_file for name, command in COMMANDS.items()})
    _talk(conversation, reader, out)


def _talk(conversation: Conversation, reader: LineReader, out: Output) -> None:
    """Handle lines until there are no more; what goes wrong with one ends only that one."""
    while True:
        try:
            conversation.handle(reader.read(f"{conversation.name}> "))
        except (EOFError, Leave):
            return
        except KeyboardInterrupt:
            continue
        except Exception as error:
            out.failure(error)
