"""Does a model fit the machine, and what is said where it does not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from pplava_core.errors import UsageError
from pplava_core.models import fitting
from pplava_core.models.fitting import Sizes, Workload, check_fits, choose_placement
from pplava_core.models.placement import Placement
from pplava_core.window import Window

WINDOW = Window((2, 3, 3))
WORK = Workload(num_frames=32, window=WINDOW)
SEVEN_BILLION = {
    "model_type": "llava_next",
    "text_config": {
        "model_type": "llama",
        "vocab_size": 32064,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 4096,
    },
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "image_size": 336,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
    },
}
LLAMA_LAYER = 4 * 4096**2 + 3 * 4096 * 11008


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seven") / "seven"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SEVEN_BILLION))
    from safetensors.torch import save_file

    save_file({"lm_head.weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    return Sizes(folder)


def needed(sizes, work=WORK, dtype=torch.bfloat16, quantize=None):
    return sizes.estimate(work, dtype=dtype, quantize=quantize)


def test_the_layers_of_the_language_model_can_be_quantised_and_nothing_else(sizes):
    assert sizes.quantisable == 32 * LLAMA_LAYER
    embeddings = 2 * 32064 * 4096
    assert embeddings < sizes.plain < embeddings + 0.35e9


def test_weights_take_their_bytes(sizes):
    assert needed(sizes).weights_bytes == 2 * (sizes.quantisable + sizes.plain)
    assert needed(sizes, dtype=torch.float32).weights_bytes == 2 * needed(sizes).weights_bytes
    four = needed(sizes, quantize="4bit").weights_bytes
    assert four == pytest.approx(sizes.quantisable * 0.516 + 2 * sizes.plain, rel=1e-3)


def test_the_cache_holds_every_position_of_every_layer(sizes):
    length = 1024 + 512 + 128
    assert needed(sizes).cache_bytes == 2 * 32 * 4096 * length * 2
    every = needed(sizes, Workload(num_frames=32, window=None))
    assert every.cache_bytes == 2 * 32 * 4096 * (18432 + 512 + 128) * 2


def test_an_answer_is_never_longer_than_the_context(sizes):
    endless = Workload(num_frames=32, window=WINDOW, max_new_tokens=10**9)
    longest = Workload(num_frames=32, window=WINDOW, max_new_tokens=4096)
    assert needed(sizes, endless) == needed(sizes, longest)


def test_fewer_frames_and_larger_windows_need_less(sizes):
    fewer = needed(sizes, Workload(num_frames=8, window=WINDOW))
    larger = needed(sizes, Workload(num_frames=32, window=Window((4, 4, 4))))
    for smaller in (fewer, larger):
        assert smaller.total_bytes < needed(sizes).total_bytes


def test_a_seven_billion_model_in_four_bits_fits_a_small_card(sizes):
    assert needed(sizes, quantize="4bit").total_bytes < 6.5e9


def test_what_fits_is_told_with_what_is_free(sizes, monkeypatch):
    monkeypatch.setattr(fitting, "free_bytes", lambda device: int(24e9))
    placement = Placement(device="cpu", dtype=torch.bfloat16)
    estimate, free = check_fits(sizes, "seven", WORK, placement)
    assert free == int(24e9)
    assert estimate.total_bytes < free
    assert re.fullmatch(
        r"about [\d.]+ GB \(weights [\d.]+, cache [\d.]+, activations [\d.]+\)", str(estimate)
    )


def refusal(sizes, monkeypatch, free_gigabytes, **changes):
    monkeypatch.setattr(fitting, "free_bytes", lambda device: int(free_gigabytes * 1e9))
    placement = Placement(**{"device": "cpu", "dtype": torch.bfloat16, **changes})
    with pytest.raises(UsageError) as caught:
        check_fits(sizes, "seven", WORK, placement)
    return str(caught.value)


def test_what_does_not_fit_is_one_line_that_names_what_would(sizes, monkeypatch):
    message = refusal(sizes, monkeypatch, 10)
    assert "\n" not in message
    assert "cpu has 10.0 GB free" in message
    assert "--quantize 4bit" in message
    assert "--frames" not in message  # fewer frames would not make the weights smaller


def test_only_what_is_enough_is_advised(sizes, monkeypatch):
    everything = Workload(num_frames=256, window=None)
    at_least = needed(sizes, Workload(num_frames=64, window=None)).total_bytes
    monkeypatch.setattr(fitting, "free_bytes", lambda device: at_least)
    with pytest.raises(UsageError) as caught:
        check_fits(sizes, "seven", everything, Placement(dtype=torch.bfloat16))
    assert "--frames 64" in str(caught.value)
    assert "--pooling average" in str(caught.value)
    assert "--kernel" not in str(caught.value)  # it changes nothing where every patch is passed


def test_where_nothing_helps_it_says_so(sizes, monkeypatch):
    assert "no setting makes it fit" in refusal(sizes, monkeypatch, 1)
    assert "no setting makes it fit" in refusal(sizes, monkeypatch, 1, quantize="4bit")


@pytest.mark.parametrize(("free", "wanted"), [(80e9, torch.float32), (20e9, torch.bfloat16)])
def test_a_cpu_computes_in_float32_where_that_fits(sizes, monkeypatch, free, wanted):
    monkeypatch.setattr(fitting, "free_bytes", lambda device: int(free))
    choice = choose_placement(sizes, WORK, device="cpu", dtype=None, quantize=None, is_auto=True)
    assert choice.dtype == wanted
    named = choose_placement(
        sizes, WORK, device="cpu", dtype=torch.float16, quantize=None, is_auto=True
    )
    assert named.dtype == torch.float16


def test_several_gpus_are_used_only_where_one_is_too_small(sizes, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    for free, device in ((12e9, "auto"), (40e9, "cuda")):
        monkeypatch.setattr(fitting, "free_bytes", lambda device, free=free: int(free))
        choice = choose_placement(
            sizes, WORK, device="cuda", dtype=None, quantize=None, is_auto=True
        )
        assert (choice.device, choice.dtype) == (device, torch.bfloat16)


def test_free_memory_of_this_machine_is_some():
    assert 2**20 < fitting.free_bytes("cpu") < 2**50


def test_an_unknown_quantisation_is_refused():
    with pytest.raises(UsageError, match="4bit or 8bit"):
        Placement(quantize="2bit")


def test_a_placement_says_itself():
    placement = Placement(device="cuda:1", dtype=torch.bfloat16, quantize="4bit")
    assert str(placement) == "cuda:1, bfloat16, language model in 4 bits, attention by sdpa"
    assert str(Placement(device="auto")).startswith("all GPUs, float32")


def test_an_aligner_beside_the_weights_counts(tmp_path: Path, sizes):
    from safetensors.torch import save_file

    (tmp_path / "config.json").write_text(json.dumps(SEVEN_BILLION))
    save_file({"lm_head.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    (tmp_path / "aligner").mkdir()
    beside = {"text.positional_embedding": torch.zeros(10, 10), "logit_scale": torch.zeros(())}
    save_file(beside, tmp_path / "aligner" / "model.safetensors")
    assert Sizes(tmp_path).plain == sizes.plain + 101
