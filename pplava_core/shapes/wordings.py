"""How questions are worded, and what people write around them. Knows no scene.

Every type has wordings that training uses and paraphrases that only test sets use, so that
what is measured is not the memory of a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WORDINGS: dict[str, tuple[str, ...]] = {
    "count": (
        "how many objects are there?",
        "how many objects?",
        "how many shapes are there in total?",
        "how many things can you see?",
        "count the objects.",
        "how many different objects appear in the video?",
    ),
    "count_colour": (
        "how many {0} objects are there?",
        "how many {0} shapes can you see?",
        "how many objects are {0}?",
        "count the {0} things.",
        "how many {0} ones are there?",
    ),
    "count_kind": (
        "how many {0}s are there?",
        "how many {0}s can you see?",
        "count the {0}s.",
        "what is the number of {0}s?",
    ),
    "colour": (
        "what colour is {0}?",
        "what color is {0}?",
        "which colour does {0} have?",
        "tell me the colour of {0}.",
    ),
    "kind": (
        "what shape is {0}?",
        "what kind of shape is {0}?",
        "which shape does {0} have?",
        "what is {0}?",
    ),
    "position": (
        "where is {0}?",
        "in which part of the picture is {0}?",
        "where can {0} be found?",
        "where do you see {0}?",
    ),
    "presence": (
        "is there a {0}?",
        "is there a {0} in the video?",
        "can you see a {0}?",
        "does a {0} appear?",
        "do you see any {0}?",
    ),
    "motion": (
        "which way does {0} move?",
        "in which direction does {0} go?",
        "where is {0} moving?",
        "how does {0} move?",
    ),
    "order": (
        "which appears first, {0} or {1}?",
        "what comes first, {0} or {1}?",
        "which is seen first, {0} or {1}?",
    ),
    "event": (
        "does {0} vanish before the end?",
        "does {0} disappear?",
        "is {0} gone at the end?",
    ),
    "smile": (
        "which one is smiling?",
        "which object is smiling?",
        "what has a smile on it?",
        "who looks happy?",
    ),
    "frown": (
        "which one is frowning?",
        "which object looks sad?",
        "what has a frown on it?",
        "who looks sad?",
    ),
    "digit": (
        "what digit is on {0}?",
        "which number is written on {0}?",
        "read the digit on {0}.",
    ),
    "letter": (
        "what letter is on {0}?",
        "which letter is written on {0}?",
        "read the letter on {0}.",
    ),
    "left": ("is {0} to the left of {1}?", "is {0} on the left of {1}?"),
    "right": ("is {0} to the right of {1}?", "is {0} on the right of {1}?"),
    "above": ("is {0} above {1}?", "is {0} higher up than {1}?"),
    "below": ("is {0} below {1}?", "is {0} lower down than {1}?"),
    "side": ("on which side of {1} is {0}?", "where is {0}, seen from {1}?"),
    "larger": (
        "which is larger, {0} or {1}?",
        "which one is bigger, {0} or {1}?",
        "what is larger, {0} or {1}?",
    ),
    "faster": (
        "which is faster, {0} or {1}?",
        "which one moves faster, {0} or {1}?",
        "what moves faster, {0} or {1}?",
    ),
    "before": (
        "does {0} appear before {1}?",
        "does {0} come before {1}?",
        "is {0} seen before {1}?",
    ),
    "blink": (
        "how many times does {0} blink?",
        "how often does {0} blink?",
        "count how many times {0} blinks.",
    ),
    "appears": (
        "when does {0} appear?",
        "at what time does {0} appear?",
        "when is {0} first seen?",
    ),
    "vanishes": (
        "when does {0} vanish?",
        "at what time does {0} disappear?",
        "when is {0} last seen?",
    ),
    "duration": (
        "for how long is {0} visible?",
        "how long can {0} be seen?",
        "how many seconds is {0} in the video?",
    ),
    "caption_short": (
        "describe the video briefly.",
        "describe the video in a few words.",
        "what is in the video?",
    ),
    "caption_normal": (
        "describe the video.",
        "what happens in the video?",
        "describe what you see.",
    ),
    "caption_long": (
        "describe the video in detail.",
        "give a long description of the video.",
        "describe everything that happens in the video.",
    ),
}

PARAPHRASES: dict[str, tuple[str, ...]] = {
    "count": ("what is the number of objects in the video?", "how many things appear in total?"),
    "count_colour": ("what is the number of {0} objects?", "how many of the shapes are {0}?"),
    "count_kind": ("how many {0}s appear in the video?", "how many {0}s do you see?"),
    "colour": ("which colour is {0}?", "do you see what colour {0} has?"),
    "kind": ("tell me the shape of {0}.", "what kind of object is {0}?"),
    "position": ("in which part of the video can {0} be seen?", "tell me where {0} is."),
    "presence": ("does the video have a {0} in it?", "can a {0} be found in the picture?"),
    "motion": ("what is the direction in which {0} moves?", "which way is {0} going?"),
    "order": ("which one do you see first, {0} or {1}?", "is {0} or {1} the first to appear?"),
    "event": ("does {0} go before the video is over?", "is {0} no longer there at the end?"),
    "smile": ("which shape has a happy face?", "tell me which one smiles."),
    "frown": ("which shape has a sad face?", "tell me which one frowns."),
    "digit": ("what number do you see on {0}?", "tell me the digit on {0}."),
    "letter": ("what letter do you see on {0}?", "tell me the letter on {0}."),
    "left": ("can {0} be found left of {1}?",),
    "right": ("can {0} be found right of {1}?",),
    "above": ("can {0} be found above {1}?",),
    "below": ("can {0} be found below {1}?",),
    "side": ("which side of {1} is {0} on?",),
    "larger": ("of {0} and {1}, which is bigger?", "which has the larger size, {0} or {1}?"),
    "faster": ("of {0} and {1}, which moves faster?", "which goes faster, {0} or {1}?"),
    "before": ("do you see {0} before {1}?", "is {0} there before {1} appears?"),
    "blink": ("tell me how often {0} blinks.", "what is the number of times {0} blinks?"),
    "appears": ("tell me when {0} appears.", "at what time do you first see {0}?"),
    "vanishes": ("tell me when {0} vanishes.", "at what time do you last see {0}?"),
    "duration": ("how many seconds can {0} be seen?", "tell me how long {0} is visible."),
    "caption_short": ("in a few words, what do you see?",),
    "caption_normal": ("tell me what happens.",),
    "caption_long": ("tell me everything that you see in detail.",),
}

CHOICE_FORMS = (
    "{0} {1}",
    "{0} options: {1} only give the best option.",
    "{0} {1} answer with the option's letter from the given choices directly.",
    "select the best answer to the following question about the video. {0} {1}",
)
"How benchmarks ask with options."

_LEAD_INS = (
    "please answer: ",
    "look closely at the video. ",
    "i have a question about this clip: ",
    "watch the whole video carefully, then tell me, ",
)
_PREAMBLES = (
    "you are an assistant that answers questions about short videos.",
    "the video was made by a computer and shows a few simple shapes on a grey background.",
    "watch it from the first moment to the last before you say anything.",
    "some of the shapes move, others stay where they are all the time.",
    "ignore the lines and the texture of the background, which are only there to distract.",
    "the camera may shake a little and the light may change, but that does not matter here.",
    "earlier somebody asked about {0}, but that is not what i want to know.",
    "my friend says that {0} is nice to look at; please forget about it.",
    "keep the answer short and do not explain how you found it.",
    "if you are not sure, look at the video once more and take your time.",
    "i have shown the same clip to many people and most of them were wrong.",
    "do not guess: everything that is needed can be seen in the video.",
    "there may be things that come late or that go away early.",
    "the answer is a word or a number, so there is no need for a sentence.",
    "now here is what i really want to know.",
    "all of this was only an introduction, and the question comes at the very end.",
)
_NEW_PREAMBLES = (
    "this is one of a long list of clips that i have to look at today.",
    "you have seen many videos before, and this one is no different from them.",
    "somebody told me about {0}, but i do not want to hear about that.",
    "please look at every part of the picture and at every moment of the clip.",
    "take note of what is there, and of what is not there at all.",
    "the question is simple, though it took me a long time to come to it.",
)


def worded(name: str, rng: np.random.Generator, *parts: str, paraphrased: bool = False) -> str:
    """Put a question into words.

    Args:
        name: a key of `WORDINGS`.
        rng: chooses among the wordings.
        parts: what stands in its gaps.
        paraphrased: use wordings that training never used.
    """
    options = (PARAPHRASES if paraphrased else WORDINGS)[name]
    text = options[int(rng.integers(len(options)))].format(*parts)
    return text.replace(" a orange", " an orange")


def with_lead_in(question: str, rng: np.random.Generator) -> str:
    """Put a polite phrase before a question, as people do."""
    return _LEAD_INS[int(rng.integers(len(_LEAD_INS)))] + question


def long_prompt(
    question: str,
    rng: np.random.Generator,
    *,
    distractors: Sequence[str],
    sentences: int = 7,
    new: bool = False,
) -> str:
    """Put so much before a question that CLIP's 77 positions end before it begins.

    Args:
        question: comes last.
        rng: chooses the sentences.
        distractors: things that some sentences speak of, to no purpose.
        sentences: how many; seven are about 100 words.
        new: begin with sentences that training never used.
    """
    old = [_PREAMBLES[i] for i in rng.permutation(len(_PREAMBLES))]
    unseen = [_NEW_PREAMBLES[i] for i in rng.permutation(len(_NEW_PREAMBLES))] if new else []
    chosen = [*unseen[:3], *old][:sentences]
    said = [text.format(distractors[int(rng.integers(len(distractors)))]) for text in chosen]
    return f"{' '.join(said)} {question}"
