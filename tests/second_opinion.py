"""Right answers, worked out from a scene and a question's words alone."""

from __future__ import annotations

import dataclasses
import re
from functools import cache, lru_cache
from itertools import pairwise

import numpy as np

from pplava_core.shapes.drawing import draw_scene
from pplava_core.shapes.paraphrases import PARAPHRASES
from pplava_core.shapes.questions import NOTHING, TYPES
from pplava_core.shapes.scene import COLOURS, KINDS, MOTIONS
from pplava_core.shapes.wordings import WORDINGS

SHORT_TYPES = tuple(name for name in TYPES if name != "caption")
PAIR_TYPES = ("relation", "larger", "faster", "order", "before")
COLOUR, KIND = "|".join(COLOURS), "|".join(KINDS)
NAME = rf"the (?:(?:{COLOUR}) (?:{KIND}|object|shape)|{KIND})\b"
SAID = rf"(?:it|{NAME}|(?:{COLOUR}) (?:{KIND})|{COLOUR}|{KIND}|crosse)"
"Whatever stands in the gap of a wording."
CELLS = {f"{row} {column}".strip() or "centre" for row in ("top", "", "bottom")
         for column in ("left", "", "right")}  # fmt: skip
LEAD_IN = (
    r"^(?:(?:please answer|question|quick question|from what you see|one more thing"
    r"|i have a question about this clip): |(?:based on the video|in this clip|so), |ok, now "
    r"|watch the whole video carefully, then tell me, )"
)
TAIL = r"(?:please )?answer (?:in|with) |be brief\.|thanks!|just give the answer\."
COUNT = r"\b(how many|count|number)\b"
TOPICS = (
    {
        "face": r"\b(smil\w+|frown\w*|(un)?happy|sad)\b",
        "presence": rf"\b(an?|any) ({COLOUR}) ({KIND})\b",
        "count_kind": rf"{COUNT}.*\b({KIND})e?s\b",
        "count_colour": rf"{COUNT}.*\b({COLOUR})\b",
        "count": COUNT,
    },
    {
        "event": r"(^(at the end, )?(is|does|has|will)|\b(whether|if)) # "
        r"(.* )?(gone|go|goes|vanish|vanishe[sd]|leave|missing|no longer)\b",
        "blink": r"\b(blinks?|off)\b",
        "duration": r"\b(how long|how much time|for what time|time for which"
        r"|(?<!after )how many seconds)\b",
        "when": r"\b(when|what time|which second|which moment|how many seconds|time at which)\b",
        "read": r"\b(digit|number|letter)\b",
        "colour": r"\bcolou?r\b",
        "motion": r"\b(way|direction|motion|towards|mov\w+|go|goes|going|travel)\b",
        "position": r"\b(where|part|place|position)\b",
        "kind": r"\b(shape|kind|sort|form)\b|\bwhat (is )?#",
    },
    {
        "before": r"\b(before|after|earlier than|later than)\b",
        "order": r"\b(first|earlier)\b",
        "larger": r"\b(larger|bigger|big|more room|greater)\b",
        "faster": r"\b(faster|quicker|higher speed)\b",
        "relation": r"\b(left|right|above|below|higher|lower|over|under|further (up|down)"
        r"|side|where|direction from)\b",
    },
)
"""Words that tell what is asked of no named thing, of one and of two; the first that are found.

A named thing is a #.
"""
CHOICE_PREFIX = "select the best answer to the following question about the video. "
CHOICE_ENDS = (
    " only give the best option.",
    " answer with the option's letter from the given choices directly.",
)


@cache
def numbered_scene(number):
    return draw_scene(number)


@lru_cache(maxsize=4096)
def visible_moments(thing):
    return [moment for moment in np.linspace(0, 1, 401) if thing.visible(moment)]


def things_meant(scene, text):
    """Return the numbers of the things whose colour and kind the words allow."""
    words = set(re.findall(r"[a-z]+", text))
    colours, kinds = words & set(COLOURS), words & set(KINDS)
    return [
        number
        for number, thing in enumerate(scene.things)
        if (not colours or thing.colour in colours) and (not kinds or thing.kind in kinds)
    ]


def only_one_meant(scene, name):
    meant = things_meant(scene, name)
    assert len(meant) == 1, f"{name!r} means {len(meant)} things"
    return scene.things[meant[0]]


