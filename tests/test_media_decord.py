"""The reader decord: in a child that is killed in time, and never mistaken for another package."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
from media_films import read_numbers, write_film

from pplava_core.errors import InputError, UsageError
from pplava_core.media import _decord, iterate_frames, load_clip
from pplava_core.types import Clip, PixelRule, Sampling

needs_decord = pytest.mark.skipif(
    importlib.util.find_spec("decord") is None, reason="decord has no wheel for this system"
)

DESCRIPTION = b'{"seconds": [0.0, 0.5], "stop_seconds": 1.0, "fps": 2.0}'


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return write_film(tmp_path_factory.mktemp("films") / "film.mp4", range(60))


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Put other code in the place of the child process."""

    def put(code: str) -> None:
        script = tmp_path / "child.py"
        script.write_text(f"import sys, time, os\nout = sys.stdout.buffer\n{code}\n")
        monkeypatch.setattr(_decord, "CHILD", script)
        monkeypatch.setattr(_decord, "check_installed", lambda: None)

    return put


@pytest.fixture
def short_limit(monkeypatch) -> None:
    monkeypatch.setattr(_decord, "TIME_LIMIT_SECONDS", 1.0)


def load(path: Path, num_frames: int = 8) -> Clip:
    return load_clip(path, sampling=Sampling(num_frames=num_frames), pixels=None, reader="decord")


@needs_decord
def test_decord_gives_the_frames_that_pyav_gives(film):
    clip = load(film)
    assert read_numbers(clip.frames) == list(clip.source.indices)
    by_pyav = load_clip(film, sampling=Sampling(num_frames=8), pixels=None)
    np.testing.assert_array_equal(clip.frames, by_pyav.frames)
    np.testing.assert_allclose(clip.seconds, by_pyav.seconds, atol=1e-3)
    assert clip.source.reader == "decord"
    assert "not verified" in clip.source.warnings[0]
    again = list(iterate_frames(clip.source, pixels=PixelRule(height=96, width=128)))
    assert read_numbers(picture for _, picture in again) == list(clip.source.indices)


@needs_decord
def test_what_decord_cannot_read_is_told_in_one_line(tmp_path):
    path = write_film(tmp_path / "film.h264", range(10), muxer="h264")
    with pytest.raises(InputError, match=r"decord cannot read it \([^\n]*\); use pyav$") as caught:
        load(path)
    assert "video_reader" not in str(caught.value)


@needs_decord
def test_a_playlist_is_refused_before_decord_follows_it(film, tmp_path):
    path = tmp_path / "script.mp4"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{film}\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError, match="not a video"):
        load(path)


@pytest.mark.usefixtures("short_limit")
def test_a_child_that_hangs_is_killed(film, child):
    child("time.sleep(600)")
    begin = time.monotonic()
    with pytest.raises(InputError, match="gave nothing for 1 s; use pyav"):
        load(film)
    assert time.monotonic() - begin < 10


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize(
    "answer", [b'{"shape": [96, 128, 3]}\nhalf a picture', b""], ids=["in a picture", "before it"]
)
def test_a_child_that_hangs_over_a_frame_is_killed(film, child, answer):
    child(f"out.write({DESCRIPTION!r} + b'\\n' + {answer!r}); out.flush(); time.sleep(600)")
    with pytest.raises(InputError, match="gave nothing for 1 s"):
        load(film)


@pytest.mark.parametrize(
    "code",
    [
        "os._exit(1)",
        f"out.write({DESCRIPTION!r} + b'\\n'); out.flush(); os._exit(1)",
        f"out.write({DESCRIPTION!r} + b'\\n'); out.flush(); sys.stdin.readline(); os.abort()",
        f"out.write({DESCRIPTION!r}[:20]); out.flush()",
    ],
    ids=["at once", "after the description", "over a frame", "in the middle of a line"],
)
def test_a_child_that_dies_is_an_input_error(film, child, code):
    child(code)
    with pytest.raises(InputError, match="decord broke down"):
        load(film)


def test_a_film_without_frames_is_refused(film, child):
    child('out.write(b\'{"seconds": [], "stop_seconds": 0, "fps": 0}\\n\'); out.flush()')
    with pytest.raises(InputError, match="finds no frames"):
        load(film)


def test_times_that_make_no_sense_are_counted(film, child):
    code = 'h = b\'{"seconds": [0, 9e9, 1], "stop_seconds": 1, "fps": 2}\\n\'\n'
    code += "out.write(h); out.flush()\nfor line in sys.stdin:\n"
    code += "    out.write(b'{\"shape\": [1, 1, 3]}\\nabc'); out.flush()"
    child(code)
    clip = load(film, 3)
    assert clip.seconds.tolist() == [index / 2 for index in clip.source.indices]
    assert any("counted" in warning for warning in clip.source.warnings)
    assert clip.frames[0].tobytes() == b"abc"


def test_other_packages_by_that_name_are_refused(film, monkeypatch):
    installed = {"decord2": object()}

    def distribution(name: str) -> object:
        if name not in installed:
            raise _decord.importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(_decord.importlib.metadata, "distribution", distribution)
    with pytest.raises(UsageError, match="decord2 has replaced decord"):
        load(film)


def test_a_missing_decord_is_told(film, monkeypatch):
    monkeypatch.setattr(_decord.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="decord is not installed"):
        load(film)
