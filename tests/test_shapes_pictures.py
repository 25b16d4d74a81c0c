"""The rendered world in pixels: what is painted, which patch shows what, and real encoders."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pplava_core import media
from pplava_core.shapes.film import encode_mp4, film_for_training, through_codec
from pplava_core.shapes.render import patch_coverage, render
from pplava_core.shapes.scene import (
    DIRECTIONS,
    draw_scene,
)
from pplava_core.types import Sampling

SEEDS = st.integers(0, 2**32 - 1)


def slow_coverage(owners, thing_count, grid):
    frames, height, width = owners.shape
    shares = np.zeros((thing_count, frames, *grid), np.float32)
    for thing in range(thing_count):
        for frame in range(frames):
            for row in range(grid[0]):
                for column in range(grid[1]):
                    patch = owners[
                        frame,
                        row * height // grid[0] : (row + 1) * height // grid[0],
                        column * width // grid[1] : (column + 1) * width // grid[1],
                    ]
                    shares[thing, frame, row, column] = (patch == thing).mean()
    return shares


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(8, 65),
    width=st.integers(8, 65),
    rows=st.integers(1, 8),
    columns=st.integers(1, 8),
    seed=SEEDS,
)
def test_coverage_equals_a_slow_count(height, width, rows, columns, seed):
    owners = np.random.default_rng(seed).integers(-1, 3, (2, height, width)).astype(np.int8)
    fast = patch_coverage(owners, 3, (rows, columns))
    np.testing.assert_allclose(fast, slow_coverage(owners, 3, (rows, columns)), atol=1e-6)


@pytest.mark.parametrize(("size", "count"), [(30, 22), (60, 26), (98, 22), (392, 24)])
def test_coverage_where_fractions_of_the_size_are_not_exact(size, count):
    owners = np.random.default_rng(0).integers(-1, 1, (1, size, 8)).astype(np.int8)
    fast = patch_coverage(owners, 1, (count, 2))
    np.testing.assert_allclose(fast, slow_coverage(owners, 1, (count, 2)), atol=1e-6)


def test_pixels_have_the_colour_of_the_thing_that_owns_them():
    for number in range(30):
        scene = draw_scene(number)
        frames, owners = render(scene, [0.1, 0.8], height=120, width=160)
        for thing_number, thing in enumerate(scene.things):
            # The grain adds at most 9 either way; half-covered edges are left out.
            inside = owners == thing_number
            if inside.sum() < 60:
                continue
            off = np.abs(np.median(frames[inside], axis=0) - np.array(thing.shade))
            assert off.max() <= 12


def test_things_are_painted_where_and_when_the_scene_says():
    seen = 0
    for number in range(40):
        scene = draw_scene(number)
        moments = [0.0, 0.25, 0.5, 0.75, 1.0]
        height, width = 100, 2 * round(50 * scene.aspect)
        _, owners = render(scene, moments, height=height, width=width)
        for thing_number, thing in enumerate(scene.things):
            for frame, moment in enumerate(moments):
                rows, columns = np.nonzero(owners[frame] == thing_number)
                assert (len(rows) > 0) == thing.visible(moment)
                if len(rows):
                    x, y = thing.centre(moment)
                    middle_x = (columns.min() + columns.max() + 1) / 2 / width
                    middle_y = (rows.min() + rows.max() + 1) / 2 / height
                    assert abs(middle_x - x) < 0.03
                    assert abs(middle_y - y) < 0.03
                    seen += 1
    assert seen > 300


def test_a_moving_thing_moves_as_it_is_called():
    moved = set()
    for number in range(60):
        for thing in draw_scene(number).things:
            across, down = np.subtract(thing.stop, thing.start)
            way = np.sign([across, down]).astype(int).tolist()
            assert way == list(DIRECTIONS[thing.motion])
            moved.add(thing.motion)
    assert moved == set(DIRECTIONS)


def test_frames_come_back_from_an_encoder_nearly_as_they_were(tmp_path):
    scene = draw_scene(3)
    frames, _ = render(scene, np.linspace(0, 0.99, 10).tolist(), height=96, width=128)
    encode_mp4(frames, tmp_path / "film.mp4", fps=12.0, crf=18)
    clip = media.load_clip(tmp_path / "film.mp4", sampling=Sampling(num_frames=10), pixels=None)
    assert clip.frames.shape == frames.shape
    assert np.abs(clip.frames.astype(int) - frames).mean() < 6
    assert clip.source.fps == pytest.approx(12.0)
    worse = through_codec(frames, crf=40).astype(int)
    better = through_codec(frames, crf=16).astype(int)
    assert worse.shape == frames.shape
    assert np.abs(better - frames).mean() < np.abs(worse - frames).mean()


@pytest.mark.parametrize("fps", [5.0, 12.0, 29.97, 50.0])
def test_a_film_has_the_frame_rate_that_was_asked_for(tmp_path, fps):
    encode_mp4(np.full((6, 32, 48, 3), 90, np.uint8), tmp_path / "film.mp4", fps=fps)
    clip = media.load_clip(tmp_path / "film.mp4", sampling=Sampling(num_frames=6), pixels=None)
    assert clip.source.fps == pytest.approx(fps, rel=1e-3)
    assert clip.seconds == pytest.approx(np.array(clip.source.indices) / fps, abs=2e-3)


@pytest.mark.parametrize("preset", ["fast", "ultrafast"])
def test_an_encoder_gives_the_same_bytes_every_time(preset):
    frames, _ = render(draw_scene(3), np.linspace(0, 0.99, 10).tolist(), height=130, width=130)
    written = set()
    for number in range(10):
        buffer, dirt = io.BytesIO(), np.full((200, 200, 3 + number), number, np.uint8)
        encode_mp4(frames, buffer, fps=4.0, crf=20, preset=preset)
        written.add(buffer.getvalue())
        del dirt  # what lies in freed memory must not matter
    assert len(written) == 1


@pytest.mark.parametrize("codec_share", [0.0, 1.0])
def test_films_for_training_have_the_shapes_of_the_model(codec_share):
    for number in range(6):
        scene = draw_scene(number)
        rng = np.random.default_rng(number)
        frames, coverage = film_for_training(
            scene, [0.1, 0.5, 0.9], rng, size=48, grid=(6, 6), codec_share=codec_share
        )
        assert frames.shape == (3, 48, 48, 3)
        assert frames.dtype == np.uint8
        assert coverage.shape == (len(scene.things), 3, 6, 6)
        assert coverage.min() >= 0.0
        assert coverage.sum(0).max() <= 1.0 + 1e-6


def test_films_for_training_are_the_same_for_the_same_seed():
    made = [
        film_for_training(
            draw_scene(8),
            [0.2, 0.7],
            np.random.default_rng(1),
            size=48,
            grid=(6, 6),
            codec_share=1.0,
        )
        for _ in range(2)
    ]
    assert (made[0][0] == made[1][0]).all()
    assert (made[0][1] == made[1][1]).all()
