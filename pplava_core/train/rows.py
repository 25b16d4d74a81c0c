"""Packs as rows of token ids, and which token of a row may see which.

A row begins with the place of the visual tokens, which everything sees; after it come the
questions with their answers, each for itself or, in a conversation, one after the other.
Knows ids; no pixels and no weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pplava_core.models.language.tokenizer import NanoWords
from pplava_core.models.language.words import VISUAL_ID
from pplava_core.train.notes import Notes, notes_of
from pplava_core.train.packs import Pack

_UNSEEN = -1e9
_NAMING = 3.0
"""How many times the words count with which a description names a thing, and goes on from there:
one of a dozen that is wrong, and the whole description is."""


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
    notes: Notes
    "What is known of some of its tokens."


def row_of(pack: Pack, words: NanoWords) -> Row:
    """Write a pack's questions and answers one after the other."""
    head = [words.start_id, VISUAL_ID]
    ids, parts = list(head), [0] * len(head)
    labels: list[int] = []
    weights: list[float] = []
    places: list[int] = []
    notes = Notes()
    for number, question in enumerate(pack.questions):
        asked = words.prompt_ids(question.text)[len(head) :]
        answer = [*words.tokenizer.encode(question.answer, add_special_tokens=False).ids]
        answer.append(words.end_id)
        if number >= pack.untaught:
            own = notes_of(question, words, len(asked))
            telling = {place for place, _ in own.told}
            foretold = range(len(asked) - 1, len(asked) - 1 + len(answer))
            labels += answer
            each = len(answer) ** -0.5
            weights += [each * (_NAMING if place in telling else 1.0) for place in foretold]
            places += [len(ids) + place for place in foretold]
            notes.add(own, len(ids))
        ids += [*asked, *answer]
        parts += [1 if pack.talk else number + 1] * (len(asked) + len(answer))
    return Row(ids=ids, parts=parts, labels=labels, weights=weights, places=places, notes=notes)


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
