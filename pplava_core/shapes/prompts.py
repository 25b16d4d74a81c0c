"""What people write around a question: a polite phrase, options, a hundred words.

Knows no scene.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CHOICE_FORMS = (
    "{0} {1}",
    "{0} options: {1} only give the best option.",
    "{0} {1} answer with the option's letter from the given choices directly.",
    "select the best answer to the following question about the video. {0} {1}",
)
"How benchmarks ask with options."
OPTION_LETTERS = "ABCD"
_MANY_WORDS = 85
"No token is longer than a word, and CLIP reads 77 of them."
_LEAD_INS = (
    "please answer: ",
    "look closely at the video. ",
    "i have a question about this clip: ",
    "watch the whole video carefully, then tell me, ",
    "hello! ",
    "question: ",
    "quick question: ",
    "here is a video. ",
    "based on the video, ",
    "in this clip, ",
    "from what you see: ",
    "one more thing: ",
    "ok, now ",
    "so, ",
)
_TAILS = (
    " answer in one word.",
    " be brief.",
    " thanks!",
    " please answer in a few words.",
    " just give the answer.",
    " answer with a single word or phrase.",
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
    "yesterday we talked about {0} for an hour, which is not the point today.",
    "i do not care about {0} at all.",
    "a child would look at {0} first, but you should not.",
    "what is said about {0} has nothing to do with the question.",
    "this recording comes from a large collection of similar recordings.",
    "every recording in the collection is only a few seconds long.",
    "there is no sound, so you have to rely on the pictures alone.",
    "the quality may be poor because the file was made small.",
    "first think about what is in the picture, then about when it is there.",
    "people often forget to look at the corners of the picture.",
    "write nothing but the answer itself.",
    "we will compare your answer with the one that an expert gave.",
    "the test has several parts and this is one of the easier ones.",
    "shapes can hide each other for a short while when their ways cross.",
    "it is not important who made the film or why.",
    "read all of this before you begin, even if it seems too long.",
)
_NEW_PREAMBLES = (
    "this is one of a long list of clips that i have to look at today.",
    "you have seen many videos before, and this one is no different from them.",
    "somebody told me about {0}, but i do not want to hear about that.",
    "please look at every part of the picture and at every moment of the clip.",
    "take note of what is there, and of what is not there at all.",
    "the question is simple, though it took me a long time to come to it.",
)


def with_lead_in(question: str, rng: np.random.Generator) -> str:
    """Put a phrase before a question or after it, as people do."""
    number = int(rng.integers(len(_LEAD_INS) + len(_TAILS)))
    if number < len(_LEAD_INS):
        return _LEAD_INS[number] + question
    return question + _TAILS[number - len(_LEAD_INS)]


def long_prompt(
    question: str,
    rng: np.random.Generator,
    *,
    distractors: Sequence[str],
    sentences: int | None = None,
    new: bool = False,
) -> str:
    """Put so much before a question that CLIP's 77 positions end before it begins.

    Args:
        question: comes last.
        rng: chooses the sentences.
        distractors: things that some sentences speak of, to no purpose.
        sentences: how many; None is as many as it takes to be too long for CLIP.
        new: begin with sentences that training never used.
    """
    old = [_PREAMBLES[i] for i in rng.permutation(len(_PREAMBLES))]
    unseen = [_NEW_PREAMBLES[i] for i in rng.permutation(len(_NEW_PREAMBLES))] if new else []
    chosen = [*unseen[:3], *old]
    if sentences is None:
        words = np.cumsum([len(text.split()) for text in chosen])
        sentences = int((words < _MANY_WORDS).sum()) + 1
    chosen = chosen[:sentences]
    said = [text.format(distractors[int(rng.integers(len(distractors)))]) for text in chosen]
    return f"{' '.join(said)} {question}"
