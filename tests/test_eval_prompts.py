"""What every benchmark of multiple choice asks: the authors' own strings, and golden files.

``UPDATE_GOLDEN=1 python -m pytest tests/test_eval_prompts.py`` rewrites the golden files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eval_datasets import BUILDERS
from golden_texts import assert_golden_text

from pplava_core.evals.base import PROTOCOLS, Item, Prompt, Settings
from pplava_core.evals.benchmarks.mvbench import MVBench
from pplava_core.evals.benchmarks.videomme import VideoMME
from pplava_core.evals.registry import find_benchmark

ORACLE = json.loads(
    (Path(__file__).parent / "data" / "ppllava_prompt_oracle.json").read_text(encoding="utf-8")
)
TEMPLATES = {
    "v1": "USER: <image>\n{query} ASSISTANT: {prefix}",
    "qwen": "<|im_start|>user\n<image>\n{query}<|im_end|>\n<|im_start|>assistant\n{prefix}",
}
SECONDS = [0.25, 1.25, 2.25, 3.25]


def item(question: str, options: list[str], **named: Any) -> Item:
    return Item(
        id="1",
        video=Path("none.mp4"),
        video_id="1",
        question=question,
        options=tuple(options),
        answer=0,
        **named,
    )


FOOD = item(
    "What happened after the person took the food?",
    ["Ate the medicine.", "Tidied up the blanket."],
    groups={"task_type": "Action Sequence"},
)
DECORATION = item(
    "Which kind of decoration?",
    ["A. Apples.", "B. Candles.", "C. Berries.", "D. The three kinds are of the same number."],
    groups={"duration": "short"},
    details={"video_number": "1"},
)


def whole(template: str, prompt: Prompt) -> str:
    return TEMPLATES[template].format(query=prompt.query, prefix=prompt.answer_prefix)


@pytest.mark.parametrize("template", TEMPLATES)
def test_mvbench_is_asked_byte_for_byte_as_ppllava_ships_it(template):
    prompt = MVBench().prompt(FOOD, Settings(protocol="ppllava"))
    assert whole(template, prompt) == ORACLE[f"mvbench_{template}_as_shipped(system_llm False)"]
    assert prompt.source == "ppllava"


@pytest.mark.parametrize("template", TEMPLATES)
def test_mvbench_is_asked_with_the_notebooks_sentence_by_default(template):
    prompt = MVBench().prompt(FOOD, Settings())
    assert whole(template, prompt) == ORACLE[f"mvbench_{template}_system_llm_True"]


@pytest.mark.parametrize("template", TEMPLATES)
def test_videomme_is_asked_byte_for_byte_as_ppllava_does(template, monkeypatch):
    settings = Settings(protocol="ppllava")
    prompt = VideoMME().prompt(DECORATION, settings)
    assert whole(template, prompt) == ORACLE[f"videomme_{template}_nosub"]
    monkeypatch.setattr(VideoMME, "_lines", lambda *_: ["hello", "there"])
    prompt = VideoMME().prompt(DECORATION, Settings(protocol="ppllava", subtitles=True))
    assert whole(template, prompt) == ORACLE[f"videomme_{template}_sub"]


def test_ppllava_asks_without_subtitles_where_no_line_was_found(monkeypatch):
    monkeypatch.setattr(VideoMME, "_lines", lambda *_: [])
    prompt = VideoMME().prompt(DECORATION, Settings(protocol="ppllava", subtitles=True))
    assert prompt == VideoMME().prompt(DECORATION, Settings(protocol="ppllava"))


def test_the_aligner_reads_the_options_but_never_the_subtitles(monkeypatch):
    monkeypatch.setattr(VideoMME, "_lines", lambda *_: ["hello", "there"])
    for protocol in PROTOCOLS:
        guide = VideoMME().prompt(DECORATION, Settings(protocol=protocol, subtitles=True)).guide
        assert "Candles" in guide
        assert "hello" not in guide


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("datasets")
    return {name: build(root / name) for name, build in BUILDERS.items()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", BUILDERS)
def test_golden_prompts(name, protocol, folders):
    """Hold the first item's prompts, without and with subtitles, against the golden file."""
    benchmark = find_benchmark(name)
    parts = []
    for subtitles in (False, True):
        settings = Settings(protocol=protocol, subtitles=subtitles, num_frames=4)
        first = benchmark.items(folders[name], settings)[0]
        prompt = benchmark.prompt(first, settings, SECONDS)
        parts.append({"subtitles": subtitles, **vars(prompt)})
    text = json.dumps(parts, indent=1, ensure_ascii=False) + "\n"
    assert_golden_text(f"{name}-{protocol}.json", text)


def test_prompts_need_no_times_of_frames(folders):
    benchmark = find_benchmark("videomme")
    settings = Settings(subtitles=True, num_frames=4)
    first = benchmark.items(folders["videomme"], settings)[0]
    with_times = benchmark.prompt(first, settings, [index / 8 for index in (3, 11, 19, 27)])
    assert benchmark.prompt(first, settings) == with_times


def test_a_film_without_subtitles_is_asked_about_without_them(folders):
    benchmark = find_benchmark("videomme")
    items = benchmark.items(folders["videomme"], Settings())
    third = next(one for one in items if one.subtitles is None)
    plain = benchmark.prompt(third, Settings())
    assert benchmark.prompt(third, Settings(subtitles=True)) == plain
    lmms = benchmark.prompt(third, Settings(subtitles=True, protocol="lmms")).query
    assert lmms.startswith("This video's subtitles are listed below: \nNo subtitles available\n")


def test_frames_by_default(folders):
    counts = {}
    for name in BUILDERS:
        benchmark = find_benchmark(name)
        items = benchmark.items(folders[name], Settings())
        counts[name] = {benchmark.num_frames(one, Settings()) for one in items}
        assert {benchmark.num_frames(one, Settings(num_frames=7)) for one in items} == {7}
    assert counts["videomme"] == {32, 64}
    assert counts["longvideobench"] == {64}
    assert counts["mvbench"] == counts["nextqa"] == counts["egoschema"] == {32}