def question_itself(text):
    """Cut off what is said before a question and after it; not for one with options."""
    sentences = [part for part in re.split(r"(?<=[.?!]) ", text) if not re.match(TAIL, part)]
    return re.sub(LEAD_IN, "", sentences[-1])


def topic_of(text):
    """Return the type of a question, by its words alone; None where they do not tell."""
    gist, names = re.subn(NAME, "#", text)
    return next((name for name, words in TOPICS[names].items() if re.search(words, gist)), None)


def way_it_moves(thing):
    seen = visible_moments(thing)
    across, down = np.subtract(thing.centre(seen[-1]), thing.centre(seen[0]))
    if max(abs(across), abs(down)) < 1e-6:
        return "it stays still"
    if abs(across) > abs(down):
        return "right" if across > 0 else "left"
    return "down" if down > 0 else "up"


def cell_it_is_in(scene, thing):
    """Name the ninth in which the picture shows a thing, trembling or not, all the time."""
    found = set()
    for moment in visible_moments(thing)[::8]:
        x, y = scene.place(thing, moment)
        row = "top" if y < 1 / 3 else "bottom" if y > 2 / 3 else ""
        column = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
        found.add(f"{row} {column}".strip() or "centre")
    assert len(found) == 1
    return found.pop()


def times_it_blinks(thing):
    """Count how often it goes out and comes back."""
    lit = [thing.visible(moment) for moment in np.linspace(0, 1, 401)]
    assert lit[0]
    assert lit[-1]
    return sum(before and not after for before, after in pairwise(lit))


def told_rightly(answer, seconds):
    """Return the answer if it is the nearest half second, else what would be."""
    told = float(answer.removesuffix(" seconds"))
    near = abs(told - seconds) <= 0.25 + 0.02 * max(seconds, 1)
    return answer if near and told % 0.5 == 0 else f"{round(2 * seconds) / 2:.1f} seconds"


def apparent_speed(thing, aspect):
    """Return the way covered between two near moments, in heights a film length."""
    at = (thing.appears + thing.vanishes) / 2
    (x0, y0), (x1, y1) = thing.centre(at - 0.01), thing.centre(at + 0.01)
    return np.hypot((x1 - x0) * aspect, y1 - y0) / 0.02


def answer_about_one(scene, kind, text, thing, answer):
    last_seen = visible_moments(thing)[-1] * scene.duration_seconds
    first_seen = visible_moments(thing)[0] * scene.duration_seconds
    if kind == "when":
        first = re.search(r"\b(appears?|first|comes?|show up)\b", text)
        last = re.search(r"\b(vanish(es)?|disappears?|last|leave|go|goes)\b", text)
        assert bool(first) != bool(last)
        return told_rightly(answer, first_seen if first else last_seen)
    if kind == "read":
        assert thing.mark.isdigit() == bool(re.search(r"\b(digit|number)\b", text))
        assert thing.mark.isdigit() != ("letter" in text)
    return {
        "colour": lambda: thing.colour,
        "kind": lambda: thing.kind,
        "position": lambda: cell_it_is_in(scene, thing),
        "motion": lambda: way_it_moves(thing),
        "event": lambda: "no" if thing.visible(1.0) else "yes",
        "blink": lambda: str(times_it_blinks(thing)),
        "read": lambda: thing.mark.lower(),
        "duration": lambda: told_rightly(answer, last_seen - first_seen),
    }[kind]()


def true_relation(text, one, other):
    """Answer where one thing is, seen from another."""
    across, down = np.subtract(one.centre(0.5), other.centre(0.5))
    claims = {
        r"\bleft\b": across < 0,
        r"\bright\b": across > 0,
        r"\babove\b|\bhigher\b|\bover\b|further up": down < 0,
        r"\bbelow\b|\blower\b|\bunder\b|further down": down > 0,
    }
    found = [holds for words, holds in claims.items() if re.search(words, text)]
    if found:
        assert len(found) == 1
        return "yes" if found[0] else "no"
    assert re.search(r"\bside\b|\bwhere\b|what direction", text)
    if abs(across) > abs(down):
        return "left" if across < 0 else "right"
    return "above" if down < 0 else "below"


