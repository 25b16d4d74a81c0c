"""Still pictures: one, a set, a folder of numbered frames; and pictures that move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from media_films import numbered_picture, read_number, read_numbers, write_film
from PIL import Image

from pplava_core.errors import InputError, UsageError
from pplava_core.media import (
    iterate_frames,
    kind_of,
    load_clip,
    numbered_frames,
    pictures,
    sample_indices,
)
from pplava_core.types import Clip, PixelRule, Sampling


def load(paths: Path | list[Path], sampling: Sampling | None = None, **choices) -> Clip:
    choices.setdefault("pixels", None)
    return load_clip(paths, sampling=sampling or Sampling(), **choices)


def write_picture(path: Path, number: int, *, file_format: str | None = None, **size: int) -> Path:
    Image.fromarray(numbered_picture(number, **size)).save(path, format=file_format)
    return path


def write_moving(path: Path, count: int = 5) -> Path:
    frames = [Image.fromarray(numbered_picture(number)) for number in range(count)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "bmp", "gif", "tiff"])
def test_a_picture_is_a_clip_of_one_frame(tmp_path, suffix):
    path = write_picture(tmp_path / f"picture.{suffix}", 77)
    assert kind_of(path) == "image"
    clip = load(path, Sampling(num_frames=16))
    assert read_numbers(clip.frames) == [77]
    assert (clip.source.kind, clip.source.reader) == ("image", "pillow")
    assert (clip.source.fps, clip.source.duration_seconds) == (0.0, 0.0)
    assert (clip.source.width, clip.source.height) == (128, 96)
    assert (clip.seconds.tolist(), clip.source.warnings) == ([0.0], ())


@pytest.mark.parametrize("name", ["picture.mp4", "picture", "picture.txt"])
def test_a_picture_is_known_by_what_it_holds(tmp_path, name):
    path = write_picture(tmp_path / name, 5, file_format="JPEG")
    assert kind_of(path) == "image"
    clip = load(path)
    assert read_numbers(clip.frames) == [5]
    expected = ("a JPEG picture is named .mp4",) if name.endswith("mp4") else ()
    assert clip.source.warnings == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_shown_the_right_way_up(tmp_path, orientation):
    upright = numbered_picture(9)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=95)
    assert read_numbers(load(path).frames) == [9]


def test_what_shines_through_is_white(tmp_path):
    path = tmp_path / "logo.png"
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[0, 0] = (0, 0, 255, 255)
    Image.fromarray(pixels).save(path)
    frame = load(path).frames[0]
    assert frame[0, 0].tolist() == [0, 0, 255]
    assert (frame[1:] == 255).all()


def test_a_palette_with_a_transparent_colour(tmp_path):
    path = tmp_path / "logo.gif"
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.putdata([0, 1])
    picture.save(path, transparency=1)
    assert load(path).frames[0, 0].tolist() == [[255, 0, 0], [255, 255, 255]]


def test_sixteen_bits_are_brought_down_to_eight(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.array([[0, 256 * 100, 65535]], dtype=np.uint16)).save(path)
    assert load(path).frames[0, 0, :, 0].tolist() == [0, 100, 255]


def test_pixels_of_32_bits_are_refused(tmp_path):
    path = tmp_path / "depth.tiff"
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(path)
    with pytest.raises(InputError, match="8 bits"):
        load(path)


def test_a_cut_picture_is_refused(tmp_path):
    whole = write_picture(tmp_path / "whole.png", 3)
    path = tmp_path / "cut.png"
    path.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"cut\.png: (a damaged picture|not a picture)"):
        load(path)


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PICTURE_PIXELS", 100)
    with pytest.raises(InputError, match="128x96 pixels are more than the 100"):
        load(write_picture(tmp_path / "large.png", 3))


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_a_moving_picture_is_a_film(tmp_path, suffix):
    path = write_moving(tmp_path / f"moving.{suffix}")
    assert kind_of(path) == "video"
    clip = load(path, Sampling(fps=10.0))
    assert read_numbers(clip.frames) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(clip.seconds, [0.0, 0.1, 0.2, 0.3, 0.4], atol=1e-6)


def test_moving_webp_is_refused_rather_than_shown_in_part(tmp_path):
    with pytest.raises(InputError, match="animated WebP"):
        kind_of(write_moving(tmp_path / "moving.webp"))


def test_a_set_keeps_the_order_given(tmp_path):
    paths = [write_picture(tmp_path / f"{number}.png", number) for number in (8, 3, 5)]
    clip = load(paths, default_num_frames=2)
    assert read_numbers(clip.frames) == [8, 3, 5]
    assert clip.source.kind == "images"
    assert clip.source.paths == tuple(map(str, paths))
    assert clip.seconds.tolist() == [0.0, 1.0, 2.0]
    fewer = load(paths, Sampling(num_frames=2))
    assert fewer.source.indices == tuple(sample_indices(3, 2))
    assert len(load(paths, Sampling(num_frames=64)).frames) == 3


def test_pictures_of_several_sizes_are_fitted_to_the_first(tmp_path):
    first = write_picture(tmp_path / "first.png", 1)
    second = write_picture(tmp_path / "second.png", 2, height=200, width=300)
    clip = load([first, second])
    assert clip.frames.shape == (2, 96, 128, 3)
    assert read_numbers(clip.frames) == [1, 2]
    assert any("several sizes" in warning for warning in clip.source.warnings)
    sizes = [picture.shape[:2] for _, picture in iterate_frames(clip.source)]
    assert sizes == [(96, 128), (200, 300)]


def test_a_film_cannot_be_part_of_a_set(tmp_path):
    film = write_film(tmp_path / "film.mp4", range(3))
    picture = write_picture(tmp_path / "picture.png", 1)
    with pytest.raises(UsageError, match=r"film\.mp4: only still pictures"):
        load([picture, film])


@pytest.mark.parametrize("sampling", [Sampling(fps=1.0), Sampling(start_seconds=2.0)], ids=str)
def test_pictures_have_no_clock(tmp_path, sampling):
    with pytest.raises(UsageError, match="no clock"):
        load(write_picture(tmp_path / "picture.png", 1), sampling)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Frames 1 to 40 without leading zeros, and other things lying about."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(1, 41):
        write_picture(folder / f"frame_{number}.png", number)
    (folder / "notes.txt").write_text("not a frame")
    (folder / ".hidden.png").write_bytes(b"not a picture")
    (folder / "more").mkdir()
    return folder


def test_a_folder_of_numbered_frames_is_read_by_number(folder):
    assert kind_of(folder) == "frames"
    clip = load(folder, default_num_frames=8)
    assert list(clip.source.indices) == sample_indices(40, 8)
    assert read_numbers(clip.frames) == [index + 1 for index in clip.source.indices]
    assert clip.seconds.tolist() == list(clip.source.indices)
    assert (clip.source.kind, clip.source.frame_count) == ("frames", 40)
    again = [(seconds, read_number(picture)) for seconds, picture in iterate_frames(clip.source)]
    assert again == [(index, index + 1) for index in clip.source.indices]


def test_a_folder_with_fewer_frames_than_asked_for_repeats_some(folder):
    clip = load(folder, Sampling(num_frames=100), pixels=PixelRule(height=24, width=32))
    assert clip.frames.shape == (100, 24, 32, 3)
    assert any("repeatedly" in warning for warning in clip.source.warnings)


def test_a_folder_of_nothing_is_refused(tmp_path):
    (tmp_path / "film.mp4").mkdir()
    with pytest.raises(InputError, match="folder without pictures"):
        load(tmp_path / "film.mp4")


def test_numbers_sort_as_numbers(tmp_path):
    names = ["2.png", "10.png", "1.PNG", "b3.png", "a20.png", "a3_12.png", "a3_2.png", "010.png"]
    for name in names:
        (tmp_path / name).touch()
    sorted_names = [frame.name for frame in numbered_frames(tmp_path)]
    assert sorted_names == [
        "1.PNG",
        "2.png",
        "010.png",
        "10.png",
        "a3_2.png",
        "a3_12.png",
        "a20.png",
        "b3.png",
    ]
