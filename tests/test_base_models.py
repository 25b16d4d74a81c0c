"""Any base model works as it came: every command, on tiny folders in transformers' layout."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tiny_checkpoints as tiny
import torch
from PIL import Image
from small_models import write_clip

from pplava_core.evals.runs.running import session_of
from pplava_core.media import load_clip
from pplava_core.models.checkpoint import describe_model, load_model
from pplava_core.models.layouts import aligner_folder
from pplava_core.session import Session
from pplava_core.types import Sampling

MODELS = {
    "llava-next": ("clip", tiny.write_llava_next),
    "llava-onevision": ("siglip", tiny.write_llava_onevision),
}
SIX_FRAMES = Sampling(num_frames=6)
ASK = ("--json", "--evidence", "--max-new-tokens", "4", "--frames", "8", "--device", "cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Each base model bare, with its encoder's own folder, and with an aligner of ours."""
    root = tmp_path_factory.mktemp("models")
    encoders = {
        "clip": tiny.write_clip(root / "clip"),
        "siglip": tiny.write_siglip(root / "siglip"),
    }
    made = {}
    for name, (kind, write) in MODELS.items():
        made[name, "bare"] = write(root / name)
        made[name, "source"] = root / f"{name}-source"
        shutil.copytree(root / name, made[name, "source"])
        shutil.copytree(encoders[kind], made[name, "source"] / "aligner_source")
        made[name, "ours"] = root / f"{name}-ours"
        shutil.copytree(root / name, made[name, "ours"])
        aligner = aligner_folder.from_pretrained(encoders[kind], patch_width=tiny.WIDTH)
        aligner_folder.save_aligner(aligner, made[name, "ours"] / "aligner")
    return made


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    for number, size in enumerate([(60, 131), (97, 45)]):
        noise = np.random.default_rng(number).integers(0, 256, (*size, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    film = write_clip(folder / "film.mp4")
    pictures = [folder / "0.png", folder / "1.png"]
    return {"video": [film], "image": pictures[:1], "images": pictures}


def record_of(run):
    assert run.code == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("kind", ["video", "image", "images"])
@pytest.mark.parametrize("name", MODELS)
def test_asked_with_its_own_encoder_as_the_guide(name, kind, folders, inputs, run_pplava):
    words = ("a red circle?", *ASK, "--model")
    source = record_of(run_pplava("ask", *inputs[kind], *words, folders[name, "source"]))
    ours = record_of(run_pplava("ask", *inputs[kind], *words, folders[name, "ours"]))
    assert source["pooling"]["weighting"] == "authors"
    assert source["pooling"]["kernel"] == ([2, 3, 3] if kind == "video" else [1, 3, 3])
    assert source["pooling"]["token_count"] < source["pooling"]["patch_count"]
    assert source["evidence"]
    # the folder of ours was made of the same encoder
    assert ours["answer"] == source["answer"]
    for moment, same in zip(ours["evidence"], source["evidence"], strict=True):
        assert moment.pop("share") == pytest.approx(same.pop("share"), rel=1e-5)
        assert moment == same
    count = len(source["sampling"]["frames"])
    assert count == {"video": 8, "image": 1, "images": 2}[kind]


@pytest.mark.parametrize("kind", ["video", "image", "images"])
@pytest.mark.parametrize("name", MODELS)
def test_without_an_encoder_only_what_needs_none(name, kind, folders, inputs, run_pplava):
    words = ("a red circle?", *ASK, "--model", folders[name, "bare"])
    run = run_pplava("ask", *inputs[kind], *words)
    assert run.code == 4
    assert json.loads(run.stdout)["type"] == "error"
    last = run.stderr.splitlines()[-1]
    assert "has no aligner" in last
    assert "--pooling average" in last
    native = ["native"] if kind != "video" or name == "llava-onevision" else []
    others = {"video": ("average", "max"), "image": ("none",), "images": ("average",)}
    for pooling in (*others[kind], *native):
        record = record_of(run_pplava("ask", *inputs[kind], *words, "--pooling", pooling))
        assert record["pooling"]["weighting"] == pooling
        assert not record["evidence"]


def test_no_pooling_is_held_against_a_base_model(folders, inputs, run_pplava):
    words = ("what?", *ASK, "--model", folders["llava-next", "source"], "--pooling")
    assert "warning" not in run_pplava("ask", *inputs["video"], *words, "average").stderr
    assert "a thousandfold" in run_pplava("ask", *inputs["video"], *words, "literal").stderr


@pytest.mark.parametrize("name", MODELS)
def test_caption_heatmap_and_chat(name, folders, inputs, run_pplava, tmp_path, monkeypatch):
    import io
    import sys

    model = ("--model", folders[name, "source"], "--device", "cpu")
    for kind in ("video", "image"):
        assert run_pplava("caption", *inputs[kind], *model, "--max-new-tokens", "3").code == 0
        picture = tmp_path / f"{kind}.png"
        run = run_pplava("heatmap", *inputs[kind], "a red circle", "-o", picture, *model)
        assert run.code == 0, run.stderr
        assert picture.stat().st_size > 1000
    monkeypatch.setattr(sys, "stdin", io.StringIO("what?\nand then?\n/evidence\n"))
    for pooling in ((), ("--pooling", "average")):
        run = run_pplava("chat", *inputs["video"], *model, "--max-new-tokens", "3", *pooling)
        assert run.code == 0, run.stderr


def test_native_answers_in_a_chat(folders, inputs, run_pplava, monkeypatch):
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.StringIO("what?\nand then?\n"))
    model = ("--model", folders["llava-onevision", "bare"], "--pooling", "native")
    run = run_pplava("chat", *inputs["video"], *model, "--max-new-tokens", "3", "--device", "cpu")
    assert run.code == 0, run.stderr


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("kind", ["video", "image", "images"])
@pytest.mark.parametrize("name", MODELS)
def test_clips_that_others_read_are_made_ready_alike(name, kind, native, folders, inputs):
    model = load_model(folders[name, "bare"])
    opened = Session.open(
        inputs[kind], model, sampling=SIX_FRAMES if kind == "video" else None, native=native
    )
    clip = load_clip(
        inputs[kind],
        sampling=SIX_FRAMES if kind == "video" else Sampling(),
        pixels=model.config.pixels,
    )
    session = session_of(clip, model, native=native)
    torch.testing.assert_close(session.grid.features, opened.grid.features)
    assert session.source.tile_counts == opened.source.tile_counts
    assert session.source.picture_sizes == opened.source.picture_sizes
    assert session.seconds.tolist() == opened.seconds.tolist()
    shown, same = (one.clip().frames.astype(int) for one in (session, opened))
    assert abs(shown - same).max() <= 2  # what is shown is resized by Pillow, whoever cut


@pytest.mark.parametrize(
    ("text_type", "vocabulary", "template"),
    [
        ("llama", 32_064, "llava_vicuna"),
        ("llama", 64_064, "llava_yi"),
        ("llama", 128_320, "llava_llama3"),
        ("mistral", 32_064, "llava_mistral"),
        ("qwen2", 151_936, "llava_qwen"),
    ],
)
def test_the_language_model_says_how_prompts_are_worded(tmp_path, text_type, vocabulary, template):
    folder = tiny.write_llava_next(tmp_path / "model", text_type=text_type)
    path = folder / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["text_config"]["vocab_size"] = vocabulary
    path.write_text(json.dumps(values), encoding="utf-8")
    described = describe_model(folder)
    assert described.template == template
    assert described.is_base
    assert described.projector_order == "pool_first"
    assert described.weighting == "authors"
