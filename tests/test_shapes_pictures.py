"""The rendered world in pixels: what is painted, which patch shows what, and real encoders."""

from __future__ import annotations

import dataclasses
import io
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pplava_core import media
from pplava_core.shapes.drawing import draw_scene
from pplava_core.shapes.film import encode_mp4, film_for_training, through_codec
from pplava_core.shapes.render import patch_coverage, render
from pplava_core.shapes.scene import (
    COLOURS,
    DIGITS,
    DIRECTIONS,
    FACES,
    LETTERS,
    MARKED_KINDS,
    MARKED_RADIUS,
    Scene,
    Thing,
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


def owners_of_one(scene, number, moments, *, height, width):
    """Film one thing of a scene as if it were alone; return where it is."""
    alone = dataclasses.replace(scene, things=(scene.things[number],))
    return render(alone, moments, height=height, width=width)[1] == 0


def test_pixels_have_the_colour_of_the_thing_that_owns_them():
    seen = 0
    for number in range(60):
        scene = draw_scene(number)
        frames, owners = render(scene, [0.1, 0.8], height=120, width=160)
        for thing_number, thing in enumerate(scene.things):
            for frame, moment in enumerate((0.1, 0.8)):
                # The grain adds at most 9 either way; half-covered edges are left out.
                inside = owners[frame] == thing_number
                if inside.sum() < 60:
                    continue
                lit = np.array(thing.shade) * scene.light(moment)
                assert np.abs(np.median(frames[frame][inside], axis=0) - lit).max() <= 12
                seen += 1
    assert seen > 300


def test_things_are_painted_where_and_when_the_scene_says():
    seen = gone = 0
    for number in range(40):
        scene = draw_scene(number)
        moments = np.linspace(0, 1, 9).tolist()
        height, width = 100, 2 * round(50 * scene.aspect)
        for thing_number, thing in enumerate(scene.things):
            alone = owners_of_one(scene, thing_number, moments, height=height, width=width)
            for frame, moment in enumerate(moments):
                rows, columns = np.nonzero(alone[frame])
                assert (len(rows) > 0) == thing.visible(moment)
                gone += not len(rows)
                cut = {0, height - 1} & set(rows) or {0, width - 1} & set(columns)
                if len(rows) and not cut:
                    x, y = scene.place(thing, moment)
                    middle_x = (columns.min() + columns.max() + 1) / 2 / width
                    middle_y = (rows.min() + rows.max() + 1) / 2 / height
                    assert abs(middle_x - x) < 0.03
                    assert abs(middle_y - y) < 0.03
                    seen += 1
    assert seen > 800
    assert gone > 100


def test_of_things_in_one_place_the_later_one_is_seen():
    hidden = 0
    for number in range(60):
        scene = draw_scene(number)
        moments = np.linspace(0, 1, 7).tolist()
        _, owners = render(scene, moments, height=64, width=80)
        expected = np.full(owners.shape, -1)
        for thing_number in range(len(scene.things)):
            alone = owners_of_one(scene, thing_number, moments, height=64, width=80)
            hidden += (alone & (expected >= 0)).sum()
            expected[alone] = thing_number
        assert (owners == expected).all()
    assert hidden > 100


def test_no_thing_is_hidden_for_long():
    """What passes before it leaves at least half of it in sight, most of the time."""
    moments = [(index + 0.5) / 16 for index in range(16)]
    for number in range(60):
        scene = draw_scene(number)
        _, owners = render(scene, moments, height=64, width=64)
        for thing_number in range(len(scene.things)):
            whole = owners_of_one(scene, thing_number, moments, height=64, width=64).sum((1, 2))
            left = (owners == thing_number).sum((1, 2))
            assert (left[whole > 0] * 2 >= whole[whole > 0]).mean() >= 0.6


def test_what_blinks_is_hidden_and_comes_back():
    blinking = 0
    for number in range(120):
        scene = draw_scene(number)
        for thing_number, thing in enumerate(scene.things):
            if not thing.blinks:
                continue
            on, off = thing.blinks[0]
            moments = [on - 0.01, on + 0.001, (on + off) / 2, off - 0.001, off + 0.01]
            alone = owners_of_one(scene, thing_number, moments, height=64, width=64)
            assert alone.any((1, 2)).tolist() == [True, False, False, False, True]
            _, owners = render(scene, moments[1:4], height=64, width=64)
            assert not (owners == thing_number).any()
            blinking += 1
    assert blinking > 20


def scene_of_one(**changes):
    """Return a scene of one circle in the middle; fields of the scene or the thing change."""
    thing = Thing(
        kind="circle",
        colour="red",
        radius=MARKED_RADIUS,
        shade=COLOURS["red"],
        motion="still",
        start=(0.5, 0.5),
        stop=(0.5, 0.5),
    )
    of_thing = {name: value for name, value in changes.items() if hasattr(thing, name)}
    of_scene = {name: value for name, value in changes.items() if name not in of_thing}
    scene = Scene(
        things=(dataclasses.replace(thing, **of_thing),),
        aspect=1.0,
        duration_seconds=4.0,
        backdrop_seed=3,
        clutter=1.0,
    )
    return dataclasses.replace(scene, **of_scene)


def picture(scene, moment=0.5, size=96):
    frames, owners = render(scene, [moment], height=size, width=size)
    return frames[0].astype(int), owners[0]


MARKS = ("", *FACES, *DIGITS, *LETTERS)


@pytest.mark.parametrize("kind", MARKED_KINDS)
def test_every_mark_is_drawn_and_unlike_every_other(kind):
    """At the smallest size that a marked thing has, in a picture of 96 pixels."""
    seen = {mark: picture(scene_of_one(kind=kind, mark=mark)) for mark in MARKS}
    owners = seen[""][1]
    for one, other in combinations(MARKS, 2):
        differ = np.abs(seen[one][0] - seen[other][0]).max(-1) > 60
        assert differ.sum() >= 15, (one, other)
        # A mark stays on its thing and takes no pixel away from it.
        assert (owners[differ] == 0).all()
        assert (seen[one][1] == owners).all()


@pytest.mark.parametrize("colour", COLOURS)
def test_marks_stand_out_from_every_colour(colour):
    for mark in MARKS[1:]:
        shade = COLOURS[colour]
        plain, owners = picture(scene_of_one(colour=colour, shade=shade))
        marked, _ = picture(scene_of_one(colour=colour, shade=shade, mark=mark))
        grey = np.abs((marked - plain)[owners == 0] @ [0.299, 0.587, 0.114])
        assert (grey > 50).sum() >= 15


def test_a_smile_and_a_frown_differ_in_their_mouths_alone():
    smile, frown = (picture(scene_of_one(mark=face))[0] for face in FACES)
    _, owners = picture(scene_of_one())
    rows = np.nonzero(np.abs(smile - frown).max((1, 2)) > 60)[0]
    assert rows.min() > 48
    # The middle of a smile's mouth is lower than its ends; ink on red is light.
    inks = [((face[..., 1] > 120) & (owners == 0))[49:] for face in (smile, frown)]
    middles = [np.nonzero(ink[:, 48])[0].mean() for ink in inks]
    ends = [np.nonzero(ink[:, 44])[0].mean() for ink in inks]
    assert middles[0] > ends[0]
    assert middles[1] < ends[1]


def test_a_glyph_is_a_copy_of_its_dots():
    """An L is ink on the left and along the bottom, and nowhere else."""
    plain, _ = picture(scene_of_one(), size=240)
    marked, _ = picture(scene_of_one(mark="L"), size=240)
    rows, columns = np.nonzero(np.abs(marked - plain).max(-1) > 60)
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    assert bottom - top > right - left
    column = columns <= left + (right - left) / 5 + 1
    row = rows >= bottom - (bottom - top) / 7 - 1
    assert (column | row).all()
    assert column.sum() > 100
    assert row.sum() > 100


def backdrop_shift(before, after, reach):
    """Return by how many whole pixels, down and across, the upper part of a picture moved."""
    inner = before[reach : 110 - reach, reach:-reach]
    (height, width), grid = inner.shape[:2], range(2 * reach + 1)

    def difference(corner):
        down, across = corner
        return np.abs(after[down : down + height, across : across + width] - inner).mean()

    return np.subtract(min(product(grid, grid), key=difference), reach)


def thing_shift(owners_before, owners_after):
    middles = [np.mean(np.nonzero(o == 0), axis=1) for o in (owners_before, owners_after)]
    return middles[1] - middles[0]


# One thing below the part of the picture in which the backdrop is looked at.
BELOW = {"radius": 0.05, "start": (0.5, 0.8), "stop": (0.5, 0.8)}


def shifts_of(scene, moment, reach):
    """Return how far backdrop and thing moved since the start, down and across in pixels."""
    # In one film, so that the grain of the two frames differs and holds no shift in place.
    frames, owners = render(scene, [0.0, moment], height=192, width=192)
    return backdrop_shift(*frames.astype(int), reach), thing_shift(*owners)


@pytest.mark.parametrize("pan", [(0.08, 0.0), (-0.06, 0.0), (0.04, -0.05)])
def test_a_pan_moves_things_and_backdrop_together(pan):
    backdrop, thing = shifts_of(scene_of_one(pan=pan, **BELOW), 1.0, 18)
    assert thing[::-1] / 192 == pytest.approx(pan, abs=1.1 / 192)
    assert backdrop == pytest.approx(thing, abs=1.1)


def test_a_trembling_camera_moves_things_and_backdrop_together():
    seen = set()
    for moment in np.linspace(0.05, 1.0, 8):
        backdrop, thing = shifts_of(scene_of_one(shake=0.03, **BELOW), moment, 12)
        assert backdrop == pytest.approx(thing, abs=1.1)
        seen.add(tuple(thing.round()))
    assert len(seen) > 4


def test_falling_light_darkens_everything_alike():
    scene = scene_of_one(flicker=0.4, flicker_period=0.5)
    full, owners = picture(scene, 0.0)
    dark, dark_owners = picture(scene, 0.25)
    again, _ = picture(scene, 0.5)
    assert (owners == dark_owners).all()
    assert (full == again).all()
    assert (full == picture(scene_of_one(), 0.0)[0]).all()
    for part in (owners == 0, owners == -1):
        assert dark[part].mean() / full[part].mean() == pytest.approx(0.6, abs=0.02)


def test_larger_things_are_painted_larger_in_any_picture():
    for height, width in ((96, 96), (96, 160), (160, 90)):
        scenes = [scene_of_one(radius=r, aspect=width / height) for r in (0.1, 0.2)]
        boxes = []
        for scene in scenes:
            _, owners = render(scene, [0.5], height=height, width=width)
            rows, columns = np.nonzero(owners[0] == 0)
            boxes.append((np.ptp(rows) + 1, np.ptp(columns) + 1))
        # A circle is round where the picture has its own aspect.
        assert all(abs(h - w) <= 2 for h, w in boxes)
        assert boxes[1][0] / boxes[0][0] == pytest.approx(2.0, rel=0.1)
        assert boxes[0][0] == pytest.approx(0.2 * min(height, width), abs=2)


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
    wanted = frames[list(clip.source.indices)]
    assert np.abs(clip.frames.astype(int) - wanted).mean() < 6
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
