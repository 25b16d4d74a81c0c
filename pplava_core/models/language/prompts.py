"""Every wording in which a question reaches a language model, in one place.

A `Template` is data: the strings around questions and answers, and how a place for visual
tokens is written. Rendering is pure: strings in, a string out. It knows no tokenizer and no
model; whoever feeds it text from a person has taken control tokens out of it before, and the
start token that some tokenizers put first (``<s>``, ``<|begin_of_text|>``) is not written here.

Sources. `v1`, `vcg_v1`, `qwen`, `vcg_qwen`: the conversations of the paper's released code
(github.com/farewellthree/PPLLaVA, ``conversation.py``), byte for byte. `llava_vicuna`,
`llava_mistral`, `llava_llama3`, `llava_yi`, `llava_qwen`: the prompts that transformers'
documentation of LLaVA-NeXT lists, with the separators between turns of
github.com/LLaVA-VL/LLaVA-NeXT, ``llava/conversation.py``. `llava_onevision`: the chat template
of transformers' ``convert_llava_onevision_weights_to_hf.py``. `llava_video`: ``qwen_1_5`` of the
same conversation.py, as LLaVA-Video's own demo uses. `internvl3`: the chat template of
``convert_internvl_weights_to_hf.py`` with what ``InternVLProcessor`` puts for a picture and
for the frames of a video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pplava_core.errors import UsageError
from pplava_core.types import InputKind

VISUAL = "<image>"
"Stands in a rendered prompt wherever a block of visual tokens goes."

_VIDEO_CHATGPT = (
    "You are Video-ChatGPT, a large vision-language assistant. You are able to understand the "
    "video content that the user provides, and assist the user with a variety of tasks using "
    "natural language.Follow the instructions carefully and explain your answers in detail based "
    "on the provided video."
)
_VICUNA = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the human's questions."
)
_LLAMA3 = (
    "You are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using natural "
    "language."
)
_QWEN = "You are a helpful assistant."


@dataclass(frozen=True, kw_only=True)
class Template:
    """The strings that a model was trained to find around questions, pictures and answers."""

    name: str
    system: str = ""
    "What is said before the first turn unless the caller says something else."
    before_system: str = ""
    after_system: str = ""
    "Left out, as is `before_system`, where there is nothing to say."
    system_in_turn: bool = False
    "Whether the system text stands inside the first question's marks, not before them."
    before_question: str
    before_answer: str
    after_answer: str
    before_given_answer: str = ""
    "Between `before_answer` and words that are there already: an earlier answer, a prefix."
    before_visual: str = ""
    after_visual: str = ""
    "Around each block of visual tokens."
    frame_label: str = ""
    "Before each block of a film, with its ``{number}`` from 1; for models that see frames singly."
    after_block: str = "\n"
    "After each block of a picture or film."
    after_set_block: str = "\n"
    "After each block of a set of pictures."

    def render(
        self,
        question: str,
        *,
        history: Sequence[tuple[str, str]] = (),
        visuals: int = 1,
        kind: InputKind = "video",
        system: str | None = None,
        answer_prefix: str = "",
    ) -> str:
        """Word a question, and what was said before, so that the answer comes next.

        Args:
            question: the question at hand.
            history: earlier questions with their answers, oldest first. The visual tokens
                stand once, before the first question of all.
            visuals: how many blocks of visual tokens there are.
            kind: what they show; ``images`` are a set of pictures, each a block.
            system: what to say before the first turn; None is the template's own, an empty
                text leaves it out.
            answer_prefix: words that the answer starts with.

        Returns:
            The prompt, with `VISUAL` in the place of each block.

        Raises:
            UsageError: ``visuals`` is negative.
        """
        if visuals < 0:
            raise UsageError(
                f"a prompt cannot have {visuals} blocks of visual tokens; give 0 or more"
            )
        opening = self._system(self.system if system is None else system)
        turns = [*history, (question, answer_prefix)]
        seen = self._visuals(visuals, kind)
        text = "" if self.system_in_turn else opening
        for number, (asked, answered) in enumerate(turns):
            first = (opening if self.system_in_turn else "") + seen if number == 0 else ""
            gap = self.before_given_answer if answered else ""
            text += f"{self.before_question}{first}{asked}{self.before_answer}{gap}{answered}"
            text += self.after_answer if number < len(history) else ""
        return text

    def _system(self, words: str) -> str:
        return f"{self.before_system}{words}{self.after_system}" if words else ""

    def _visuals(self, count: int, kind: InputKind) -> str:
        """Return the places for ``count`` blocks of visual tokens."""
        after = self.after_set_block if kind == "images" else self.after_block
        label = self.frame_label if kind in ("video", "frames") else ""
        block = f"{self.before_visual}{VISUAL}{self.after_visual}"
        return "".join(f"{label.format(number=n + 1)}{block}{after}" for n in range(count))


def _vicuna(name: str, system: str = "") -> Template:
    """Return the authors' wording for Vicuna: no separator but blanks, answers end in ``</s>``."""
    return Template(
        name=name,
        system=system,
        after_system=" ",
        before_question="USER: ",
        before_answer=" ASSISTANT: ",
        after_answer="</s>",
        after_set_block="\n ",
    )


