"""The command line on a whole tiny InternVL, without an aligner and with one of our own making."""

from __future__ import annotations

import io
import json
import shutil
import sys

import pytest
import torch
from aligner_pairs import write_align_recipe, write_pairs
from cli_fakes import write_picture
from small_models import write_clip as write_film
from tiny_internvl import write_clip, write_internvl

from pplava_core.models.layouts.aligner_folder import save_aligner
from pplava_core.train.align_base import new_aligner


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_internvl(tmp_path_factory.mktemp("plain") / "tiny")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip")


@pytest.fixture(scope="module")
def aligned(plain, clip_folder, tmp_path_factory):
    folder = shutil.copytree(plain, tmp_path_factory.mktemp("aligned") / "tiny")
    torch.manual_seed(0)
    save_aligner(new_aligner(clip_folder, patch_width=64), folder / "aligner")
    return folder


@pytest.fixture
def pplava(run_pplava, monkeypatch):
    monkeypatch.setenv("PPLAVA_MAX_NEW_TOKENS", "4")
    monkeypatch.setenv("PPLAVA_DEVICE", "cpu")
    return run_pplava


@pytest.fixture
def film(tmp_path):
    return write_film(tmp_path / "film.mp4", num_frames=9)


def test_without_an_aligner_both_ways_on_are_named(pplava, plain, film, tmp_path):
    for command in (
        ("ask", film, "what moves?"),
        ("heatmap", film, "what moves?", "-o", tmp_path / "seen.png"),
    ):
        run = pplava(*command, "--model", plain, "--quiet", "--frames", "2")
        assert (run.code, run.stdout) == (4, "")
        assert len(run.stderr.splitlines()) == 1
        assert "--pooling average" in run.stderr
        assert "align_base" in run.stderr
    assert not (tmp_path / "seen.png").exists()


@pytest.mark.parametrize(("pooling", "tokens"), [("average", 2 * 25), ("native", 4 * 256)])
def test_without_an_aligner_unguided_pooling_answers(pplava, plain, film, pooling, tokens):
    options = ("--model", plain, "--pooling", pooling, "--frames", "4", "--json")
    for command in (("ask", film, "what moves?"), ("caption", film)):
        run = pplava(*command, *options)
        assert run.code == 0, run.stderr
        record = json.loads(run.stdout)
        assert record["pooling"]["token_count"] == tokens
        assert "warning" not in run.stderr


def test_chat_without_an_aligner(pplava, plain, film, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("what?\nand then?\n"))
    options = ("--model", plain, "--pooling", "average", "--frames", "4", "--quiet")
    run = pplava("chat", film, *options)
    assert (run.code, run.stderr) == (0, "")


def test_with_an_aligner_every_command_works(pplava, aligned, film, tmp_path, monkeypatch):
    options = ("--model", aligned, "--frames", "4")
    record = json.loads(pplava("ask", film, "what moves?", "--json", "--evidence", *options).stdout)
    assert record["pooling"]["token_count"] == 2 * 25
    assert record["pooling"]["kernel"] == [2, 4, 4]
    assert record["evidence"]
    assert pplava("caption", film, *options, "--quiet").code == 0
    assert pplava("heatmap", film, "what?", "-o", tmp_path / "seen.png", *options).code == 0
    assert (tmp_path / "seen.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(sys, "stdin", io.StringIO("what?\nand then?\n"))
    run = pplava("chat", film, *options, "--quiet")
    assert (run.code, run.stderr) == (0, "")


def test_pictures_are_tiles_alone_and_one_tile_in_a_set(pplava, aligned, tmp_path):
    pictures = [write_picture(tmp_path / f"{n}.png", shade=40 * n) for n in range(2)]
    one = json.loads(pplava("ask", pictures[0], "which?", "--json", "--model", aligned).stdout)
    both = json.loads(pplava("ask", *pictures, "which?", "--json", "--model", aligned).stdout)
    assert one["pooling"]["token_count"] % 25 == 0
    assert one["pooling"]["token_count"] > 25
    assert both["pooling"]["token_count"] == 2 * 25


def test_info_says_what_it_is_and_what_it_lacks(pplava, plain, aligned):
    without = json.loads(pplava("models", "info", plain, "--json").stdout)
    assert without["backbone"] == "internvl3"
    assert without["description"] == "internvl model; without an aligner (docs/training.md)"
    whole = json.loads(pplava("models", "info", aligned, "--json").stdout)
    assert whole["description"] == "internvl model"


def test_training_ends_with_how_to_use_what_it_made(pplava, plain, clip_folder, tmp_path):
    recipe = write_align_recipe(
        tmp_path / "r.toml",
        base=plain,
        clip=clip_folder,
        pairs=write_pairs(tmp_path / "pairs", 6),
        steps=2,
    )
    run = pplava("train", "--config", recipe)
    assert run.code == 0, run.stderr
    made = tmp_path / "run" / "aligner"
    assert run.stdout == f"{made}\n"
    assert f"cp -r {made} {plain / 'aligner'}" in run.stderr
