"""Videos are found in folders and zips, and unpacked once, whole or not at all."""

from __future__ import annotations

import errno
import os
import threading
import zipfile

import pytest

from pplava_core.errors import InputError
from pplava_core.evals.data.videos import Finder, unpacked


def write(path, content=b"film"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_zip(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_film_is_found_by_name_path_or_another_suffix(tmp_path):
    one = write(tmp_path / "deep" / "er" / "One.MKV")
    assert Finder(tmp_path).find("one.mp4") == one
    assert Finder(tmp_path).find("er/one.mp4") == one
    assert Finder(tmp_path).find("other/one.mp4") is None
    assert Finder(tmp_path).find("other/one.mp4", "one.mp4") == one
    assert Finder(tmp_path).find("two.mp4") is None
    assert Finder(tmp_path / "nowhere").find("one.mp4") is None


def test_films_of_one_name_are_told_apart_by_their_folders(tmp_path):
    first, second = write(tmp_path / "a" / "x.mp4"), write(tmp_path / "b" / "x.mp4")
    finder = Finder(tmp_path)
    assert (finder.find("a/x.mp4"), finder.find("b/x.mp4")) == (first, second)


def test_a_name_with_dots_is_not_cut(tmp_path):
    write(tmp_path / "v1.0.mp4")
    assert Finder(tmp_path).find("v1.0.mp4") is not None
    assert Finder(tmp_path).find("v1.mp4") is None


def test_folders_of_pictures_are_found_and_links_followed_once(tmp_path):
    write(tmp_path / "real" / "clip" / "00001.jpg")
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "data" / "linked")
    os.symlink(tmp_path / "data", tmp_path / "data" / "round")
    assert Finder(tmp_path / "data").find("linked/clip") == tmp_path / "data" / "linked" / "clip"


def test_other_files_than_films(tmp_path):
    path = write(tmp_path / "subtitle" / "a.srt")
    write(tmp_path / "a.mp4")
    assert Finder(tmp_path, frozenset({".srt"})).find("a.srt") == path


def test_a_member_of_a_zip_is_unpacked_when_opened_and_only_once(tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"data/x.mp4": b"film", "data/y.mp4": b"other"})
    found = Finder(tmp_path).find("data/x.mp4")
    assert found == archive / "data" / "x.mp4"
    first = unpacked(found)
    assert first.read_bytes() == b"film"
    changed = first.stat().st_mtime_ns
    assert unpacked(found) == first
    assert first.stat().st_mtime_ns == changed
    assert not list(first.parent.glob("*y.mp4"))


def test_what_is_outside_a_zip_comes_first_and_is_not_copied(tmp_path):
    write_zip(tmp_path / "a.zip", {"x.mp4": b"zipped"})
    path = write(tmp_path / "z" / "x.mp4")
    assert unpacked(Finder(tmp_path).find("x.mp4")) == path


def test_a_zip_that_changed_is_unpacked_anew(tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"x.mp4": b"one"})
    first = unpacked(archive / "x.mp4")
    write_zip(archive, {"x.mp4": b"another"})
    assert unpacked(archive / "x.mp4").read_bytes() == b"another"
    assert first.read_bytes() == b"one"


def test_a_folder_of_pictures_in_a_zip_is_unpacked_as_a_whole(tmp_path):
    members = {f"f/clip/{n:05d}.jpg": b"%d" % n for n in range(1, 4)}
    archive = write_zip(tmp_path / "a.zip", {**members, "f/clip/deeper/00009.jpg": b"9"})
    found = Finder(tmp_path).find("f/clip")
    assert found == archive / "f" / "clip"
    folder = unpacked(found)
    assert sorted(path.name for path in folder.iterdir()) == [f"0000{n}.jpg" for n in (1, 2, 3)]
    assert unpacked(found) == folder


@pytest.mark.parametrize(
    "name", ["../x.mp4", "/x.mp4", "a/../../x.mp4", "..\\x.mp4", "C:/x.mp4", "__MACOSX/._x.mp4"]
)
def test_members_that_would_leave_the_folder_are_not_found(tmp_path, name):
    write_zip(tmp_path / "a.zip", {name: b"film"})
    assert Finder(tmp_path).find("x.mp4") is None
    assert Finder(tmp_path).find("._x.mp4") is None


def refused(path, said):
    with pytest.raises(InputError, match=said) as raised:
        unpacked(path)
    assert "\n" not in str(raised.value)


def test_damaged_zips_are_one_line_and_leave_nothing(tmp_path, own_directories):
    archive = write_zip(tmp_path / "a.zip", {"x.mp4": b"film" * 5000, "y.mp4": b"y"})
    content = bytearray(archive.read_bytes())
    content[40:60] = bytes(20)
    archive.write_bytes(content)
    refused(archive / "x.mp4", "get it anew")
    assert not [path for path in own_directories.rglob("*") if path.is_file()]
    archive.write_bytes(bytes(content[:200]))
    refused(archive / "x.mp4", "get it anew")
    with pytest.raises(InputError, match="cannot be read as a zip"):
        Finder(tmp_path).find("x.mp4")


def test_a_member_that_is_not_there(tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"x.mp4": b"film"})
    refused(archive / "none.mp4", "no such member")


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, own_directories):
    archive = write_zip(tmp_path / "a.zip", {"x.mp4": b"film"})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pplava_core.evals.data.videos.shutil.copyfileobj", full)
    refused(archive / "x.mp4", "No space left on device; make room")
    assert not [path for path in own_directories.rglob("*") if path.is_file()]


def test_several_at_once_get_the_same_whole_folder(tmp_path):
    members = {f"clip/{n:05d}.jpg": b"%05d" % n for n in range(1, 200)}
    archive = write_zip(tmp_path / "a.zip", members)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(unpacked(archive / "clip"))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 6
    assert len(list(found[0].iterdir())) == 199
    assert [path.name for path in found[0].parent.iterdir()] == ["clip"]