def _chatml(
    name: str,
    system: str = "",
    *,
    before_system: str = "<|im_start|>system\n",
    after_set_block: str = "\n",
    before_visual: str = "",
    after_visual: str = "",
    frame_label: str = "",
) -> Template:
    """Return a wording in Qwen's ChatML."""
    return Template(
        name=name,
        system=system,
        before_system=before_system,
        after_system="<|im_end|>\n",
        before_question="<|im_start|>user\n",
        before_answer="<|im_end|>\n<|im_start|>assistant\n",
        after_answer="<|im_end|>\n",
        before_visual=before_visual,
        after_visual=after_visual,
        frame_label=frame_label,
        after_set_block=after_set_block,
    )


_ALL = (
    _vicuna("v1"),
    _vicuna("vcg_v1", _VIDEO_CHATGPT),
    # the authors' system text carries no role: that is how their models saw it
    _chatml("qwen", before_system="", after_set_block="\n "),
    _chatml("vcg_qwen", _VIDEO_CHATGPT, before_system="", after_set_block="\n "),
    Template(
        name="llava_vicuna",
        system=_VICUNA,
        after_system=" ",
        before_question="USER: ",
        before_answer=" ASSISTANT:",
        before_given_answer=" ",
        after_answer="</s>",
    ),
    Template(
        name="llava_mistral",
        before_system="<<SYS>>\n",
        after_system="\n<</SYS>>\n\n",
        system_in_turn=True,
        before_question="[INST] ",
        before_answer=" [/INST]",
        before_given_answer=" ",
        after_answer=" </s>",
    ),
    Template(
        name="llava_llama3",
        system=_LLAMA3,
        before_system="<|start_header_id|>system<|end_header_id|>\n\n",
        after_system="<|eot_id|>",
        before_question="<|start_header_id|>user<|end_header_id|>\n\n",
        before_answer="<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        after_answer="<|eot_id|>",
    ),
    Template(
        name="llava_yi",
        system="Answer the questions.",
        before_system="<|im_start|>system\n",
        after_system="<|im_end|>",
        before_question="<|im_start|>user\n",
        before_answer="<|im_end|><|im_start|>assistant\n",
        after_answer="<|im_end|>",
    ),
    _chatml("llava_qwen", _QWEN),
    _chatml("llava_onevision"),
    _chatml("llava_video", _QWEN),
    _chatml(
        "internvl3", before_visual="<img>", after_visual="</img>", frame_label="Frame{number}: "
    ),
)

TEMPLATES: dict[str, Template] = {template.name: template for template in _ALL}
"Every wording by its name."
