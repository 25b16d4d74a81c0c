"""The command line on the real session and a real, if very small and untrained, model.

What it answers means nothing here; that every command runs from file to output does.
"""

from __future__ import annotations

import io
import json
import shutil
import sys

import pytest
from cli_fakes import write_picture
from small_models import small_model, write_clip

from pplava_cli.console import without_controls
from pplava_core.models.checkpoint import save_model


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "small"
    save_model(small_model(notice="small knows nothing"), folder)
    return folder


@pytest.fixture
def pplava(run_pplava, model_folder, monkeypatch):
    monkeypatch.setenv("PPLAVA_MODEL", str(model_folder))
    monkeypatch.setenv("PPLAVA_MAX_NEW_TOKENS", "6")
    monkeypatch.setenv("PPLAVA_DEVICE", "cpu")
    return run_pplava


@pytest.fixture
def film(tmp_path):
    return write_clip(tmp_path / "film.mp4")


def test_second_question_comes_from_the_cache(pplava, film):
    first = json.loads(pplava("ask", film, "how many?", "--json", "--evidence").stdout)
    run = pplava("ask", film, "what colour?", "--json", "--evidence")
    second = json.loads(run.stdout)
    assert (first["from_cache"], second["from_cache"]) == (False, True)
    assert first["timings"]["encode_seconds"] > 0
    assert second["timings"]["encode_seconds"] == 0
    assert first["sampling"] == second["sampling"]
    assert "features from cache" in run.stderr
    assert run.stderr.startswith("small knows nothing\n")
    cleared = json.loads(pplava("cache", "clear", "--json").stdout)
    assert cleared["entry_count"] == 1


def test_same_answer_in_words_and_json(pplava, film):
    words = pplava("ask", film, "how many?", "--quiet")
    record = json.loads(pplava("ask", film, "how many?", "--json").stdout)
    assert (words.code, words.stderr) == (0, "")
    assert words.stdout == without_controls(record["answer"]) + "\n"
    assert record["pooling"]["kernel"] == [2, 2, 2]
    assert record["pooling"]["token_count"] == 2 * 3 * 3


def test_budget_kernel_and_weighting(pplava, film):
    record = json.loads(pplava("ask", film, "what?", "--json", "--tokens", "5").stdout)
    assert record["pooling"]["token_count"] <= 5
    run = pplava("ask", film, "what?", "--json", "--kernel", "4,3,3", "--weighting", "average")
    record = json.loads(run.stdout)
    assert record["pooling"]["token_count"] == 4
    assert "warning: small was trained with 'literal' weighting" in run.stderr
    run = pplava("ask", film, "what?", "--json", "--weighting", "none")
    assert json.loads(run.stdout)["pooling"]["kernel"] is None


def test_range_keeps_the_clock(pplava, film):
    run = pplava("ask", film, "what?", "--json", "--from", "1", "--to", "0:02", "--evidence")
    record = json.loads(run.stdout)
    times = [frame["seconds"] for frame in record["sampling"]["frames"]]
    assert times
    assert all(1 <= time < 2 for time in times)
    assert all(moment["start_seconds"] >= 1 for moment in record["evidence"])
    assert all(moment["stop_seconds"] <= 2 for moment in record["evidence"])


def test_range_beyond_the_film_is_usage(pplava, film):
    run = pplava("ask", film, "what?", "--from", "100", "--quiet")
    assert (run.code, run.stdout) == (2, "")
    assert len(run.stderr.splitlines()) == 1


def test_pictures_are_one_set(pplava, tmp_path):
    pictures = [write_picture(tmp_path / f"{n}.png", shade=40 * n) for n in range(3)]
    record = json.loads(pplava("ask", *pictures, "which?", "--json", "--evidence").stdout)
    assert record["sampling"]["kind"] == "images"
    assert record["inputs"] == [str(picture) for picture in pictures]


def test_broken_film_among_good_ones(pplava, film, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(film.read_bytes()[:200])
    run = pplava("caption", broken, film, "--json")
    kinds = [json.loads(line)["type"] for line in run.stdout.splitlines()]
    assert (run.code, kinds) == (1, ["error", "answer"])


def test_chat_with_heatmap(pplava, film, tmp_path, monkeypatch):
    lines = f"what?\n/heatmap {tmp_path / 'seen.gif'}\n/from 1\nand then?\n/evidence\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    run = pplava("chat", film, "--quiet")
    assert (run.code, run.stderr) == (0, "")
    assert (tmp_path / "seen.gif").read_bytes().startswith(b"GIF8")
    assert run.stdout.splitlines()[-1].endswith("s")


def test_frames_are_those_of_the_answer(pplava, film, tmp_path):
    asked = json.loads(pplava("ask", film, "what?", "--json").stdout)["sampling"]["frames"]
    written = json.loads(pplava("frames", film, "-o", tmp_path / "seen", "--json").stdout)
    shown = [{k: f[k] for k in ("index", "seconds")} for f in written["sampling"]["frames"]]
    assert shown == asked


def test_damaged_model_is_four(run_pplava, model_folder, film, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(model_folder, broken)
    (broken / "model.safetensors").write_bytes(b"nothing")
    run = run_pplava("ask", film, "what?", "--model", broken)
    assert (run.code, run.stdout) == (4, "")
    assert len(run.stderr.splitlines()) == 1


def test_models_info_reads_the_folder(run_pplava, model_folder):
    run = run_pplava("models", "info", model_folder)
    assert f"folder: {model_folder}" in run.stdout
    assert run_pplava("models", "path", model_folder).stdout == f"{model_folder}\n"
    assert run_pplava("models", "info", "giant").code == 4


def test_unknown_device_is_usage(pplava, film):
    run = pplava("ask", film, "what?", "--device", "fluxcapacitor")
    assert (run.code, run.stdout) == (2, "")
    assert len(run.stderr.splitlines()) == 1