def answer_about_two(scene, kind, text, aspect):
    names = re.findall(NAME, text)
    assert len(names) == 2
    one, other = (only_one_meant(scene, name) for name in names)
    if kind == "relation":
        assert one.motion == other.motion == "still"
        from_first = re.search(r"side of|direction from|compared with", text)
        return true_relation(text, *((other, one) if from_first else (one, other)))
    first_seen = [visible_moments(thing)[0] for thing in (one, other)]
    if kind == "before":
        assert first_seen[0] != first_seen[1]
        after = bool(re.search(r"\b(after|later)\b", text))
        return "yes" if (first_seen[0] < first_seen[1]) != after else "no"
    measures = {
        "order": [-moment for moment in first_seen],
        "larger": [one.radius, other.radius],
        "faster": [apparent_speed(thing, aspect) for thing in (one, other)],
    }[kind]
    assert measures[0] != measures[1]
    return names[int(np.argmax(measures))]


def answer_about_a_face(scene, text):
    happy = bool(re.search(r"\b(smil\w+|happy)\b", text))
    assert happy != bool(re.search(r"\b(frown\w*|sad|unhappy)\b", text))
    faces = [thing for thing in scene.things if thing.mark == ("smile" if happy else "frown")]
    assert len(faces) <= 1
    return f"the {faces[0].phrase}" if faces else NOTHING


def options_of(text):
    """Split a question with options into the question and what each letter stands for."""
    for end in CHOICE_ENDS:
        text = text.removesuffix(end)
    asked, options = re.match(r"(.*?[?.])(?: options:)? (\(A\).*|A\. .*)", text).groups()
    parts = re.split(r" ?(?:\(([A-D])\)|\b([A-D])\.) ", options)[1:]
    listed = {(a or b): said for a, b, said in zip(*[iter(parts)] * 3, strict=True)}
    return asked, listed


def true_choice(scene, question):
    asked, listed = options_of(question.text.removeprefix(CHOICE_PREFIX))
    assert list(listed) == list("ABCD")
    assert len(set(listed.values())) == 4
    kind = topic_of(asked)
    numbers = set("012345678")
    groups = {"colour": set(COLOURS), "kind": set(KINDS), "position": CELLS,
              "motion": {*MOTIONS, "it stays still"}}  # fmt: skip
    assert set(listed.values()) <= groups.get(kind, numbers)
    right = true_answer(scene, dataclasses.replace(question, type=kind, text=asked))
    return next(letter for letter, option in listed.items() if option == right)


def true_answer(scene, question, *, aspect=1.0):
    """Answer a question by looking at the scene with nothing but its words.

    ``aspect`` is that of the picture in which speeds are compared.
    """
    kind = question.type
    if kind == "choice":
        return true_choice(scene, question)
    text = question_itself(question.text)
    assert topic_of(text) == kind
    if kind == "count":
        return str(len(scene.things))
    if kind in ("count_colour", "count_kind"):
        singular = re.sub(r"(circle|square|triangle|star|ring)s\b|(cross)es\b", r"\1\2", text)
        assert set(re.findall("[a-z]+", singular)) & {*COLOURS, *KINDS}
        return str(len(things_meant(scene, singular)))
    if kind == "presence":
        return "yes" if things_meant(scene, text) else "no"
    if kind == "face":
        return answer_about_a_face(scene, text)
    if kind in PAIR_TYPES:
        return answer_about_two(scene, kind, text, aspect)
    (name,) = re.findall(NAME, text)
    if not things_meant(scene, name):
        return NOTHING
    return answer_about_one(scene, kind, text, only_one_meant(scene, name), question.answer)


def patterns(table):
    """Return every wording of every key with a pattern of the questions that it can become."""
    return {name: {text: pattern_of(text) for text in texts} for name, texts in table.items()}


def pattern_of(wording):
    pattern = re.escape(wording).replace(r"\ a\ \{0\}", r"\ an?\ \{0\}")
    return re.compile(re.sub(r"\\{\d\\}", lambda _: SAID, pattern))


KEYS = {
    "face": ("smile", "frown"),
    "read": ("digit", "letter"),
    "relation": ("left", "right", "above", "below", "side"),
    "when": ("appears", "vanishes"),
}
"The keys of the wordings of types that have several."
KNOWN, NEW = patterns(WORDINGS), patterns(PARAPHRASES)


def wordings_of(text, table, kind=None):
    """Return the wordings of a table, or of one type, that a question may be an instance of."""
    names = WORDINGS if kind is None else KEYS.get(kind, (kind,))
    return {
        wording for name in names for wording, pattern in table[name].items()
        if pattern.fullmatch(text)
    }  # fmt: skip
