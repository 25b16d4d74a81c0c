"""A converted folder answers as the one it was made from, whole or with fewer bits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from golden_files import FOLDER as GOLDEN
from tiny_checkpoints import write_clip, write_llava_next, write_llava_onevision, write_siglip

from pplava_core.errors import ModelError, UsageError
from pplava_core.models import fitting
from pplava_core.models.catalog import find_model
from pplava_core.models.checkpoint import load_model
from pplava_core.models.config import read_config
from pplava_core.models.convert import convert
from pplava_core.models.placement import Placement

QUESTION = "what is it?"


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Path]:
    """One folder of each way in which a model can come."""
    parent = tmp_path_factory.mktemp("sources")
    plain = {"hidden_size": 64, "intermediate_size": 128}
    next_with_clip = write_llava_next(parent / "next", **plain)
    write_clip(next_with_clip / "aligner_source")
    vision = write_llava_onevision(parent / "onevision", **plain)
    write_siglip(vision / "aligner_source")
    bare = write_llava_next(parent / "bare", **plain)
    released = shutil.copytree(GOLDEN / "clip_plain", parent / "released") / "checkpoint"
    return {"next": next_with_clip, "onevision": vision, "bare": bare, "released": released}


@torch.inference_mode()
def logits_of(model):
    """Ask about the same noise; the model's own pooling, or even windows without an aligner."""
    side = model.config.pixels.height
    noise = torch.randint(0, 256, (4, 3, side, side), generator=torch.Generator().manual_seed(3))
    features = model.parts.encode_pictures(noise.to(torch.uint8), "video")[None]
    relevance = None if model.aligner is None else model.relevance(features, [QUESTION])
    visual = model.visual_tokens(
        features, relevance, weighting="average" if relevance is None else None
    )
    ids = torch.tensor([model.prompt_ids(QUESTION)])
    prompt = model.prompt_embeddings(visual.tokens, ids, visual.block_sizes)
    return model.llm(inputs_embeds=prompt).logits


@pytest.mark.parametrize("quantize", [None, "4bit", "8bit"])
@pytest.mark.parametrize("name", ["next", "onevision", "bare", "released"])
def test_a_converted_model_answers_as_its_source(sources, tmp_path, name, quantize):
    convert(sources[name], tmp_path / "new", quantize=quantize)
    source = load_model(sources[name], Placement(quantize=quantize))
    converted = load_model(tmp_path / "new")
    assert converted.name == "new"
    assert (converted.aligner is None) == (name == "bare")
    for field in ("backbone", "window", "weighting", "projector_order", "template", "pixels"):
        assert getattr(converted.config, field) == getattr(source.config, field)
    assert torch.allclose(logits_of(converted), logits_of(source), atol=2e-5)


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_what_is_stored_quantised_answers_in_any_number_format(sources, tmp_path, quantize):
    convert(sources["next"], tmp_path / "small", quantize=quantize)
    expected = logits_of(load_model(tmp_path / "small"))
    for dtype in (torch.bfloat16, torch.float16):
        model = load_model(tmp_path / "small", Placement(dtype=dtype))
        assert {one.dtype for one in model.parameters() if one.is_floating_point()} == {dtype}
        logits = logits_of(model)
        assert logits.dtype == dtype
        assert (logits.float() - expected).norm() < 0.1 * expected.norm()


def test_how_it_is_stored_is_not_changed_and_not_passed_over(sources, tmp_path):
    small = tmp_path / "small"
    convert(sources["next"], small, quantize="4bit")
    sizes, work = fitting.Sizes(small / "base"), fitting.Workload(num_frames=8, window=None)
    place = {"device": "cpu", "dtype": None, "is_auto": True}
    for same in (None, "4bit"):
        placement = fitting.choose_placement(sizes, work, quantize=same, **place)
        assert "language model in 4 bits" in str(placement)
        assert quantised_modules(load_model(small, placement))
    with pytest.raises(UsageError, match="stored in 4bit; leave --quantize 8bit out"):
        fitting.choose_placement(sizes, work, quantize="8bit", **place)
    with pytest.raises(UsageError, match="stored in 4bit; leave --quantize 8bit out"):
        load_model(small, Placement(quantize="8bit"))
    with pytest.raises(UsageError, match="copy the folder"):
        convert(small, tmp_path / "again", quantize="8bit")
    assert not (tmp_path / "again").exists()


def test_all_of_its_files_are_its_size(sources, tmp_path):
    convert(sources["next"], tmp_path / "new")
    weights = (tmp_path / "new" / "base" / "model.safetensors").stat().st_size
    assert find_model(str(tmp_path / "new")).size_bytes > weights


def quantised_modules(model):
    return {
        name for name, module in model.named_modules()
        if type(module).__name__ in ("Linear4bit", "Linear8bitLt")
    }  # fmt: skip


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_only_the_language_model_loses_bits(sources, tmp_path, quantize):
    convert(sources["next"], tmp_path / "small", quantize=quantize)
    for model in (
        load_model(tmp_path / "small"),
        load_model(sources["next"], Placement(quantize=quantize)),
    ):
        names = quantised_modules(model)
        assert len(names) == 2 * 7
        assert all(name.startswith("llm.model.language_model.layers.") for name in names)


def test_fewer_bits_change_the_answer_little_and_the_file_much(sources, tmp_path):
    whole = logits_of(load_model(sources["next"]))
    sizes = {}
    for quantize, most in (("8bit", 0.1), ("4bit", 0.5)):
        convert(sources["next"], tmp_path / quantize, quantize=quantize)
        changed = logits_of(load_model(tmp_path / quantize))
        error = (changed - whole).norm() / whole.norm()
        assert 0 < error < most
        sizes[quantize] = (tmp_path / quantize / "base" / "model.safetensors").stat().st_size
    assert sizes["4bit"] < sizes["8bit"] < (sources["next"] / "model.safetensors").stat().st_size


def test_bfloat16_goes_with_four_bits(sources):
    model = load_model(sources["next"], Placement(dtype=torch.bfloat16, quantize="4bit"))
    assert model.parts.base.vision_tower.dtype == model.aligner.dtype == torch.bfloat16
    assert logits_of(model).isfinite().all()


def test_a_target_that_is_there_is_left_alone(sources, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("kept")
    with pytest.raises(UsageError, match="there already"):
        convert(sources["bare"], tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]


def test_nothing_is_left_of_a_conversion_that_fails(sources, tmp_path, monkeypatch):
    broken = shutil.copytree(sources["bare"], tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(ModelError):
        convert(broken, tmp_path / "target")
    monkeypatch.setattr("pplava_core.models.convert._write_config", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert(sources["bare"], tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_a_model_of_our_own_needs_no_conversion(tmp_path):
    with pytest.raises(UsageError, match="copy the folder"):
        convert(find_model("nano").folder, tmp_path / "nano")


def test_the_command_says_what_it_wrote(run_pplava, sources, tmp_path):
    run = run_pplava("models", "convert", sources["next"], tmp_path / "out", "--quantize", "4bit")
    assert run.code == 0
    assert run.stdout.startswith(f"{tmp_path / 'out'}: ")
    assert read_config(tmp_path / "out").backbone == "llava_next"
    again = run_pplava("models", "convert", sources["next"], tmp_path / "out")
    assert again.code == 2
    assert again.stderr.count("\n") == 1
    info = run_pplava("models", "info", tmp_path / "out")
    assert info.code == 0
    assert "llava_next" in info.stdout
