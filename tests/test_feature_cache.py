"""The feature cache: what shares an entry, what must not, and what survives damage."""

import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pplava_core import content_hash as hashing
from pplava_core.content_hash import REMEMBER_FROM_BYTES, content_hash
from pplava_core.errors import InputError
from pplava_core.feature_cache import FeatureCache
from pplava_core.paths import cache_directory
from pplava_core.types import ClipSource, PatchGrid, PixelRule, Sampling

PIXELS = PixelRule(height=32, width=48)


def make_source(path="film.mp4", frame_count=3) -> ClipSource:
    return ClipSource(
        paths=(str(path),),
        kind="video",
        width=640,
        height=360,
        frame_count=100,
        fps=29.97,
        duration_seconds=3.34,
        start_seconds=0.0,
        stop_seconds=3.34,
        reader="pyav",
        indices=tuple(range(frame_count)),
        warnings=("cut short",),
    )


def make_grid(path="film.mp4", *, frames=3, seed=0, dtype=torch.float32) -> PatchGrid:
    generator = torch.Generator().manual_seed(seed)
    return PatchGrid(
        features=torch.randn(frames, 2, 5, 7, generator=generator).to(dtype),
        seconds=np.arange(frames) * 0.7,
        source=make_source(path, frames),
    )


def make_key(cache: FeatureCache, *paths: Path, **changes) -> str:
    asked = {
        "sampling": Sampling(),
        "reader": "pyav",
        "model_revision": "abc",
        "dtype": torch.float32,
        "default_num_frames": 16,
        "pixels": PIXELS,
    }
    return cache.key(paths, **(asked | changes))


