import json
from pathlib import Path

import pytest

from pplava_core.errors import UsageError
from pplava_core.models.language.prompts import TEMPLATES, VISUAL

ORACLE = json.loads((Path(__file__).parent / "data" / "ppllava_prompt_oracle.json").read_bytes())

WATCH = (
    "Carefully watch the video and pay attention to the cause and sequence of events, the detail "
    "and movement of objects, and the action and pose of persons. Based on your observations, "
    "select the best option that accurately addresses the question.\n"
)
CHOICE = (
    "Question: What happened after the person took the food?\nOptions:\n(A) Ate the medicine.\n"
    "(B) Tidied up the blanket.\nOnly give the best option."
)
SELECT = (
    "Select the best answer to the following multiple-choice question based on the video and the "
    "subtitles. Respond with only the letter (A, B, C, or D) of the correct option.\n"
)
KIND = (
    "Which kind of decoration?\n['A. Apples.' 'B. Candles.' 'C. Berries.'\n"
    " 'D. The three kinds are of the same number.']"
)
SUBTITLES = "This video's subtitles are listed below: hello there \n"
FRAMES = (
    "The input consists of a sequence of key frames from a video. Answer the question concisely "
    "first and followed by significant events, characters, or objects that appear throughout the "
    "frames. Question: is the athlete wearing trousers"
)
ASKED = {
    "mvbench_{}_as_shipped(system_llm False)": (CHOICE, "Best option:("),
    "mvbench_{}_system_llm_True": (WATCH + CHOICE, "Best option:("),
    "videomme_{}_nosub": (SELECT + KIND, "The best answer is:"),
    "videomme_{}_sub": (SUBTITLES + SELECT + KIND, "The best answer is:"),
    "vcg_{}": ("What is happening in the video?", ""),
    "vcg_{}_system_vcg": ("What is happening in the video?", ""),
    "videoqa_{}": (FRAMES, "Answer: In the video,"),
}


@pytest.mark.parametrize("name", ORACLE)
def test_the_authors_prompts_byte_for_byte(name):
    language_model = "qwen" if "qwen" in name else "v1"
    question, prefix = ASKED[name.replace(language_model, "{}")]
    template = f"vcg_{language_model}" if "system_vcg" in name else language_model
    rendered = TEMPLATES[template].render(question, answer_prefix=prefix)
    assert rendered.encode() == ORACLE[name].encode()


def test_the_oracle_is_covered():
    assert len(ORACLE) == 2 * len(ASKED)


TURNS = {
    "v1": (
        "USER: <image>\nOne? ASSISTANT: First.</s>USER: Two? ASSISTANT: Second.</s>"
        "USER: Three? ASSISTANT: "
    ),
    "qwen": (
        "<|im_start|>user\n<image>\nOne?<|im_end|>\n<|im_start|>assistant\nFirst.<|im_end|>\n"
        "<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\nSecond.<|im_end|>\n"
        "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\n"
    ),
    "llava_vicuna": (
        "A chat between a curious human and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the human's questions. USER: <image>\n"
        "One? ASSISTANT: First.</s>USER: Two? ASSISTANT: Second.</s>USER: Three? ASSISTANT:"
    ),
    "llava_mistral": (
        "[INST] <image>\nOne? [/INST] First. </s>[INST] Two? [/INST] Second. </s>"
        "[INST] Three? [/INST]"
    ),
    "llava_llama3": (
        "<|start_header_id|>system<|end_header_id|>\n\nYou are a helpful language and vision "
        "assistant. You are able to understand the visual content that the user provides, and "
        "assist the user with a variety of tasks using natural language.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n<image>\nOne?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nFirst.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nTwo?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nSecond.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nThree?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "llava_yi": (
        "<|im_start|>system\nAnswer the questions.<|im_end|><|im_start|>user\n<image>\nOne?"
        "<|im_end|><|im_start|>assistant\nFirst.<|im_end|><|im_start|>user\nTwo?<|im_end|>"
        "<|im_start|>assistant\nSecond.<|im_end|><|im_start|>user\nThree?<|im_end|>"
        "<|im_start|>assistant\n"
    ),
}
TURNS["llava_onevision"] = TURNS["qwen"]
TURNS["llava_video"] = TURNS["llava_qwen"] = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + TURNS["qwen"]
)
TURNS["internvl3"] = TURNS["qwen"].replace("<image>", "Frame1: <img><image></img>")
for name in ("v1", "qwen"):
    start = ORACLE[f"vcg_{name}_system_vcg"].split(ORACLE[f"vcg_{name}"])[0]
    TURNS[f"vcg_{name}"] = start + TURNS[name]


