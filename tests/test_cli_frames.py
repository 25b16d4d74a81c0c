"""`pplava frames`: the files it writes, and what it never overwrites."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image


def test_writes_what_the_model_sees(run_pplava, make_files, fakes, tmp_path):
    (film,) = make_files("a.mp4")
    run = run_pplava("frames", film, "-o", tmp_path / "out" / "seen")
    assert run.code == 0
    names = [line.rpartition("/")[2] for line in run.stdout.splitlines()]
    folder = tmp_path / "out" / "seen"
    assert sorted(path.name for path in folder.iterdir()) == [*names, "sampling.json"]
    record = json.loads((folder / "sampling.json").read_text())
    frames = record["sampling"]["frames"]
    assert [frame["file"] for frame in frames] == names
    for frame in frames:
        assert f"_{frame['seconds']:08.3f}s.png" in frame["file"]
        picture = np.asarray(Image.open(folder / frame["file"]))
        assert picture.shape == (24, 40, 3)
        assert abs(float(picture.mean()) - (20 + 25 * frame["index"])) < 8
    assert record["model"]["pixels"] == {"height": 24, "width": 40, "resize": "squash"}
    assert f"{film}: 4 of 8 frames" in run.stderr


def test_original_size_is_undistorted(run_pplava, make_files, fakes, tmp_path):
    folder = tmp_path / "full"
    run = run_pplava("frames", *make_files("a.mp4"), "-o", folder, "--size", "original", "--json")
    record = json.loads(run.stdout)
    assert (record["size"], record["folder"]) == ("original", str(folder))
    for frame in record["sampling"]["frames"]:
        picture = np.asarray(Image.open(folder / frame["file"]))
        assert picture.shape == (48, 64, 3)
        assert abs(float(picture.mean()) - (20 + 25 * frame["index"])) < 8


def test_pictures_are_numbered_without_times(run_pplava, make_files, fakes, tmp_path):
    run = run_pplava("frames", *make_files("a.png"), "-o", tmp_path / "seen", "--quiet")
    assert (run.stdout, run.stderr) == (f"{tmp_path / 'seen' / '0000.png'}\n", "")


def test_the_folder_can_be_read_back(run_pplava, make_files, fakes, tmp_path):
    run_pplava("frames", *make_files("a.mp4"), "-o", tmp_path / "seen")
    run = run_pplava("frames", tmp_path / "seen", "-o", tmp_path / "again", "--json")
    sampling = json.loads(run.stdout)["sampling"]
    assert sampling["kind"] == "frames"
    first = sorted((tmp_path / "seen").glob("*.png"))
    for frame in sampling["frames"]:
        again = tmp_path / "again" / frame["file"]
        assert again.read_bytes() == first[frame["index"]].read_bytes()


def test_existing_folder_needs_force(run_pplava, make_files, fakes, tmp_path):
    (film,) = make_files("a.mp4")
    command = ("frames", film, "-o", tmp_path / "seen", "--quiet")
    assert run_pplava(*command).code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "seen").iterdir()}
    run = run_pplava(*command, "--frames", "2")
    assert (run.code, run.stdout) == (2, "")
    assert "--force" in run.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "seen").iterdir()} == before
    run = run_pplava(*command, "--frames", "2", "--force")
    assert run.code == 0
    assert len(list((tmp_path / "seen").glob("*.png"))) == 2


def test_force_spares_folders_with_other_files(run_pplava, make_files, fakes, tmp_path):
    (film,) = make_files("a.mp4")
    run = run_pplava("frames", film, "-o", tmp_path, "--force")
    assert (run.code, run.stdout) == (2, "")
    assert film.exists()
    run = run_pplava("frames", film, "-o", film, "--force")
    assert run.code == 2
    assert film.stat().st_size > 0


@pytest.mark.parametrize("damage", ["missing", "text"])
def test_unreadable_input_leaves_nothing_behind(run_pplava, fakes, tmp_path, damage):
    film = tmp_path / "film.mp4"
    if damage == "text":
        film.write_text("not a film")
    before = set(tmp_path.iterdir())
    run = run_pplava("frames", film, "-o", tmp_path / "seen")
    assert (run.code, run.stdout) == (3, "")
    assert len(run.stderr.splitlines()) == 1
    assert set(tmp_path.iterdir()) == before


def test_interrupted_writing_leaves_nothing_behind(
    run_pplava, make_files, fakes, tmp_path, monkeypatch
):
    (film,) = make_files("a.mp4")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupted)
    assert run_pplava("frames", film, "-o", tmp_path / "seen").code == 130
    assert set(tmp_path.iterdir()) == {film}


def test_place_that_cannot_be_written_is_a_usage_error(run_pplava, make_files, fakes, tmp_path):
    (film,) = make_files("a.mp4")
    run = run_pplava("frames", film, "-o", film / "below" / "a" / "file")
    assert (run.code, run.stdout) == (2, "")
    assert "choose another place" in run.stderr