def make_old(path: Path, seconds: float = 3600.0) -> None:
    """Set the modification time back; the change time cannot be, so tests patch that rule."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - int(seconds * 1e9)))


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "features")


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"moving pictures")
    return path


@pytest.fixture
def reads(monkeypatch):
    """The files whose contents were read, in order."""
    seen: list[Path] = []
    real = hashing._file_digest
    monkeypatch.setattr(hashing, "_file_digest", lambda path: (seen.append(path), real(path))[1])
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_stored_grid_comes_back_exactly(cache, film, dtype):
    key = make_key(cache, film)
    grid = make_grid(film, dtype=dtype)

    assert cache.load(key) is None
    assert cache.store(key, grid)
    loaded = FeatureCache(cache.directory).load(key)

    assert loaded.features.dtype == dtype
    assert torch.equal(loaded.features, grid.features)
    assert np.array_equal(loaded.seconds, grid.seconds)
    assert loaded.seconds.dtype == np.float64
    assert loaded.source == grid.source


def test_a_view_of_a_larger_tensor_is_stored_without_the_rest(cache, film):
    wide = torch.randn(3, 2, 5, 700)
    grid = dataclasses.replace(make_grid(film), features=wide[..., ::100])
    key = make_key(cache, film)

    assert cache.store(key, grid)
    assert torch.equal(cache.load(key).features, wide[..., ::100])
    assert cache.info().total_bytes < wide.nbytes / 2


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling": Sampling(num_frames=8)},
        {"sampling": Sampling(fps=2.0)},
        {"sampling": Sampling(start_seconds=1.0)},
        {"sampling": Sampling(stop_seconds=1.0)},
        {"reader": "decord"},
        {"model_revision": "abd"},
        {"dtype": torch.bfloat16},
        {"default_num_frames": 32},
        {"pixels": PixelRule(height=48, width=32)},
        {"pixels": PixelRule(height=32, width=48, resize="pad")},
    ],
)
def test_every_part_of_the_request_changes_the_key(cache, film, changes):
    assert make_key(cache, film) != make_key(cache, film, **changes)


def test_the_default_frame_count_is_the_same_request_when_written_out(cache, film):
    assert make_key(cache, film) == make_key(cache, film, sampling=Sampling(num_frames=16))
    assert make_key(cache, film, dtype="float32") == make_key(cache, film)


def test_the_same_film_under_another_name_is_found_and_called_by_that_name(cache, film, tmp_path):
    cache.store(make_key(cache, film), make_grid(film))
    copy = tmp_path / "copy.mp4"
    shutil.copy(film, copy)

    assert cache.load(make_key(cache, copy)).source.paths == (str(copy),)
    assert cache.load(make_key(cache, film)).source.paths == (str(film),)


def test_other_contents_under_the_same_name_are_another_film(cache, film):
    before = make_key(cache, film)
    film.write_bytes(b"Moving pictures")
    assert make_key(cache, film) != before


def test_order_and_grouping_of_files_matter(cache, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    first, second = folder / "1.png", folder / "2.png"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    keys = {
        make_key(cache, first),
        make_key(cache, first, second),
        make_key(cache, second, first),
        make_key(cache, folder),
    }
    assert len(keys) == 4


def test_a_folder_is_known_by_the_names_and_contents_in_it(cache, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"one")
    keys = [make_key(cache, folder)]
    (folder / ".hidden").write_bytes(b"?")
    assert make_key(cache, folder) == keys[0]
    (folder / "2.png").write_bytes(b"two")
    keys.append(make_key(cache, folder))
    (folder / "2.png").rename(folder / "3.png")
    keys.append(make_key(cache, folder))
    (folder / "3.png").write_bytes(b"ten")
    keys.append(make_key(cache, folder))
    assert len(set(keys)) == 4


def test_a_missing_file_is_an_input_error_of_one_line(cache, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.mp4 cannot be read") as caught:
        make_key(cache, tmp_path / "nowhere.mp4")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_instead_of_waited_for(cache, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        make_key(cache, tmp_path / "pipe")


class TestDamage:
    @pytest.fixture
    def entry(self, cache, film):
        self.key = make_key(cache, film)
        cache.store(self.key, make_grid(film))
        return next(cache.directory.glob("*.safetensors"))

    @pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.6, 0.999])
    def test_one_flipped_bit_anywhere_is_noticed(self, cache, entry, part):
        data = bytearray(entry.read_bytes())
        data[int(part * len(data))] ^= 4
        entry.write_bytes(data)

        assert cache.load(self.key) is None
        assert not entry.exists()
        assert cache.store(self.key, make_grid())
        assert cache.load(self.key) is not None

    @pytest.mark.parametrize("size", [0, 5, 200, -1])
    def test_a_cut_entry_is_noticed(self, cache, entry, size):
        data = entry.read_bytes()
        entry.write_bytes(data[:size])
        assert cache.load(self.key) is None
        assert not entry.exists()

    def test_every_bit_of_the_metadata_counts(self, cache, entry):
        data = entry.read_bytes()
        altered = data.replace(b"29.97", b"29.98")
        assert altered != data
        entry.write_bytes(altered)
        assert cache.load(self.key) is None

    def test_an_entry_under_another_key_is_not_taken_for_it(self, cache, film, entry):
        other = make_key(cache, film, model_revision="other")
        shutil.copy(entry, entry.with_name(f"{other}.safetensors"))
        assert cache.load(other) is None
        assert cache.load(self.key) is not None

    def test_a_foreign_file_is_no_entry(self, cache, entry):
        entry.write_text("{}")
        assert cache.load(self.key) is None


class TestSize:
    def test_the_least_recently_used_entry_goes_first(self, tmp_path, film):
        probe = FeatureCache(tmp_path / "probe")
        probe.store(make_key(probe, film), make_grid(film))
        one = probe.info().total_bytes
        cache = FeatureCache(tmp_path / "features", max_bytes=int(2.5 * one))
        keys = [make_key(cache, film, model_revision=name) for name in "abc"]

        for age_seconds, key in zip((300, 200), keys, strict=False):
            cache.store(key, make_grid(film))
            make_old(cache.directory / f"{key}.safetensors", age_seconds)
        assert cache.load(keys[0]) is not None
        cache.store(keys[2], make_grid(film))

        assert [cache.load(key) is not None for key in keys] == [True, False, True]
        assert cache.info().entry_count == 2
        assert cache.info().total_bytes <= cache.max_bytes

    def test_storing_again_takes_no_more_room(self, cache, film):
        key = make_key(cache, film)
        cache.store(key, make_grid(film))
        before = cache.info()
        cache.store(key, make_grid(film))
        assert cache.info() == before

    @pytest.mark.parametrize("spare_bytes", [-1, 64])
    def test_an_entry_larger_than_the_cache_leaves_it_alone(self, tmp_path, film, spare_bytes):
        grid = make_grid(film)
        cache = FeatureCache(tmp_path / "features", max_bytes=grid.features.nbytes + spare_bytes)
        small = dataclasses.replace(grid, features=grid.features[:, :, :1, :1])
        small_key = make_key(cache, film, model_revision="small")

        cache.max_bytes += 2000
        assert cache.store(small_key, small)
        cache.max_bytes -= 2000
        assert not cache.store(make_key(cache, film), grid)
        assert cache.load(small_key) is not None
        assert [path.name for path in cache.directory.glob(".*")] == []

    def test_info_and_clear_say_what_was_there(self, cache, film):
        assert cache.info().entry_count == cache.info().total_bytes == 0
        cache.store(make_key(cache, film), make_grid(film))
        before = cache.info()
        cleared = cache.clear()

        assert before.entry_count == cleared.entry_count == 1
        assert before.total_bytes == cleared.freed_bytes > 0
        assert cache.info().entry_count == 0
        assert cache.load(make_key(cache, film)) is None

    def test_only_old_leftovers_of_killed_processes_are_swept(self, cache, film):
        cache.store(make_key(cache, film), make_grid(film))
        old = cache.directory / ".x.pplava-partial-1-ab.safetensors"
        new = cache.directory / ".y.pplava-partial-2-cd.safetensors"
        for path in (old, new):
            path.write_bytes(b"half")
        make_old(old, 7200)

        cache.store(make_key(cache, film, model_revision="next"), make_grid(film))
        assert not old.exists()
        assert new.exists()


class TestRememberedHashes:
    @pytest.fixture
    def large(self, tmp_path):
        path = tmp_path / "large.mp4"
        path.write_bytes(os.urandom(REMEMBER_FROM_BYTES))
        return path

    @pytest.fixture
    def settled(self, monkeypatch):
        """Make what was just written count as written long ago."""
        monkeypatch.setattr(hashing, "SETTLED_AFTER_SECONDS", -1.0)

    def test_a_large_film_is_read_once(self, cache, large, reads, settled):
        keys = {make_key(cache, large), make_key(FeatureCache(cache.directory), large)}
        assert len(keys) == 1
        assert reads == [large]

    def test_a_large_folder_is_read_once(self, cache, large, reads, settled, tmp_path):
        folder = tmp_path / "frames"
        folder.mkdir()
        large.rename(folder / "1.png")
        (folder / "2.png").write_bytes(b"two")
        first = make_key(cache, folder)
        assert make_key(cache, folder) == first
        assert len(reads) == 2
        (folder / "2.png").write_bytes(b"TWO")
        assert make_key(cache, folder) != first
        assert len(reads) == 4

    def test_a_film_changed_a_moment_ago_is_not_trusted_to_stay(self, cache, large, reads):
        stat = large.stat()
        first = make_key(cache, large)
        with open(large, "r+b") as file:
            file.write(b"other bytes, the same size")
        os.utime(large, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert make_key(cache, large) != first
        assert reads == [large, large]

    def test_a_clock_set_back_is_not_trusted(self, cache, large, reads, monkeypatch):
        monkeypatch.setattr(hashing.time, "time", lambda: large.stat().st_mtime - 1e6)
        make_key(cache, large)
        make_key(cache, large)
        assert reads == [large, large]

    def test_a_modification_time_that_was_set_back_does_not_deceive(
        self, cache, large, reads, settled
    ):
        stat = large.stat()
        first = make_key(cache, large)
        with open(large, "r+b") as file:
            file.write(b"other bytes, the same size")
        os.utime(large, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert large.stat().st_size == stat.st_size
        assert make_key(cache, large) != first

    def test_a_replaced_file_is_read_again(self, cache, large, reads, settled, tmp_path):
        first = make_key(cache, large)
        other = tmp_path / "other"
        other.write_bytes(os.urandom(REMEMBER_FROM_BYTES))
        shutil.copystat(large, other)
        os.replace(other, large)
        assert make_key(cache, large) != first

    @pytest.mark.parametrize("note", ["", "[]", "null", '{"state": 1}', "\0\0"])
    def test_a_damaged_note_is_no_note(self, cache, large, reads, settled, note):
        first = make_key(cache, large)
        next((cache.directory / "hashes").glob("*.json")).write_text(note)
        assert make_key(cache, large) == first
        assert reads == [large, large]

    def test_a_note_with_a_wrong_digest_is_no_note(self, cache, large, reads, settled):
        make_key(cache, large)
        note = next((cache.directory / "hashes").glob("*.json"))
        note.write_text(json.dumps(json.loads(note.read_text()) | {"digest": "xyz"}))
        make_key(cache, large)
        assert reads == [large, large]

    def test_notes_do_not_pile_up(self, tmp_path, settled, monkeypatch):
        monkeypatch.setattr(hashing, "_MAX_NOTES", 4)
        monkeypatch.setattr(hashing, "REMEMBER_FROM_BYTES", 0)
        for number in range(7):
            path = tmp_path / f"{number}.mp4"
            path.write_bytes(b"x")
            content_hash(path, tmp_path / "notes")
        assert len(list((tmp_path / "notes").iterdir())) <= 4

    def test_an_unwritable_cache_fails_nothing(self, tmp_path, large, settled):
        blocked = tmp_path / "blocked"
        blocked.write_text("a file where the folder should be")
        cache = FeatureCache(blocked)
        key = make_key(cache, large)
        assert cache.load(key) is None
        assert not cache.store(key, make_grid(large))


def test_a_film_that_changed_while_it_was_encoded_is_not_kept(cache, film):
    key = make_key(cache, film)
    film.write_bytes(b"another film, longer")
    assert not cache.store(key, make_grid(film))
    assert cache.load(key) is None
    film.unlink()
    assert not cache.store(key, make_grid(film))


def _hammer(directory: Path, film: Path, seed: int) -> int:
    """Store and load the same few keys as other processes do; count wrong grids."""
    torch.set_num_threads(1)
    cache = FeatureCache(directory, max_bytes=8_000)
    wrong = 0
    for round_number in range(25):
        number = (seed + round_number) % 5
        key = make_key(cache, film, model_revision=str(number))
        grid = make_grid(film, seed=number)
        cache.store(key, grid)
        loaded = cache.load(key)
        wrong += loaded is not None and not torch.equal(loaded.features, grid.features)
    return wrong


def test_processes_share_a_directory(tmp_path, film):
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=context) as pool:
        runs = [pool.submit(_hammer, tmp_path / "features", film, seed) for seed in range(3)]
        assert [run.result(timeout=60) for run in runs] == [0, 0, 0]
    assert [path for path in (tmp_path / "features").iterdir() if path.name.startswith(".")] == []


def test_the_cache_directory_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("PPLAVA_CACHE_DIR", str(tmp_path / "elsewhere"))
    assert cache_directory() == tmp_path / "elsewhere"
    monkeypatch.setenv("PPLAVA_CACHE_DIR", "")
    assert cache_directory().is_absolute()
    assert cache_directory().name == "pplava"