@pytest.mark.parametrize("name", TEMPLATES)
def test_earlier_turns_are_spelled_out_and_the_film_stands_once(name):
    history = [("One?", "First."), ("Two?", "Second.")]
    assert TEMPLATES[name].name == name
    assert TEMPLATES[name].render("Three?", history=history) == TURNS[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("v1", "USER: <image>\n <image>\n How many objects are moving? ASSISTANT: "),
        (
            "qwen",
            "<|im_start|>user\n<image>\n <image>\n How many objects are moving?<|im_end|>\n"
            "<|im_start|>assistant\n",
        ),
        ("llava_mistral", "[INST] <image>\n<image>\nHow many objects are moving? [/INST]"),
        (
            "internvl3",
            "<|im_start|>user\n<img><image></img>\n<img><image></img>\n"
            "How many objects are moving?<|im_end|>\n<|im_start|>assistant\n",
        ),
    ],
)
def test_a_set_of_pictures_has_a_place_for_each(name, expected):
    question = "How many objects are moving?"
    assert TEMPLATES[name].render(question, kind="images", visuals=2) == expected


def test_frames_seen_singly_are_numbered_and_pictures_are_not():
    template = TEMPLATES["internvl3"]
    film = template.render("Who?", kind="video", visuals=3)
    lines = "".join(f"Frame{number}: <img><image></img>\n" for number in (1, 2, 3))
    assert film == f"<|im_start|>user\n{lines}Who?<|im_end|>\n<|im_start|>assistant\n"
    assert template.render("Who?", kind="frames", visuals=3) == film
    assert "Frame" not in template.render("Who?", kind="image")
    assert TEMPLATES["v1"].render("Who?", kind="video") == TEMPLATES["v1"].render(
        "Who?", kind="image"
    )


def test_the_system_text_can_be_replaced_or_left_out():
    assert TEMPLATES["v1"].render("Q", system="Be brief.").startswith("Be brief. USER: <image>")
    assert TEMPLATES["vcg_v1"].render("Q", system="") == TEMPLATES["v1"].render("Q")
    assert (
        TEMPLATES["llava_qwen"]
        .render("Q", system="Be brief.")
        .startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<image>\nQ")
    )
    assert TEMPLATES["llava_mistral"].render("Q", system="Be brief.", history=[("A", "B")]) == (
        "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n<image>\nA [/INST] B </s>[INST] Q [/INST]"
    )


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_prefix_begins_the_answer(name):
    plain, started = (TEMPLATES[name].render("Q", answer_prefix=words) for words in ("", "So"))
    gap = " " if name in ("llava_vicuna", "llava_mistral") else ""
    assert started == f"{plain}{gap}So"


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("question", ["", "{number} {}", "% s", "a\nb", "½ 象"])
def test_any_question_stands_as_it_is(name, question):
    rendered = TEMPLATES[name].render(question, visuals=0, system="{x}")
    assert rendered.count(question) >= 1
    assert VISUAL not in rendered
    assert "{x}" in rendered


def test_fewer_than_no_visual_tokens_are_refused():
    with pytest.raises(UsageError, match="-1 blocks"):
        TEMPLATES["v1"].render("Q", visuals=-1)
