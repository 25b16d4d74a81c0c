"""Where a question's tokens speak of things, compare two of them, or offer options.

Also from where a model that answers must look at which things, or back at which words. Places are
numbers of tokens in the prompt that follows the visual tokens, and on into the answer.
Knows ids; no scenes and no weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from pplava_core.models.language.tokenizer import NanoWords
from pplava_core.shapes.prompts import OPTION_LETTERS
from pplava_core.shapes.questions import Question

_PAIRED = ("relation", "larger", "faster", "order", "before")
"Types about two things."
_CHOSEN = ("larger", "faster", "order")
"Those of them whose answer names one of the two, the first of the targets."


@dataclass(kw_only=True)
class Notes:
    """What is known of the tokens at some places."""

    mentions: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    "Where words end that speak of things, or options or an answer begin; the things' numbers."
    options: list[tuple[int, str, bool]] = field(default_factory=list)
    "Where each option ends, its letter, and whether it is the right one."
    pairs: list[tuple[int, tuple[int, int]]] = field(default_factory=list)
    "Where two things are compared, and which, in the order in which they are spoken of."
    looks: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    "From where things are to be looked at: words that spoke of them, or are about to."
    copies: list[tuple[int, int]] = field(default_factory=list)
    "Where a token is foretold that the question tells, and where it does."
    told: list[tuple[int, int]] = field(default_factory=list)
    "Where a description has just named a thing, or is about to or at it, and the thing's number."

    def add(self, other: Notes, offset: int) -> None:
        """Add notes whose places begin at another one."""
        self.mentions += [(offset + place, things) for place, things in other.mentions]
        self.options += [(offset + place, letter, right) for place, letter, right in other.options]
        self.pairs += [(offset + place, things) for place, things in other.pairs]
        self.looks += [(offset + place, things) for place, things in other.looks]
        self.copies += [(offset + place, offset + source) for place, source in other.copies]
        self.told += [(offset + place, thing) for place, thing in other.told]


def notes_of(question: Question, words: NanoWords, answer_at: int) -> Notes:
    """Return the notes of one question, whose answer begins at a place."""
    told = question.type == "caption"
    ends = list(_told_ends(question, words, answer_at) if told else _spoken_ends(question, words))
    said = [(end, one.things) for end, one in zip(ends, question.mentions, strict=True)]
    notes = Notes(mentions=list(said), options=[*_options(question, words)])
    notes.looks += [(end, things) for end, things in said if things]
    notes.copies += _copies(question, words, answer_at)
    if told:
        # What a description names next must be looked at, and known, before each of its words is
        # said: a model that knows of a green star may still go on from "green" to another's kind.
        coming = [
            (end - words_left, mention.things)
            for end, mention in zip(ends, question.mentions, strict=True)
            for words_left in range(_length(mention.words, words), 0, -1)
        ]
        notes.looks += coming
        notes.mentions += coming
        notes.told += [(place, thing) for place, things in (*said, *coming) for thing in things]
    if question.options:
        asked = question.text[: question.text.rindex(question.options[0])].rstrip()
        notes.mentions.append((_token_at(asked, len(asked), words), question.targets))
    # The first token of an answer is foretold by the one before it, which must know the answer.
    knows = answer_at - 1
    if question.type not in _PAIRED:
        notes.mentions.append((knows, question.targets))
        return notes
    (_, (one,)), (_, (other,)) = sorted(said)
    notes.pairs.append((knows, (one, other)))
    if question.type in _CHOSEN:
        notes.mentions.append((knows, question.targets[:1]))
    return notes


def _spoken_ends(question: Question, words: NanoWords) -> Iterable[int]:
    """Yield where in the question each mention ends; the question comes last in its text."""
    for mention in question.mentions:
        *_, last = re.finditer(rf"\b{re.escape(mention.words)}", question.text)
        yield _token_at(question.text, last.end(), words)


def _told_ends(question: Question, words: NanoWords, answer_at: int) -> Iterable[int]:
    """Yield where in the answer each mention ends."""
    end = 0
    for mention in question.mentions:
        end = question.answer.index(mention.words, end) + len(mention.words)
        yield answer_at + _length(question.answer[:end], words) - 1


def _options(question: Question, words: NanoWords) -> Iterable[tuple[int, str, bool]]:
    for letter, option in zip(OPTION_LETTERS, question.options, strict=False):
        end = question.text.rindex(option) + len(option)
        yield _token_at(question.text, end, words), letter, letter == question.answer


def _copies(question: Question, words: NanoWords, answer_at: int) -> Iterable[tuple[int, int]]:
    """Yield where each token of an answer that names something of the question is foretold, and
    where that stands: the words for the one of two things, or the end of the right option, which
    alone knows what is offered there and under which letter."""
    if question.type in _CHOSEN:
        (named,) = (one for one in question.mentions if one.things == question.targets[:1])
        *_, last = re.finditer(rf"\b{re.escape(named.words)}", question.text)
        length = _length(named.words, words)
        first = _token_at(question.text, last.end(), words) - length + 1
        yield from ((answer_at - 1 + number, first + number) for number in range(length))
    yield from ((answer_at - 1, end) for end, _, right in _options(question, words) if right)


def _length(text: str, words: NanoWords) -> int:
    """Return of how many tokens some words are."""
    return len(words.tokenizer.encode(text, add_special_tokens=False).ids)


def _token_at(text: str, end: int, words: NanoWords) -> int:
    """Return the number, in a prompt after its head, of the token that ends a text's beginning."""
    # The sign that a person speaks has the number 0, the one that an answer is due comes last.
    return len(words.prompt_ids(text[:end])) - len(words.prompt_ids(""))
