"""Damaged files, files that are no films, and names that look like something else."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from media_films import read_numbers, write_film, write_sound

from pplava_core.errors import InputError, UsageError
from pplava_core.media import iterate_frames, load_clip
from pplava_core.types import Clip, Sampling

MOOV_FIRST = {"movflags": "faststart"}


def load(path: Path, num_frames: int = 16) -> Clip:
    return load_clip(path, sampling=Sampling(num_frames=num_frames), pixels=None)


@pytest.fixture(autouse=True)
def no_hanging() -> Iterator[None]:
    """A test that hangs fails instead."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def give_up(*_: object) -> None:
        raise AssertionError("reading hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """120 frames, a key frame every 20, the table of contents at the front."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    options = {"g": "20", "bf": "3", "x264-params": "scenecut=0"}
    return write_film(path, range(120), codec_options=options, muxer_options=MOOV_FIRST)


def without_packets(film: Path, places: Iterable[int]) -> bytes:
    """Blot out the data of the packets at these places in decoding order."""
    import av

    content = bytearray(film.read_bytes())
    with av.open(str(film)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for place in places:
            start, size = packets[place].pos, packets[place].size
            content[start : start + size] = bytes(size)
    return bytes(content)


def with_bytes(film: Path, path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("part", [0.9, 0.5])
def test_of_a_cut_film_what_is_there_is_used(film, tmp_path, part):
    content = film.read_bytes()
    path = with_bytes(film, tmp_path / "cut.mp4", content[: int(len(content) * part)])
    clip = load(path)
    assert read_numbers(clip.frames) == list(clip.source.indices)
    assert clip.source.frame_count < 120
    assert clip.source.indices[-1] > 0.7 * clip.source.frame_count
    assert any("120 frames announced" in warning for warning in clip.source.warnings)


def test_a_cut_matroska_file_says_how_far_it_goes(tmp_path):
    whole = write_film(tmp_path / "whole.mkv", range(150))
    content = whole.read_bytes()
    path = with_bytes(whole, tmp_path / "cut.mkv", content[: len(content) // 2])
    clip = load(path, 8)
    assert read_numbers(clip.frames) == list(clip.source.indices)
    assert any("5.00 s are announced" in warning for warning in clip.source.warnings)


def test_a_film_whose_table_was_cut_off_cannot_be_read(tmp_path):
    whole = write_film(tmp_path / "whole.mp4", range(30))
    path = with_bytes(whole, tmp_path / "cut.mp4", whole.read_bytes()[:-800])
    assert_unreadable(path)


def test_a_film_with_a_table_and_no_pictures_cannot_be_read(film, tmp_path):
    content = film.read_bytes()
    path = with_bytes(film, tmp_path / "empty.mp4", content[: content.index(b"mdat") + 4])
    assert_unreadable(path, "holds no frames")


def test_a_hole_of_zeros_is_read_around(film, tmp_path):
    content = bytearray(film.read_bytes())
    data_start = content.index(b"mdat") + 4
    hole_start = data_start + (len(content) - data_start) // 3
    hole_stop = hole_start + (len(content) - data_start) // 4
    content[hole_start:hole_stop] = bytes(hole_stop - hole_start)
    clip = load(with_bytes(film, tmp_path / "hole.mp4", bytes(content)), 32)
    assert read_numbers(clip.frames) == list(clip.source.indices)
    assert clip.source.indices[-1] > 100
    assert any("damaged" in warning for warning in clip.source.warnings)
    again = [picture for _, picture in iterate_frames(clip.source)]
    assert read_numbers(again) == list(clip.source.indices)


def test_after_one_lost_frame_the_rest_is_still_used(film, tmp_path):
    content = without_packets(film, [50])
    clip = load(with_bytes(film, tmp_path / "flawed.mp4", content), 24)
    assert set(clip.source.indices) & set(range(52, 60))
    assert any("may have flaws" in warning for warning in clip.source.warnings)


def test_after_a_lost_key_frame_nothing_is_used_up_to_the_next(film, tmp_path):
    content = without_packets(film, [40])
    clip = load(with_bytes(film, tmp_path / "flawed.mp4", content), 24)
    assert read_numbers(clip.frames) == list(clip.source.indices)
    assert not set(clip.source.indices) & set(range(40, 60))
    assert set(clip.source.indices) & set(range(60, 65))


def test_a_film_that_is_damaged_all_over_is_shown_as_it_is(film, tmp_path):
    content = without_packets(film, range(20, 120, 20))
    clip = load(with_bytes(film, tmp_path / "flawed.mp4", content), 8)
    assert clip.source.indices[-1] > 60
    assert any("most of the file is damaged" in warning for warning in clip.source.warnings)
    again = [picture for _, picture in iterate_frames(clip.source)]
    assert len(again) == 8


def test_a_film_that_starts_without_a_key_frame_is_read_from_the_first_one(tmp_path):
    import av

    whole = write_film(tmp_path / "whole.mkv", range(100), codec_options={"g": "40", "bf": "0"})
    path = tmp_path / "late.mkv"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet in packets[25:]:
            packet.stream = stream
            target.mux(packet)
    clip = load(path, 8)
    assert read_numbers(clip.frames) == [25 + index for index in clip.source.indices]
    assert clip.source.indices[0] >= 15
    assert "only 60 of 75 stored frames can be used" in clip.source.warnings
    again = read_numbers(picture for _, picture in iterate_frames(clip.source))
    assert again == read_numbers(clip.frames)


def test_a_broadcast_that_starts_in_the_middle_is_read_from_its_first_key_frame(tmp_path):
    whole = write_film(tmp_path / "whole.ts", range(120), codec_options={"g": "50"})
    content = whole.read_bytes()
    path = with_bytes(whole, tmp_path / "late.ts", content[len(content) // 3 // 188 * 188 :])
    clip = load(path, 8)
    numbers = read_numbers(clip.frames)
    assert numbers[0] >= 50
    assert {number - index for number, index in zip(numbers, clip.source.indices, strict=True)} == {
        120 - clip.source.frame_count
    }


def test_a_file_that_changed_is_not_taken_for_the_old_one(tmp_path):
    path = write_film(tmp_path / "film.mp4", range(60))
    source = load(path).source
    write_film(path, range(3))
    with pytest.raises(InputError, match="changed"):
        list(iterate_frames(source))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.mp4", b""),
        ("text.mp4", b"not a film\n" * 200),
        ("random.mp4", bytes(range(7, 256)) * 500),
        ("subtitles.srt", b"1\n00:00:01,000 --> 00:00:02,000\nhello\n"),
        ("drawing.mp4", b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'),
        (
            "playlist.m3u8",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n",
        ),
        ("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)),
        ("huge.gif", b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(64)),
        ("huge.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0\x08\2\0\0\0" + bytes(40)),
        ("signature.jpg", b"\xff\xd8\xff\xe0 and nothing more"),
        ("script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"),
    ],
)
def test_what_is_no_film_is_refused_in_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert_unreadable(path)


def test_sound_alone_is_refused(tmp_path):
    assert_unreadable(write_sound(tmp_path / "song.mp4"), "no video")


@pytest.mark.parametrize(
    "script",
    [
        "ffconcat version 1.0\nfile film.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfilm.mp4\n#EXT-X-ENDLIST\n",
    ],
    ids=["ffconcat", "playlist"],
)
def test_a_script_renamed_to_mp4_opens_no_other_file(tmp_path, script):
    write_film(tmp_path / "film.mp4", range(10))
    path = tmp_path / "script.mp4"
    path.write_text(script)
    assert_unreadable(path)


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    path = tmp_path / "pipe.mp4"
    os.mkfifo(path)
    assert_unreadable(path, "pipe or device")
    assert_unreadable(Path("/dev/zero"), "pipe or device")


def test_missing_files_and_dangling_links(tmp_path):
    assert_unreadable(tmp_path / "nothing.mp4", "check the name")
    link = tmp_path / "link.mp4"
    link.symlink_to(tmp_path / "nothing.mp4")
    assert_unreadable(link, "check the name")
    assert_unreadable(Path("null\0byte.mp4"))


def test_a_link_to_a_film_is_that_film(film, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(film)
    assert load(link).source.frame_count == 120


def test_a_forbidden_file_is_refused(film, tmp_path, monkeypatch):
    path = with_bytes(film, tmp_path / "forbidden.mp4", film.read_bytes())
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser may read anything

        def forbidden(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", forbidden)
    assert_unreadable(path, "Permission denied")


@pytest.mark.parametrize(
    "name",
    [
        "-dash.mp4",
        "con:cat.mp4",
        "http:film.mp4",
        "img%03d.mp4",
        "näme with space é.mp4",
        "film.txt",
        "film",
        "film.jpg",
        "[1-3]*?.mp4",
        "two\nlines.mp4",
        os.fsdecode(b"not-utf8-\xff.mp4"),
    ],
    ids=ascii,
)
def test_the_name_of_a_film_does_not_matter(film, tmp_path, monkeypatch, name):
    try:
        (tmp_path / name).write_bytes(film.read_bytes())
    except OSError:
        pytest.skip("this file system has no such names")
    monkeypatch.chdir(tmp_path)
    clip = load(Path(name))
    assert read_numbers(clip.frames) == list(clip.source.indices)
    assert clip.source.warnings == ()
    assert clip.source.paths == (name,)


def test_errors_stay_on_one_line_whatever_the_name(tmp_path):
    path = tmp_path / "two\nlines\x1b[31m.mp4"
    path.write_bytes(b"no film")
    assert_unreadable(path)
    strange = tmp_path / os.fsdecode(b"\xff.mp4")
    with pytest.raises(InputError) as caught:
        load(strange)
    str(caught.value).encode("utf-8")


def test_several_films_are_no_set(film):
    with pytest.raises(UsageError, match="only still pictures"):
        load_clip([film, film], sampling=Sampling(), pixels=None)
    with pytest.raises(UsageError, match="no file"):
        load_clip([], sampling=Sampling(), pixels=None)


def assert_unreadable(path: Path, reason: str = "") -> None:
    with pytest.raises(InputError) as caught:
        load(path)
    message = str(caught.value)
    assert reason in message
    assert message.isprintable()
    assert path.name in message or not path.name.isprintable()
