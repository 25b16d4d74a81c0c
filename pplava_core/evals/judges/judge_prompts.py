"""What a judge is asked, one prompt for each aspect.

The wording is this project's own, after the shape of the published prompts (Video-ChatGPT's
scripts): the system text says what to compare and by which rules, the user text gives the
question, the right answer and the answers, and asks for a Python dictionary alone. A file
can replace the wording, which figures comparable with a paper's need. Sends nothing.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pplava_core.errors import InputError, UsageError

OUR_WORDING = "our wording"
"Name of the prompts of this module, as reports print it."


@dataclass(frozen=True, kw_only=True)
class JudgePrompt:
    """Two texts in which ``$question``, ``$answer`` and ``$prediction`` are filled in.

    Prompts for consistency have ``$question_2`` and ``$prediction_2`` as well.
    """

    system: str
    user: str

    def messages(self, fields: Mapping[str, str]) -> list[dict[str, str]]:
        """Fill in the fields and return the conversation to send."""
        user = string.Template(self.user).substitute(fields)
        return [{"role": "system", "content": self.system}, {"role": "user", "content": user}]


@dataclass(frozen=True, kw_only=True)
class PromptSet:
    """The prompts of one run of a judge."""

    name: str
    "`OUR_WORDING`, or the file and the beginning of its SHA-256."
    prompts: Mapping[str, JudgePrompt]
    "By aspect."


def our_prompts(protocol: str) -> PromptSet:
    """Return this project's wording of every aspect's prompt.

    Under `ppllava`, correctness has the sentence about answers that admit ignorance.
    """
    prompts = {"match": _match_prompt()}
    for aspect, (quality, rules) in _SCORED.items():
        if aspect == "correctness" and protocol == "ppllava":
            rules = (*rules, "Give 0 to an answer that says no more than that it does not know.")
        prompts[aspect] = _score_prompt(aspect, quality, rules)
    return PromptSet(name=OUR_WORDING, prompts=prompts)


def read_prompts(path: Path, protocol: str) -> PromptSet:
    """Read prompts from a TOML file: a table an aspect, each with ``system`` and ``user``.

    Aspects that the file does not name keep this project's wording.

    Raises:
        InputError: the file cannot be read.
        UsageError: it is not TOML, names an unknown aspect or field, or lacks a text.
    """
    import tomllib

    try:
        raw = path.read_bytes()
        tables = tomllib.loads(raw.decode())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"--judge-prompt {path}: {reason}; give a readable file") from None
    except ValueError as error:
        raise UsageError(f"--judge-prompt {path}: not TOML ({error}); mend the file") from None
    prompts = dict(our_prompts(protocol).prompts)
    for aspect, table in tables.items():
        if aspect not in prompts:
            known = ", ".join(prompts)
            raise UsageError(f"--judge-prompt {path}: no aspect {aspect!r}; there are {known}")
        prompts[aspect] = _prompt_from(table, aspect, path)
    return PromptSet(name=f"{path.name} {hashlib.sha256(raw).hexdigest()[:12]}", prompts=prompts)


_SCORED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "correctness": (
        "factual accuracy",
        (
            "Check that the facts of the predicted answer agree with the correct answer.",
            "It must contain nothing that is false or misread, and it must fit the video.",
            "Another wording or a synonym for the same fact agrees.",
        ),
    ),
    "detail": (
        "detail orientation",
        (
            "Check that the predicted answer covers every important point and leaves none out.",
            "Look for particulars that belong to this video; general remarks are not details.",
            "Another wording or a synonym for the same point covers it.",
            "Weigh completeness and specificity together in one score.",
        ),
    ),
    "context": (
        "contextual understanding",
        (
            "Check that the predicted answer fits what the video is about as a whole.",
            "It must hold the main themes and moods, and nothing out of context.",
            "Another wording or a synonym for the same theme fits.",
        ),
    ),
    "temporal": (
        "temporal accuracy",
        (
            "Check that the predicted answer puts the events in the order of the correct answer.",
            "Another wording or a synonym is fine as long as the order stays.",
            "Judge the order of events above all.",
        ),
    ),
    "consistency": (
        "consistency",
        (
            "The two questions ask for nearly the same thing and share one correct answer.",
            "Check that both predicted answers agree with it and with each other.",
            "Contradictions, or facts in one that are not in the other, count against them.",
            "Another wording or a synonym for the same fact agrees.",
        ),
    ),
}
"By aspect of VCG-Bench: the name of what is scored, and the rules for it."

_ONE_ANSWER = "Question: $question\nCorrect answer: $answer\nPredicted answer: $prediction"
_TWO_ANSWERS = (
    "Question 1: $question\nQuestion 2: $question_2\nCorrect answer: $answer\n"
    "Predicted answer to question 1: $prediction\nPredicted answer to question 2: $prediction_2"
)


def _match_prompt() -> JudgePrompt:
    system = _system(
        "You assess answers to questions. Compare a predicted answer with the correct answer "
        "and decide whether they mean the same.",
        (
            "What counts is a match in meaning between predicted and correct answer.",
            "Another wording or a synonym is a match.",
            "Judge the predicted answer against the correct answer and nothing else.",
        ),
    )
    user = (
        f"Assess this question about a video and its answers.\n\n{_ONE_ANSWER}\n\n"
        "Reply with a Python dictionary and no other text. Its key 'pred' holds the string 'yes' "
        "if the answers match and 'no' if they do not; its key 'score' holds an integer from 0 to "
        "5, where 5 is the closest match. For example: {'pred': 'yes', 'score': 4}"
    )
    return JudgePrompt(system=system, user=user)


def _score_prompt(aspect: str, quality: str, rules: tuple[str, ...]) -> JudgePrompt:
    task = (
        f"You assess the {quality} of answers to questions about videos. Compare what was "
        f"predicted with the correct answer and give one score for {quality}."
    )
    answers = _TWO_ANSWERS if aspect == "consistency" else _ONE_ANSWER
    user = (
        f"Assess the following about a video.\n\n{answers}\n\n"
        "Reply with a Python dictionary and no other text. Its key 'score' holds an integer from "
        f"0 to 5, where 5 is the highest {quality}. For example: {{'score': 4}}"
    )
    return JudgePrompt(system=_system(task, rules), user=user)


def _system(task: str, rules: tuple[str, ...]) -> str:
    return "\n".join([task, "Rules:", *(f"- {rule}" for rule in rules)])


def _prompt_from(table: object, aspect: str, path: Path) -> JudgePrompt:
    """Check one table of a file by filling it in once."""
    names = {"question", "answer", "prediction"}
    if aspect == "consistency":
        names |= {"question_2", "prediction_2"}
    if not (
        isinstance(table, dict)
        and set(table) == {"system", "user"}
        and all(isinstance(text, str) for text in table.values())
    ):
        raise UsageError(f"--judge-prompt {path}: [{aspect}] needs the texts `system` and `user`")
    template = string.Template(table["user"])
    if not template.is_valid() or not set(template.get_identifiers()) <= names:
        fields = ", ".join(f"${name}" for name in sorted(names))
        raise UsageError(
            f"--judge-prompt {path}: [{aspect}] may hold {fields}; write $$ for a dollar sign"
        )
    return JudgePrompt(system=table["system"], user=table["user"])
