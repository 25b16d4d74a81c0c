"""Wordings that only test sets use: training never sees one of them, nor a sentence around one."""

from __future__ import annotations

PARAPHRASES: dict[str, tuple[str, ...]] = {
    "count": ("what is the number of objects in the video?", "how many things appear in total?"),
    "count_colour": ("what is the number of {0} objects?", "how many of the shapes are {0}?"),
    "count_kind": ("how many {0}s appear in the video?", "how many {0}s do you see?"),
    "colour": ("which colour is {0}?", "do you see what colour {0} has?"),
    "kind": ("tell me the shape of {0}.", "what kind of object is {0}?"),
    "position": (
        "in which part of the video can {0} be seen?",
        "tell me where in the video {0} is.",
    ),
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
