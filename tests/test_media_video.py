"""Films in many containers and codecs: every frame is the one it should be, at its time."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from media_films import HEIGHT, WIDTH, numbered_picture, read_number, read_numbers, write_film

from pplava_core.errors import UsageError
from pplava_core.media import _pyav, iterate_frames, kind_of, load_clip, sample_indices
from pplava_core.media._pyav import PyavReader
from pplava_core.types import Clip, PixelRule, Sampling

ROOT = Path(__file__).parent.parent
LONG_GROUPS = {"g": "250", "bf": "3"}
OPEN_GROUPS = {"x264-params": "open-gop=1:keyint=20:bframes=3:scenecut=0"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}

FILMS = {
    "long_groups.mp4": {"codec_options": LONG_GROUPS},
    "open_groups.mp4": {"codec_options": OPEN_GROUPS},
    "key_frames.mp4": {"codec_options": {"g": "1"}},
    "gradual_refresh.mp4": {"codec_options": {"x264-params": "intra-refresh=1:keyint=20"}},
    "fragments.mp4": {"muxer_options": FRAGMENTS},
    "mpeg4.mp4": {"codec": "mpeg4", "codec_options": {"bf": "2"}},
    "ten_bits.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le"},
    "h264.mkv": {},
    "h264.ts": {},
    "h264.flv": {},
    "mpeg4.avi": {"codec": "mpeg4", "codec_options": {"bf": "2"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "codec_options": {"bf": "2"}},
    "wmv2.wmv": {"codec": "wmv2"},
    "hidden_frames.webm": {
        "codec": "libvpx",
        "codec_options": {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "300k", "cpu-used": "4"},
    },
    "odd_size.mkv": {"codec": "ffv1", "pixel_format": "yuv444p", "height": 97, "width": 131},
}


def load(path: Path, num_frames: int | None = 16, **choices) -> Clip:
    pixels = choices.pop("pixels", None)
    return load_clip(path, sampling=Sampling(num_frames=num_frames, **choices), pixels=pixels)


def assert_numbered(clip: Clip, *, first_number: int = 0) -> None:
    assert read_numbers(clip.frames) == [first_number + index for index in clip.source.indices]


@pytest.fixture(scope="module")
def long_film(tmp_path_factory) -> Path:
    """300 frames at 30 fps, a key frame every 30."""
    path = tmp_path_factory.mktemp("films") / "long.mp4"
    return write_film(path, range(300), codec_options={"g": "30", "bf": "3"})


@pytest.mark.parametrize("name", FILMS)
def test_frames_and_times_of_a_film(tmp_path, name):
    path = write_film(tmp_path / name, range(90), **FILMS[name])
    clip = load(path)
    assert_numbered(clip)
    assert list(clip.source.indices) == sample_indices(90, 16)
    np.testing.assert_allclose(clip.seconds, np.array(clip.source.indices) / 30, atol=2e-3)
    assert clip.source.fps == pytest.approx(30, abs=0.05)
    assert clip.source.duration_seconds == pytest.approx(3.0, abs=0.05)
    assert (clip.source.frame_count, clip.source.warnings) == (90, ())
    assert (clip.source.kind, clip.source.reader) == ("video", "pyav")
    assert kind_of(path) == "video"


def test_a_raw_stream_without_time_stamps_is_counted(tmp_path):
    clip = load(write_film(tmp_path / "film.h264", range(60), muxer="h264"))
    assert_numbered(clip)
    assert clip.seconds[0] == clip.source.indices[0] / clip.source.fps
    assert "counted" in clip.source.warnings[0]


def test_an_animated_gif_is_a_film(tmp_path):
    path = tmp_path / "film.gif"
    write_film(path, range(20), codec="gif", pixel_format="rgb8", fps=10)
    assert kind_of(path) == "video"
    clip = load(path, 5)
    assert_numbered(clip)
    np.testing.assert_allclose(clip.seconds, np.array(clip.source.indices) / 10)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_uneven_frames_keep_their_times(tmp_path, suffix):
    times = [*range(0, 30, 3), *range(30, 60), *range(60, 200, 10)]
    path = tmp_path / f"uneven.{suffix}"
    write_film(path, times, pts=times, time_base=Fraction(1, 30))
    clip = load(path)
    assert read_numbers(clip.frames) == [times[index] for index in clip.source.indices]
    np.testing.assert_allclose(clip.seconds * 30, read_numbers(clip.frames), atol=0.02)
    part = load(path, None, fps=2.0, start_seconds=3.0, stop_seconds=6.2)
    assert read_numbers(part.frames) == [90, 100, 120, 130, 150, 160, 180]


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_rotated_film_is_shown_as_players_show_it(tmp_path, quarter_turns):
    degrees = {1: 90, 2: 180, 3: -90}[quarter_turns]
    path = write_film(tmp_path / "turned.mp4", range(10), rotation=degrees)
    clip = load(path, 4)
    upright = [np.rot90(frame, -quarter_turns) for frame in clip.frames]
    assert read_numbers(upright) == list(clip.source.indices)
    shape = np.rot90(numbered_picture(0), quarter_turns).shape
    assert (clip.source.height, clip.source.width, 3) == shape == clip.frames.shape[1:]


def test_the_clock_starts_with_the_container(tmp_path):
    path = write_film(tmp_path / "late.mkv", range(60), pts=[3000 + place for place in range(60)])
    clip = load(path)
    assert_numbered(clip)
    np.testing.assert_allclose(clip.seconds, np.array(clip.source.indices) / 30, atol=2e-3)
    assert clip.source.warnings == ()


def test_a_picture_that_comes_after_the_sound_keeps_its_delay(tmp_path):
    path = tmp_path / "delayed.mp4"
    write_film(path, range(60), pts=[60 + place for place in range(60)], silence_seconds=4.0)
    clip = load(path)
    assert_numbered(clip)
    np.testing.assert_allclose(clip.seconds, 2 + np.array(clip.source.indices) / 30, atol=1e-6)
    before = load(path, 3, start_seconds=1.0, stop_seconds=2.1)
    assert set(before.source.indices) <= {0, 1, 2}


def test_frames_before_an_edit_lists_start_are_not_shown(tmp_path):
    path = tmp_path / "edited.mp4"
    write_film(path, range(60), pts=[place - 20 for place in range(60)], codec_options=LONG_GROUPS)
    clip = load(path, 8)
    assert clip.source.frame_count == 40
    assert_numbered(clip, first_number=20)
    np.testing.assert_allclose(clip.seconds, np.array(clip.source.indices) / 30, atol=1e-6)


def test_a_film_of_one_frame(tmp_path):
    clip = load(write_film(tmp_path / "one.mp4", [7]), 8)
    assert read_numbers(clip.frames) == [7] * 8
    assert clip.source.indices == (0,) * 8
    assert clip.source.duration_seconds > 0
    assert "repeatedly" in clip.source.warnings[-1]


def test_sound_beside_the_film_changes_nothing(tmp_path):
    clip = load(write_film(tmp_path / "sound.mp4", range(60), silence_seconds=3.0))
    assert_numbered(clip)
    assert clip.source.warnings == ()


def test_cover_art_is_not_the_film(tmp_path):
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as container:
        cover = add_stream(container, "mjpeg", "yuvj420p", height=192, width=256)
        cover.disposition = Disposition.attached_pic
        film = add_stream(container, "libx264", "yuv420p", height=HEIGHT, width=WIDTH)
        for stream, numbers in ((cover, [77]), (film, range(30))):
            for number in numbers:
                picture = numbered_picture(number, height=stream.height, width=stream.width)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    assert_numbered(load(path))


def test_of_two_films_in_one_file_the_larger_is_shown(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        small = add_stream(container, "libx264", "yuv420p", height=48, width=64)
        large = add_stream(container, "libx264", "yuv420p", height=96, width=128)
        for stream, first in ((small, 500), (large, 0)):
            for number in range(first, first + 20):
                picture = numbered_picture(number, height=stream.height, width=stream.width)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    clip = load(path)
    assert_numbered(clip)
    assert clip.source.width == 128


def add_stream(container: Any, codec: str, pixel_format: str, *, height: int, width: int) -> Any:
    stream = container.add_stream(codec, rate=30)
    stream.height, stream.width, stream.pix_fmt = height, width, pixel_format
    return stream


def test_files_joined_with_another_size_are_read_in_order(tmp_path):
    small = write_film(tmp_path / "small.ts", range(40))
    large = write_film(tmp_path / "large.ts", range(40, 80), height=192, width=256)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    clip = load(joined, 8)
    numbers = read_numbers(clip.frames)
    assert None not in numbers
    assert numbers == sorted(numbers)
    assert numbers[0] < 10
    assert numbers[-1] > 70
    assert any("time stamps" in warning for warning in clip.source.warnings)
    assert any("several sizes" in warning for warning in clip.source.warnings)


def test_a_range_takes_frames_inside_it_and_keeps_the_films_clock(long_film):
    clip = load(long_film, 8, start_seconds=4.0, stop_seconds=6.0)
    assert_numbered(clip)
    assert clip.seconds.min() >= 4.0
    assert clip.seconds.max() < 6.0
    assert clip.source.indices == tuple(120 + index for index in sample_indices(60, 8))
    assert (clip.source.start_seconds, clip.source.stop_seconds) == (4.0, 6.0)
    assert clip.source.duration_seconds == pytest.approx(10.0)


def test_a_range_may_reach_past_the_end_but_not_start_there(long_film):
    clip = load(long_film, 4, start_seconds=9.9, stop_seconds=1000.0)
    assert clip.source.stop_seconds == pytest.approx(10.0)
    assert min(clip.source.indices) >= 297
    with pytest.raises(UsageError, match=r"starts at 10 s but the film ends at 10\.00 s"):
        load(long_film, 4, start_seconds=10.0)


def test_frames_per_second(long_film):
    clip = load(long_film, None, fps=2.5)
    assert clip.source.indices == tuple(range(0, 300, 12))
    assert_numbered(clip)


def test_the_default_number_is_used_when_none_is_asked_for(long_film):
    clip = load_clip(long_film, sampling=Sampling(), pixels=None, default_num_frames=5)
    assert len(clip.frames) == len(clip.seconds) == 5


def test_seeking_gives_what_reading_in_order_gives_and_decodes_less(long_film, monkeypatch):
    decoded_count = 0
    decode = _pyav._decoded

    def counting(*arguments):
        nonlocal decoded_count
        for frame in decode(*arguments):
            decoded_count += 1
            yield frame

    monkeypatch.setattr(_pyav, "_decoded", counting)
    wanted = [3, 31, 149, 150, 291]
    seeking, in_order = PyavReader(long_film), PyavReader(long_film)
    by_seek = dict(seeking.read(wanted))
    assert decoded_count < 120
    in_order._may_seek = False
    by_order = dict(in_order.read(wanted))
    assert list(by_seek) == list(by_order) == wanted
    for index in wanted:
        np.testing.assert_array_equal(by_seek[index], by_order[index])


@pytest.mark.parametrize("shift", [1, 40], ids=["to the next group", "to the end"])
def test_a_seek_that_lands_late_is_found_out(long_film, shift):
    reader = PyavReader(long_film)
    keys = reader._table.key_pts
    reader._table.key_pts[:] = np.append(keys[shift:], [keys[-1]] * min(shift, len(keys)))
    frames = dict(reader.read([10, 100, 250]))
    assert {index: read_number(picture) for index, picture in frames.items()} == {
        10: 10,
        100: 100,
        250: 250,
    }
    assert reader.warnings == []


def test_pictures_are_brought_to_size_as_they_are_decoded(long_film, monkeypatch):
    import tracemalloc

    rule = PixelRule(height=24, width=32)
    load(long_film, 16, pixels=rule)
    tracemalloc.start()
    clip = load(long_film, 1024, pixels=rule)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    full_size_bytes = numbered_picture(0).nbytes
    assert clip.frames.shape == (1024, 24, 32, 3)
    # 300 full-size pictures would be 11 MB
    assert peak_bytes < clip.frames.nbytes + 20 * full_size_bytes
    assert_numbered(clip)


def test_a_clip_larger_than_memory_is_refused_before_it_is_made(long_film):
    rule = PixelRule(height=10_000, width=10_000)
    with pytest.raises(UsageError, match="take fewer frames"):
        load(long_film, 32, pixels=rule)


def test_padding_keeps_the_shape_of_the_picture(long_film):
    clip = load(long_film, 2, pixels=PixelRule(height=128, width=128, resize="pad"))
    assert not clip.frames[:, :16].any()
    assert not clip.frames[:, 112:].any()
    assert read_numbers(clip.frames[:, 16:112]) == list(clip.source.indices)


def test_progress_is_told_for_every_frame(long_film):
    calls: list[tuple[int, int]] = []
    load_clip(
        long_film,
        sampling=Sampling(num_frames=5),
        pixels=None,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_frames_can_be_read_again_one_at_a_time(tmp_path):
    path = write_film(tmp_path / "short.mp4", range(5))
    clip = load(path, 8, pixels=PixelRule(height=8, width=8))
    again = list(iterate_frames(clip.source))
    assert [seconds for seconds, _ in again] == clip.seconds.tolist()
    assert read_numbers(picture for _, picture in again) == list(clip.source.indices)
    small = [
        picture for _, picture in iterate_frames(clip.source, pixels=PixelRule(height=8, width=8))
    ]
    np.testing.assert_array_equal(np.stack(small), clip.frames)


def test_an_unknown_reader_is_a_usage_error(long_film):
    with pytest.raises(UsageError, match="choose one of pyav, decord"):
        load_clip(long_film, sampling=Sampling(), pixels=None, reader="opencv")


def test_importing_the_package_loads_no_heavy_library():
    code = (
        "import sys, pplava_core.media; print({'numpy', 'av', 'PIL', 'torch'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert run.stdout.strip() == "set()"
