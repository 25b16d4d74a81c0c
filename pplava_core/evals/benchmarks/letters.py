"""Reading a chosen option out of an answer, by the rules of those who score benchmarks.

Every rule is kept with its oddities, since a published number depends on them: `first_capital`
is Video-MME's and LongVideoBench's, `credited_options` MVBench's, and `ranked_letter`,
`last_named` , `first_named` and `lone_letter` are lmms-eval's. `stated_option` is our own, for
benchmarks whose authors published none. Knows answers and options, no benchmark and no score.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

LETTERS = "ABCDEFGH"

VIDEOMME_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    # two commas are missing in the published script, so that these are one string each
    "The best option isThe correct option is",
    "Best answer:Best option:",
    "Answer:",
    "Option:",
    "The correct answer",
    "The correct option",
)
"Video-MME's script (`extract_characters_regex`), in its order."

LONGVIDEOBENCH_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option is",
    "The correct option is",
    "Best answer:",
    "Best option:",
)
"LongVideoBench's parser, as lmms-eval has it from its author."

_RANKS = {"start": 10, "end": 9, "phrase": 7, "()": 6, ".": 5, ":": 4, ")": 3, " ": 2, "any": 0}
_PHRASES = (
    *("the answer is", "answer is", "the correct answer is", "correct answer is"),
    *("the best answer is", "best answer is", "the correct option is", "correct option is"),
    *("the best option is", "best option is", "the choice is", "choice is"),
    *("the correct choice is", "correct choice is", "i choose", "i select", "i pick"),
    *(
        "my answer is",
        "my choice is",
        "옵션",
        "정답은",
        "답은",
        "답:",
        "答案是",
        "答案为",
        "选",
        "答えは",
    ),
)
_ANNOUNCED = re.compile(
    r"(?i:answer|option|choice)(?i:\s+is)?\s*:?\s*\W{0,2}([A-Z]\b(?!')|[a-z](?=[).]|\W*$))"
)
'A letter after such a word; a small one has to be set off, since "a" is an article.'
_SENTENCE_MARKS = ",.!?;:'"
_MANY_WORDS = 5
_LONE_MARKS = ';/[]"{}()=+\\_-><@`,?!'


def letter(index: int) -> str:
    """Return the letter of an option, counted from 0."""
    return LETTERS[index]


def first_capital(text: str, prefixes: Sequence[str], letters: str) -> int | None:
    """Return the first of the capital letters anywhere in the text, once phrases are deleted.

    So "Answer is B" is A and "Berries" is B, as the benchmarks' own scripts have it.

    Args:
        text: the answer.
        prefixes: phrases that are deleted, each wherever it stands, in this order.
        letters: capitals that count, ``"ABCD"``.
    """
    text = text.strip()
    for prefix in prefixes:
        text = text.replace(prefix, "")
    found = re.search(f"[{letters}]", text)
    return LETTERS.index(found[0]) if found else None


def credited_options(prediction: str, count: int) -> tuple[int, ...]:
    """Return every option that MVBench's own check would call right for this prediction.

    It compares first words only, by substring and in either direction, so that an empty
    answer, ``(`` or ``.`` is right whatever the right option is.

    Args:
        prediction: the answer including the ``(`` that it was begun with.
        count: how many options there are.
    """
    first = prediction.lower().split(" ")[0]
    bare = first.replace(".", "")
    names = [f"({LETTERS[index].lower()})" for index in range(count)]
    return tuple(index for index, name in enumerate(names) if bare in name or name in first)


def lone_letter(text: str) -> int | None:
    """Return the first letter A to E that stands alone once marks are dropped.

    lmms-eval's rule for MVBench: marks that touch a blank anywhere in the text, or all of them
    where digits have a comma between them, vanish; others become blanks.
    """
    listed = re.match(r"^([A-E])\.\s*(.+)$", text.strip(), re.IGNORECASE)
    if listed:
        return LETTERS.index(listed[1].upper())
    text = text.replace("\n", " ").replace("\t", " ").strip()
    has_large_number = re.search(r"\d,\d", text) is not None
    cleaned = text
    for mark in _LONE_MARKS:
        vanishes = has_large_number or f"{mark} " in text or f" {mark}" in text
        cleaned = cleaned.replace(mark, "" if vanishes else " ")
    # at most 32 dots: the flag for Unicode is passed where the number of changes belongs
    cleaned = re.sub(r"\.(?!\d)", "", cleaned, count=int(re.UNICODE))
    found = re.search(r"\b([A-E])\b", cleaned.lower(), re.IGNORECASE)
    return LETTERS.index(found[1].upper()) if found else None


def ranked_letter(text: str, letters: str) -> int | None:
    """Return the capital in the form that ranks highest; of one form, the last in the text.

    lmms-eval's extractor for Video-MME. Forms by rank: the text starts with it, ends with it,
    it follows a phrase such as "the answer is", ``(A)``, ``A.``, ``A:``, ``A)``, a blank after
    it, and, only where nothing else is found, anywhere.
    """
    text = text.strip()
    if not text:
        return None
    for mark in (*_SENTENCE_MARKS, '"'):
        text = text.strip(mark)
    text = f" {text} "
    found = [*_marked(text, letters), *_after_phrases(text, letters), *_at_ends(text, letters)]
    if not found:
        found = [(_RANKS["any"], text.rfind(one), one) for one in letters if one in text]
    best = max(found, key=lambda candidate: candidate[:2], default=None)
    return LETTERS.index(best[2]) if best else None


def last_named(text: str, options: Sequence[str]) -> int | None:
    """Return the option named last: ``(A)``, else ``A`` and a blank, else ``A.``, else its words.

    lmms-eval's parser for NExT-QA, taken from MMMU's. A blank needs to stand only after the
    letter for it to be named, but before it too for its place to count; of options without a
    place the first is taken. Words count only in answers of more than five.
    """
    text = _padded(text)
    letters = LETTERS[: len(options)]
    for form, place in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        named = [index for index, one in enumerate(letters) if form.format(one) in text]
        if named:
            return max(named, key=lambda index: text.rfind(place.format(letters[index])))
    return _by_words(text, options, max)


def first_named(text: str, options: Sequence[str]) -> int | None:
    """Return the option named first: ``(A)``, ``A`` and a blank or ``A.``, else its words.

    lmms-eval's parser for EgoSchema. Of each option the last place counts, and the first of
    these wins. Words count only in answers of more than five.

    Args:
        text: the answer.
        options: their words as they were shown, letters included.
    """
    text = _padded(text)
    letters = LETTERS[: len(options)]
    places = [
        (text.rfind(form.format(one)), index)
        for form in ("({})", "{} ", "{}.")
        for index, one in enumerate(letters)
        if form.format(one) in text
    ]
    if places:
        return min(places, key=lambda found: found[0])[1]
    return _by_words(text, options, min)


def stated_option(text: str, options: Sequence[str]) -> int | None:
    """Return the one option that the answer states, or None if it states none or several.

    Our own rule, for benchmarks without a published one: the answer is a letter, begins with
    one that is set off (``B)``, ``(b) a dog``, ``B. a dog``), says "answer is B" or "option B",
    or consists of one option's words.
    """
    text = text.strip()
    count = len(options)
    words = text.strip(" .\"'").casefold()
    spelled = {index for index, one in enumerate(options) if one.strip(" .").casefold() == words}
    if len(spelled) == 1:
        return spelled.pop()
    beginning = re.match(r"\W*([A-Za-z])(?:[).:\]]|\W*$|\s*\n)", text)
    found = [beginning[1]] if beginning else []
    found += _ANNOUNCED.findall(text)
    found += re.findall(r"\(([A-Za-z])\)", text)
    stated = {LETTERS.find(one.upper()) for one in found}
    return stated.pop() if len(stated) == 1 and 0 <= min(stated) < count else None


def _marked(text: str, letters: str) -> list[tuple[int, int, str]]:
    forms = {"()": "({})", ".": "{}.", ":": "{}:", ")": "{})", " ": "{} "}
    return [
        (_RANKS[name], text.rfind(form.format(one)), one)
        for name, form in forms.items()
        for one in letters
        if form.format(one) in text
    ]


def _after_phrases(text: str, letters: str) -> list[tuple[int, int, str]]:
    lowered, found = text.lower(), []
    for phrase in _PHRASES:
        start = lowered.find(phrase)
        if start >= 0:
            places = [(text.find(one, start + len(phrase)), one) for one in letters]
            found += [(_RANKS["phrase"], place, one) for place, one in places if place >= 0]
    return found


def _at_ends(text: str, letters: str) -> list[tuple[int, int, str]]:
    bare, found = text.strip(), []
    if bare[:1] and bare[0] in letters and not bare[1:2].isalpha():
        found.append((_RANKS["start"], 0, bare[0]))
    if bare[-1:] and bare[-1] in letters and not bare[-2:-1].isalpha():
        found.append((_RANKS["end"], len(text), bare[-1]))
    return found


def _padded(text: str) -> str:
    for mark in _SENTENCE_MARKS:
        text = text.strip(mark)
    return f" {text} "


def _by_words(
    text: str, options: Sequence[str], choose: Callable[..., tuple[int, int]]
) -> int | None:
    if len(text.split()) <= _MANY_WORDS:
        return None
    lowered = text.lower()
    places = [
        (lowered.rfind(words.lower()), index)
        for index, words in enumerate(options)
        if words.lower() in lowered
    ]
    return choose(places, key=lambda found: found[0])[1] if places else None
