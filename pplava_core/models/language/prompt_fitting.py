"""A question with all that is said around it, cut to the room that a model's context leaves.

Knows how many visual tokens there are, and nothing of what they show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pplava_core.errors import UsageError
from pplava_core.types import InputKind, VisualTokens

if TYPE_CHECKING:
    from pplava_core.models.videolm import VideoLM

_TURNS_LEFT_OUT = (
    "earlier turns no longer fit {name}'s context: the oldest are left out; "
    "--tokens or fewer frames leave more room"
)
_SYSTEM_LEFT_OUT = (
    "the instructions before the question do not fit {name}'s context and are left out; "
    "--tokens or fewer frames leave more room"
)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One question of a conversation and the answer it got."""

    question: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One question, and all that is said around it."""

    question: str
    guide: str | None = None
    "Text that decides the pooling; None is the question."
    history: tuple[Turn, ...] = ()
    "Earlier turns, the oldest first."
    system: str | None = None
    "Instructions before all else; None is the model's own habit."
    answer_prefix: str = ""
    "The answer's first words, given to the model and no part of what it wrote."


def fitted_prompt_ids(
    model: VideoLM, asked: Ask, visual: VisualTokens, *, kind: InputKind, max_new_tokens: int
) -> tuple[list[int], tuple[str, ...]]:
    """Return a prompt with as much around the question as there is room for.

    Earlier turns are left out first, the oldest before the others, then the instructions.
    The question is never cut.

    Args:
        model: who will answer.
        asked: the question, and what is said around it.
        visual: the tokens that will stand in the prompt.
        kind: what they show; see `words.Words.prompt_ids`.
        max_new_tokens: room that the answer needs.

    Returns:
        The ids of `VideoLM.prompt_ids`, and what was left out, in words.

    Raises:
        UsageError: not even the question alone fits.
    """
    turns, system = [(turn.question, turn.answer) for turn in asked.history], asked.system
    count, blocks = visual.tokens.shape[1], len(visual.block_sizes)
    room = model.context_length - count + blocks - max_new_tokens
    while True:
        ids = model.prompt_ids(
            asked.question,
            turns,
            kind=kind,
            blocks=blocks,
            system=system,
            answer_prefix=asked.answer_prefix,
        )
        if len(ids) <= room:
            break
        if turns:
            turns = turns[1:]
        elif system != "":
            system = ""
        else:
            listed = f", {visual.listed} of a list" if visual.listed else ""
            raise UsageError(
                f"{count - visual.listed} visual tokens{listed}, {len(ids)} of the question and "
                f"{max_new_tokens} of the answer do not fit {model.name}'s "
                f"{model.context_length} positions; use --tokens, fewer frames or a lower "
                "--max-new-tokens"
            )
    left_out = [_TURNS_LEFT_OUT] if len(turns) < len(asked.history) else []
    left_out += [_SYSTEM_LEFT_OUT] if system != asked.system else []
    return ids, tuple(text.format(name=model.name) for text in left_out)
