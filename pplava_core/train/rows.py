"""Packs as rows of token ids, and which token of a row may see which.

A row begins with the place of the visual tokens, which everything sees; after it come the
questions with their answers, each for itself or, in a conversation, one after the other.
Knows ids; no pixels and no weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pplava_core.models.language.tokenizer import NanoWords
from pplava_core.models.language.words import VISUAL_ID
from pplava_core.shapes.questions import Question
from pplava_core.train.packs import Pack

OPTION_LETTERS = "ABCD"
LENGTH_STEP = 32
"""Lengths are filled up to multiples of this: matrix products of a size that was met before need
no preparing, which takes a third of a step otherwise."""
_UNSEEN = -1e9
_PAIRED = ("relation", "larger", "faster", "order", "before")
"Types about two things."
_CHOSEN = ("larger", "faster", "order")
"Those of them whose answer names one of the two, the first of the targets."


@dataclass(frozen=True, kw_only=True)
class Row:
    """One pack as a row of token ids."""

    ids: list[int]
    parts: list[int]
    "For each id which question it belongs to, 0 is what all see."
    labels: list[int]
    "Ids of the answers' tokens."
    weights: list[float]
    "How much each of them counts: a long answer more than a short one, but not by its length."
    places: list[int]
    "Where each of them is foretold."
    mentions: list[tuple[int, tuple[int, ...]]]
    "Where words end that speak of things, and the numbers of the things."
    options: list[tuple[int, str, bool]]
    "Where each option ends, its letter, and whether it is the right one."
    pairs: list[tuple[int, tuple[int, int]]]
    "Where two things are compared, and which, in the order in which they are spoken of."


def row_of(pack: Pack, words: NanoWords) -> Row:
    """Write a pack's questions and answers one after the other."""
    head = [words.start_id, VISUAL_ID]
    ids, parts = list(head), [0] * len(head)
    labels: list[int] = []
    weights: list[float] = []
    places: list[int] = []
    mentions: list[tuple[int, tuple[int, ...]]] = []
    options: list[tuple[int, str, bool]] = []
    pairs: list[tuple[int, tuple[int, int]]] = []
    for number, question in enumerate(pack.questions):
        asked = words.prompt_ids(question.text)[len(head) :]
        answer = [*words.tokenizer.encode(question.answer, add_special_tokens=False).ids]
        answer.append(words.end_id)
        if number >= pack.untaught:
            labels += answer
            weights += [len(answer) ** -0.5] * len(answer)
            first = len(ids) + len(asked) - 1
            places += range(first, first + len(answer))
            if question.type == "caption":
                said = _told(question, words)
                mentions += [(len(ids) + len(asked) + place, things) for place, things in said]
            else:
                said = _mentions(question, words)
                mentions += [(len(ids) + place, things) for place, things in said]
            options += [
                (len(ids) + place, letter, right)
                for place, letter, right in _options(question, words)
            ]
            # Whatever is asked for must be known where the answer begins.
            if question.type in _PAIRED:
                pairs += [(first, (one[0], other[0])) for (_, one), (_, other) in [sorted(said)]]
            if question.type in _CHOSEN:
                mentions.append((first, question.targets[:1]))
            elif question.type not in _PAIRED:
                mentions.append((first, question.targets))
        ids += [*asked, *answer]
        parts += [1 if pack.talk else number + 1] * (len(asked) + len(answer))
    return Row(
        ids=ids,
        parts=parts,
        labels=labels,
        weights=weights,
        places=places,
        mentions=mentions,
        options=options,
        pairs=pairs,
    )


def _mentions(question: Question, words: NanoWords) -> list[tuple[int, tuple[int, ...]]]:
    """Return the number of the token that ends each mention, and the things it speaks of."""
    found = []
    for mention in question.mentions:
        # The question comes last, whatever is said before it.
        spoken = [*re.finditer(rf"\b{re.escape(mention.words)}", question.text)]
        if spoken:
            found.append((_token_at(question.text, spoken[-1].end(), words), mention.things))
    return found


def _told(question: Question, words: NanoWords) -> list[tuple[int, tuple[int, ...]]]:
    """Return the number of the answer's token that ends each mention, and its things."""
    found, end = [], 0
    for mention in question.mentions:
        end = question.answer.index(mention.words, end) + len(mention.words)
        before = words.tokenizer.encode(question.answer[:end], add_special_tokens=False).ids
        found.append((len(before) - 1, mention.things))
    return found


def _options(question: Question, words: NanoWords) -> list[tuple[int, str, bool]]:
    """Return the number of the token that ends each option, its letter, and if it is right."""
    found = []
    for letter, option in zip(OPTION_LETTERS, question.options, strict=False):
        end = question.text.rindex(option) + len(option)
        found.append((_token_at(question.text, end, words), letter, letter == question.answer))
    return found


def _token_at(text: str, end: int, words: NanoWords) -> int:
    """Return the number, in a prompt after its head, of the token that ends a text's beginning."""
    # The sign that a person speaks has the number 0, the one that an answer is due comes last.
    return len(words.prompt_ids(text[:end])) - len(words.prompt_ids(""))


def who_sees_whom(rows: Sequence[Row], before: int, length: int) -> tuple[Tensor, Tensor]:
    """Return the mask ``(P, 1, L, L)`` to add to attention, and positions ``(P, L)``.

    A token sees what all see and its own question, up to itself; each question begins at the
    position that follows the visual tokens, as if it were asked alone.
    """
    parts = torch.zeros(len(rows), length, dtype=torch.long)
    for number, row in enumerate(rows):
        known = torch.tensor(row.parts)
        parts[number, before : before + len(known)] = known
        parts[number, before + len(known) :] = -1
    common = (parts == 0)[:, None, :]
    same = parts[:, :, None] == parts[:, None, :]
    sees = (common | same) & torch.ones(length, length, dtype=torch.bool).tril()
    computed_in = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
    mask = torch.zeros(sees.shape, dtype=computed_in).masked_fill(~sees, _UNSEEN)
    places = torch.arange(length).expand_as(parts)
    new = torch.ones_like(parts, dtype=torch.bool)
    new[:, 1:] = parts[:, 1:] != parts[:, :-1]
    starts = torch.where(new, places, 0).cummax(1).values
    shared = (parts == 0).sum(1, keepdim=True)
    positions = torch.where(parts == 0, places, places - starts + shared)
    return mask[:, None], positions


def filled(states: Tensor) -> Tensor:
    """Return states ``(N, D)`` and empty ones after them, up to a multiple of `LENGTH_STEP`."""
    return functional.pad(states, (0, 0, 0, -len(states) % LENGTH_STEP))
