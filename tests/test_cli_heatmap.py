"""`pplava heatmap`: the forms it writes, what it never overwrites, what it says."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from cli_fakes import FakeSession
from PIL import Image

from pplava_core.heatmap.layout import sheet_layout
from pplava_core.types import Relevance

GOLDEN = json.loads((Path(__file__).parent / "json_schema_1.json").read_text())


@pytest.fixture
def seeing(fakes, monkeypatch):
    """Stand-ins whose questions point somewhere: at the frame that the text's length names."""

    def relevance(session, text):
        seconds = session.grid.seconds
        weights = torch.ones(len(seconds), 2, 3)
        weights[len(text) % len(seconds), 1, 2] = 30.0
        return Relevance(weights=weights / weights.sum(), seconds=seconds, text=text)

    monkeypatch.setattr(FakeSession, "relevance", relevance)
    return fakes


@pytest.mark.parametrize("command", ["heatmap", "visualize-attention"])
def test_a_sheet_shows_the_film_undistorted(run_pplava, make_files, seeing, tmp_path, command):
    (film,) = make_files("a.mp4")
    target = tmp_path / "out" / "sheet.png"
    run = run_pplava(command, film, "where is it?", "-o", target)
    assert (run.code, run.stdout) == (0, f"{target}\n")
    assert f"{film}: 4 of 8 frames" in run.stderr
    with Image.open(target) as sheet:
        assert sheet.width > 1000


def test_two_questions_make_a_wider_film(run_pplava, make_files, seeing, tmp_path):
    (film,) = make_files("a.mp4")
    one, two = tmp_path / "one.mp4", tmp_path / "two.mp4"
    assert run_pplava("heatmap", film, "where?", "-o", one).code == 0
    run = run_pplava("heatmap", film, "where?", "-o", two, "--compare", "what is it?")
    assert run.code == 0
    widths = []
    for path in (one, two):
        with av.open(str(path)) as container:
            widths.append(container.streams.video[0].width)
            assert len(list(container.decode(video=0))) == 4
    assert widths[1] > 1.8 * widths[0]


def test_pages_are_named_by_the_times_of_the_frames(run_pplava, make_files, seeing, tmp_path):
    target = tmp_path / "pages"
    run = run_pplava("heatmap", *make_files("a.mp4"), "where?", "-o", f"{target}/")
    times = ["0000.000", "0000.500", "0001.000", "0001.500"]
    names = [f"{number:04d}_{time}s.png" for number, time in enumerate(times)]
    assert run.stdout.splitlines() == [str(target / name) for name in names]
    assert sorted(path.name for path in target.iterdir()) == names


def test_pages_replace_older_pages_and_nothing_else(run_pplava, make_files, seeing, tmp_path):
    pictures = make_files("1.png", "2.png", "3.png")
    target = tmp_path / "pages"
    assert run_pplava("heatmap", *pictures, "where?", "-o", target).code == 0
    assert len(list(target.iterdir())) == 3
    assert run_pplava("heatmap", *pictures[:2], "where?", "-o", target).code == 0
    assert sorted(path.name for path in target.iterdir()) == ["0000.png", "0001.png"]

    (target / "notes.txt").write_text("mine")
    run = run_pplava("heatmap", *pictures, "where?", "-o", target)
    assert run.code == 2
    assert "holds other files" in run.stderr
    assert len(list(target.iterdir())) == 3


def test_the_film_itself_is_never_overwritten(run_pplava, make_files, seeing):
    (film,) = make_files("a.mp4")
    before = film.read_bytes()
    run = run_pplava("heatmap", film, "where?", "-o", film)
    assert run.code == 2
    assert "choose another name" in run.stderr
    assert film.read_bytes() == before
    assert seeing.loads == []


def test_an_older_heatmap_is_replaced(run_pplava, make_files, seeing, tmp_path):
    (film,) = make_files("a.mp4")
    target = tmp_path / "sheet.png"
    run_pplava("heatmap", film, "where?", "-o", target)
    before = target.read_bytes()
    assert run_pplava("heatmap", film, "where is it?", "-o", target).code == 0
    assert target.read_bytes() != before


def test_patches_can_be_shown_bare(run_pplava, make_files, seeing, tmp_path):
    (film,) = make_files("a.mp4")
    smooth, bare = tmp_path / "smooth.png", tmp_path / "bare.png"
    run_pplava("heatmap", film, "where?", "-o", smooth)
    run_pplava("heatmap", film, "where?", "-o", bare, "--patches")
    cell = sheet_layout(1, 4, aspect=64 / 48).cell(0, len("where?") % 4)
    steepest = []
    for path in (smooth, bare):
        with Image.open(path) as sheet:
            steepest.append(np.abs(np.diff(np.asarray(sheet.crop(cell)).astype(int), axis=1)).max())
    assert steepest[1] > 2 * steepest[0]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["where?", "-o", "sheet.jpg"], ".png, .mp4 or .gif"),
        (["where?"], "--output"),
        (["where?", "-o", "a.png", "--compare", " "], "--compare needs a question"),
        (["where?", "-o", "a.png", "--frames", "0"], "--frames"),
        (["-o", "a.png"], "the question is missing"),
    ],
)
def test_mistakes_are_found_before_the_model_is_loaded(
    run_pplava, make_files, seeing, arguments, hint, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    run = run_pplava("heatmap", *make_files("a.mp4"), *arguments)
    assert run.code == 2
    assert hint in run.stderr
    assert seeing.loads == []
    assert run.stdout == ""


def test_one_clip_at_a_time(run_pplava, make_files, seeing, tmp_path):
    run = run_pplava(
        "heatmap", *make_files("a.mp4", "b.mp4"), "where?", "-o", tmp_path / "sheet.png"
    )
    assert run.code == 2
    assert "one video" in run.stderr


def test_an_unreadable_film_is_exit_code_3(run_pplava, seeing, tmp_path):
    run = run_pplava("heatmap", tmp_path / "gone.mp4", "where?", "-o", tmp_path / "sheet.png")
    assert run.code == 3
    assert not (tmp_path / "sheet.png").exists()


def shape(value):
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def test_json(run_pplava, make_files, seeing, tmp_path):
    (film,) = make_files("a.mp4")
    target = tmp_path / "sheet.gif"
    run = run_pplava("heatmap", film, "abc", "-o", target, "--compare", "ab", "--json")
    record = json.loads(run.stdout)
    assert shape(record) == GOLDEN["heatmap"]
    assert (record["form"], record["files"]) == ("gif", [str(target)])
    assert [one["question"] for one in record["questions"]] == ["abc", "ab"]
    moments = [one["evidence"][0] for one in record["questions"]]
    assert [moment["peak_seconds"] for moment in moments] == [1.5, 1.0]
    assert moments[0]["peak_box"] == {"left": 2 / 3, "top": 0.5, "right": 1.0, "bottom": 1.0}
