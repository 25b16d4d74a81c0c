"""The command line on a whole checkpoint of the authors: their film in, their words out."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from small_models import write_clip
from transformers import AutoTokenizer

from pplava_core.models.language.text_pieces import TextPieces

FOLDER = Path(__file__).parent / "golden" / "clip_plain"
VIDEO = json.loads((FOLDER / "io.json").read_bytes())["video"]
WRITTEN = VIDEO["greedy"]["new_ids"]


@pytest.fixture
def pplava(run_pplava, monkeypatch):
    monkeypatch.setenv("PPLAVA_MODEL", str(FOLDER / "checkpoint"))
    monkeypatch.setenv("PPLAVA_MAX_NEW_TOKENS", str(len(WRITTEN)))
    monkeypatch.setenv("PPLAVA_DEVICE", "cpu")
    return run_pplava


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """The authors' film as a folder of frames, which loses nothing."""
    folder = tmp_path_factory.mktemp("film")
    for number, frame in enumerate(load_file(FOLDER / "io.safetensors")["video.frames_uint8"]):
        Image.fromarray(frame).save(folder / f"{number + 1:06d}.png")
    return folder


def their_words():
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / "checkpoint")
    pieces = TextPieces(lambda ids: tokenizer.decode(ids, skip_special_tokens=True))
    return "".join(map(pieces.add, WRITTEN)) + pieces.finish()


def test_ask_answers_their_question_with_their_words(pplava, film):
    run = pplava("ask", film, VIDEO["question"], "--frames", len(list(film.iterdir())), "--json")
    assert run.code == 0, run.stderr
    record = json.loads(run.stdout)
    assert record["answer"] == their_words()
    assert record["pooling"] == {
        **record["pooling"], "kernel": [2, 3, 3], "stride": [2, 3, 3], "token_count": 16,
    }  # fmt: skip


def test_caption_and_chat(pplava, tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "film.mp4")
    run = pplava("caption", clip, "--quiet")
    assert (run.code, run.stderr) == (0, "")
    assert run.stdout.strip()
    monkeypatch.setattr(sys, "stdin", io.StringIO("What is it?\nAnd what then?\n"))
    run = pplava("chat", clip, "--quiet")
    assert (run.code, run.stderr) == (0, "")
    assert run.stdout.strip()


@pytest.mark.parametrize("pooling", ["average", "none", "max", "window"])
def test_every_way_of_pooling_a_film(pplava, film, pooling):
    record = json.loads(
        pplava("ask", film, "What?", "--frames", "4", "--pooling", pooling, "--json").stdout
    )
    assert record["pooling"]["token_count"] == (4 * 6 * 6 if pooling == "none" else 2 * 2 * 2)


def test_its_own_path_is_for_pictures(pplava, film, tmp_path):
    run = pplava("ask", film, "What?", "--frames", "4", "--pooling", "native", "--quiet")
    assert (run.code, run.stdout) == (2, "")
    assert "no path of its own for films" in run.stderr
    picture = tmp_path / "wide.png"
    noise = np.random.default_rng(0).integers(0, 256, (90, 150, 3), dtype=np.uint8)
    Image.fromarray(noise).save(picture)
    run = pplava("ask", picture, "What?", "--pooling", "native", "--json")
    # the whole, and the rows of four tiles without their padding, each with its end
    assert json.loads(run.stdout)["pooling"]["token_count"] == 6 * 6 + 8 * (12 + 1)


def test_a_picture_is_cut_and_several_are_a_set(pplava, film, tmp_path):
    first, second = sorted(film.iterdir())[:2]
    one = json.loads(pplava("ask", first, "What?", "--json").stdout)
    assert one["sampling"]["kind"] == "image"
    assert one["pooling"]["token_count"] > 2 * 2
    two = json.loads(pplava("ask", first, second, "What?", "--json").stdout)
    assert two["pooling"]["token_count"] == 2 * 2 * 2


def test_heatmap_of_a_film_and_of_a_cut_picture(pplava, film, tmp_path):
    for number, shown in enumerate((film, min(film.iterdir()))):
        target = tmp_path / f"{number}.png"
        run = pplava("heatmap", shown, "what moves?", "-o", target, "--quiet")
        assert run.code == 0, run.stderr
        assert Image.open(target).size[0] > 100
