"""Heatmaps: colours mean what the legend says, everything is on the sheet, files are whole."""

import dataclasses
import itertools

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from pplava_core.errors import ShapeError, UsageError
from pplava_core.evidence import picture_box_of
from pplava_core.heatmap import (
    Heatmap,
    HeatScale,
    check_replaceable,
    contact_sheet,
    form_of,
    is_heatmap,
    multiples_of_average,
    overlay_frame,
    pages,
    write_heatmap,
)
from pplava_core.heatmap.layout import LABEL, Layout, page_layout, sheet_layout
from pplava_core.heatmap.lettering import broken, clock, decimals_for, fitted, times, typeface
from pplava_core.heatmap.timeline import frame_multiples
from pplava_core.shapes.film import encode_mp4
from pplava_core.types import ClipSource, PixelRule, Relevance

SCALE = HeatScale(highest=16.0)


def make_relevance(count=6, grid=(4, 6), *, peak=(2, 1, 4), text="where?", height=40.0):
    weights = torch.ones(count, *grid)
    if peak is not None:
        weights[peak] = height
    return Relevance(weights=weights / weights.sum(), seconds=np.arange(count) + 0.5, text=text)


def make_source(count=6, *, kind="video", width=96, height=64) -> ClipSource:
    has_clock = kind == "video"
    return ClipSource(
        paths=("film.mp4",),
        kind=kind,
        width=width,
        height=height,
        frame_count=count,
        fps=1.0 if has_clock else 0.0,
        duration_seconds=float(count) if has_clock else 0.0,
        start_seconds=0.0,
        stop_seconds=float(count) if has_clock else 0.0,
        reader="pyav",
        indices=tuple(range(count)),
    )


def make_frames(count=6, size=(64, 96)):
    return [np.full((*size, 3), 60 + 20 * index, np.uint8) for index in range(count)]


def make_heatmap(*questions, count=6, **changes) -> Heatmap:
    relevances = [make_relevance(count, text=text) for text in questions or ("where?",)]
    return Heatmap(relevances=relevances, source=make_source(count), **changes)


def brightness(colours: np.ndarray) -> np.ndarray:
    return colours @ np.array([0.2126, 0.7152, 0.0722])


class TestScale:
    def test_multiples_are_relative_to_an_even_map(self):
        multiples = multiples_of_average(make_relevance(peak=None))
        assert multiples == pytest.approx(np.ones((6, 4, 6)))
        peaked = multiples_of_average(make_relevance())
        assert peaked.mean() == pytest.approx(1)
        assert peaked[2, 1, 4] / peaked[0, 0, 0] == pytest.approx(40)

    def test_no_relevance_at_all_reads_as_even(self):
        empty = Relevance(weights=torch.zeros(2, 3, 3), seconds=np.arange(2), text="?")
        assert multiples_of_average(empty).tolist() == np.ones((2, 3, 3)).tolist()

    def test_positions_are_logarithmic_between_the_average_and_the_highest(self):
        values = np.array([0.0, 0.5, 1, 2, 4, 16, 99])
        assert SCALE.positions(values).tolist() == [0, 0, 0, 0.25, 0.5, 1, 1]

    @pytest.mark.parametrize(("top", "highest"), [(1.0, 4), (3.9, 4), (4.1, 8), (500, 512)])
    def test_the_scale_covers_the_highest_patch(self, top, highest):
        assert HeatScale.covering([np.ones(3), np.array([0.1, top])]).highest == highest

    @settings(deadline=None)
    @given(st.integers(2, 20))
    def test_the_legend_marks_both_ends_and_puts_labels_where_they_belong(self, stops):
        scale = HeatScale(highest=2.0**stops)
        ticks = scale.ticks()
        assert 2 <= len(ticks) <= 7
        assert ticks[0] == (0.0, "≤ ×1")
        assert ticks[-1] == (1.0, f"×{2**stops}")
        for position, label in ticks[1:]:
            assert scale.positions(np.array(float(label[1:]))) == pytest.approx(position)
        gaps = np.diff([position for position, _ in ticks])
        assert gaps.min() >= 0.13

    def test_colours_grow_brighter_evenly_also_for_the_colour_blind(self):
        colours = SCALE.colours(np.linspace(0, 1, 33)).astype(float)
        without_red_and_green = colours @ np.array(
            [[0.625, 0.7, 0.0], [0.375, 0.3, 0.3], [0.0, 0.0, 0.7]]
        )
        for seen in (colours, without_red_and_green):
            steps = np.diff(brightness(seen))
            assert (steps > 0).all()
        assert brightness(colours[0]) < 5
        assert brightness(colours[-1]) > 230


class TestOverlay:
    def test_the_heaviest_patch_is_brightest_and_the_rest_only_darker(self):
        picture = np.full((60, 90, 3), 128, np.uint8)
        multiples = np.full((4, 6), 0.5)
        multiples[1, 4] = 16.0
        result = overlay_frame(picture, multiples, scale=SCALE, smooth=False).astype(int)

        assert result.shape == picture.shape
        inside = result[15:30, 60:75]
        assert (inside == inside[0, 0]).all()
        outside = np.ones((60, 90), bool)
        outside[15:30, 60:75] = False
        assert (result[outside] == result[0, 0]).all()
        assert brightness(inside[0, 0]) > 128 > brightness(result[0, 0])

    def test_smooth_maps_have_no_borders_but_the_same_peak(self):
        picture = np.full((80, 120, 3), 100, np.uint8)
        multiples = np.full((4, 6), 0.5)
        multiples[1, 4] = 16.0
        bright = brightness(overlay_frame(picture, multiples, scale=SCALE))
        row, column = np.unravel_index(bright.argmax(), bright.shape)
        assert 20 <= row < 40
        assert 80 <= column < 100
        assert np.abs(np.diff(bright, axis=1)).max() < 20

    def test_a_map_of_a_padded_picture_is_laid_on_the_picture_alone(self):
        pixels = PixelRule(height=60, width=60, resize="pad")
        box = picture_box_of(make_source(width=60, height=30), pixels)
        assert box == pytest.approx((0, 0.25, 1, 0.75))
        multiples = np.ones((4, 4))
        multiples[1, 0] = 16.0
        multiples[0] = multiples[3] = 16.0
        result = overlay_frame(
            np.zeros((30, 60, 3), np.uint8), multiples, scale=SCALE, smooth=False, picture_box=box
        )
        lit = brightness(result) > 20
        assert lit[:15, :15].all()
        assert lit.sum() == 15 * 15

    def test_a_squashed_picture_is_all_picture(self):
        assert picture_box_of(make_source(), PixelRule(height=9, width=9)) == (0, 0, 1, 1)
        cut = dataclasses.replace(make_source(kind="image"), tile_counts=(5,))
        padded = PixelRule(height=9, width=9, resize="pad")
        assert picture_box_of(cut, padded) == (0, 0, 1, 1) != picture_box_of(make_source(), padded)

    @pytest.mark.parametrize(
        ("picture", "multiples"), [((4, 4), (2, 2)), ((4, 4, 4), (2, 2)), ((4, 4, 3), (1, 2, 2))]
    )
    def test_wrong_shapes_are_refused(self, picture, multiples):
        with pytest.raises(ShapeError, match="expected"):
            overlay_frame(np.zeros(picture, np.uint8), np.ones(multiples), scale=SCALE)


def rectangles(layout: Layout):
    yield layout.caption
    for panel in range(layout.panel_count):
        yield layout.title(panel)
        for index in range(layout.cell_count):
            left, top, right, bottom = layout.cell(panel, index)
            yield left, top, right, bottom + LABEL
        if layout.has_timeline:
            yield layout.timeline(panel)
    yield layout.legend


@settings(deadline=None)
@given(st.integers(1, 2), st.integers(1, 70), st.floats(0.3, 3.5), st.booleans())
def test_nothing_on_a_sheet_overlaps_or_sticks_out(panels, cells, aspect, is_page):
    layout = (
        page_layout(panels, aspect=aspect, cell_width=500)
        if is_page
        else sheet_layout(panels, cells, aspect=aspect)
    )
    width, height = layout.size
    assert width % 2 == height % 2 == 0
    boxes = list(rectangles(layout))
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    for one, other in itertools.combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_frames_that_weigh_nothing_still_stand_on_the_time_line():
    weights = torch.zeros(6, 4, 6)
    weights[2, 1, 4] = 1.0
    relevance = Relevance(weights=weights, seconds=np.arange(6) + 0.5, text="where?")
    heatmap = Heatmap(relevances=[relevance], source=make_source())
    assert contact_sheet(heatmap, make_frames()).size[0] > 0


def test_sixteen_frames_make_four_rows_of_four():
    layout = sheet_layout(1, 16, aspect=16 / 9)
    assert (layout.columns, layout.rows) == (4, 4)


class TestLettering:
    @pytest.mark.parametrize(
        ("seconds", "decimals", "text"),
        [
            (0, 0, "0:00"),
            (9.96, 1, "0:10.0"),
            (59.999, 2, "1:00.00"),
            (61.25, 2, "1:01.25"),
            (3599.6, 0, "1:00:00"),
            (3661.04, 1, "1:01:01.0"),
            (-0.04, 1, "0:00.0"),
            (-1.5, 1, "-0:01.5"),
        ],
    )
    def test_times_read_like_a_clock(self, seconds, decimals, text):
        assert clock(seconds, decimals=decimals) == text

    @pytest.mark.parametrize(
        ("step", "decimals"), [(10, 0), (1, 0), (1.5, 1), (0.5, 1), (0.2, 1), (0.04, 2)]
    )
    def test_neighbouring_times_are_told_apart(self, step, decimals):
        assert decimals_for(step) == decimals
        assert clock(7, decimals=decimals) != clock(7 + step, decimals=decimals)

    @pytest.mark.parametrize(
        ("multiple", "text"),
        [(0.034, "×0.03"), (0.997, "×1.0"), (3.14, "×3.1"), (9.97, "×10"), (120.4, "×120")],
    )
    def test_multiples_are_short(self, multiple, text):
        assert times(multiple) == text

    @settings(deadline=None)
    @given(st.text(max_size=300), st.integers(60, 600), st.integers(1, 3))
    def test_texts_fit_and_lose_only_their_end(self, text, width, max_lines):
        font = typeface(16)
        lines = broken(text, font, width, max_lines=max_lines)
        assert len(lines) <= max_lines
        assert all(font.getlength(line) <= width for line in lines)
        if not any("…" in line for line in lines):
            assert " ".join(lines).split() == text.split()
        assert fitted(text, font, 10_000_000) == text

    def test_the_typeface_has_the_signs_that_are_drawn(self):
        missing = typeface(16).getmask("\uffff").getbbox()
        for sign in "×≤“”…–éЯλ":
            assert typeface(16).getmask(sign).getbbox() not in (None, missing)


class TestSheet:
    def test_the_sheet_shows_the_peak_in_its_cell_and_bar(self):
        heatmap = make_heatmap()
        sheet = np.asarray(contact_sheet(heatmap, make_frames())).astype(int)
        layout = sheet_layout(1, 6, aspect=1.5)
        cells = []
        for index in range(6):
            left, top, right, bottom = layout.cell(0, index)
            cells.append(sheet[top:bottom, left:right])
        spread = [np.ptp(brightness(cell)) for cell in cells]
        assert int(np.argmax(spread)) == 2
        assert max(spread) > 100
        assert sorted(spread)[-2] < 3

        left, _, right, bottom = layout.timeline(0)
        row = sheet[bottom - 30, left:right]
        orange = row[:, 0] - row[:, 2] > 150
        start, stop = np.flatnonzero(orange)[[0, -1]] / (right - left) * 6
        assert (start, stop) == pytest.approx((2, 3), abs=0.02)

    def test_the_legend_shows_the_colours_of_the_scale(self):
        heatmap = make_heatmap()
        sheet = np.asarray(contact_sheet(heatmap, make_frames()))
        left, top, _, bottom = sheet_layout(1, 6, aspect=1.5).legend
        scale = HeatScale.covering([multiples_of_average(heatmap.relevances[0])])
        assert scale.highest == 32
        legend = sheet[top:bottom, left : left + 420]
        expected = scale.colours(np.linspace(0, 1, 420))
        assert any((row == expected).all() for row in legend)

    def test_two_questions_share_one_scale_and_stand_side_by_side(self):
        even = make_relevance(peak=None, text="what?")
        source = make_source()
        heatmap = Heatmap(relevances=[make_relevance(), even], source=source)
        sheet = contact_sheet(heatmap, make_frames())
        layout = sheet_layout(2, 6, aspect=1.5)
        left, right = (
            np.asarray(sheet.crop(layout.cell(panel, 2))).astype(int) for panel in range(2)
        )
        assert np.ptp(brightness(left)) > 100
        assert np.ptp(brightness(right)) < 3

    def test_questions_times_and_captions_are_written(self):
        plain = contact_sheet(make_heatmap("where is it?"), make_frames())
        other = contact_sheet(make_heatmap("what is it?"), make_frames())
        titled = contact_sheet(make_heatmap("where is it?", caption="film.mp4"), make_frames())
        layout = sheet_layout(1, 6, aspect=1.5)
        for changed, rectangle in ((other, layout.title(0)), (titled, layout.caption)):
            box = ImageChops.difference(plain, changed).getbbox()
            assert rectangle[0] <= box[0] < box[2] <= rectangle[2]
            assert rectangle[1] <= box[1] < box[3] <= rectangle[3]
        late = make_heatmap("where is it?")
        late.relevances[0].seconds[:] += 0.25
        box = ImageChops.difference(plain, contact_sheet(late, make_frames())).getbbox()
        assert box is not None

    def test_a_long_question_takes_two_lines(self):
        short = contact_sheet(make_heatmap("where?"), make_frames())
        long = contact_sheet(make_heatmap("where " * 100), make_frames())
        assert long.size[0] == short.size[0]
        assert 20 < long.size[1] - short.size[1] < 60

    def test_a_single_picture_has_no_time_line(self):
        heatmap = Heatmap(
            relevances=[make_relevance(1, peak=(0, 1, 1))], source=make_source(1, kind="image")
        )
        sheet = contact_sheet(heatmap, make_frames(1))
        with_time = dataclasses.replace(sheet_layout(1, 1, aspect=1.5), has_timeline=True)
        assert sheet.size[1] < with_time.size[1]

    def test_pictures_of_other_shapes_are_fitted_in_whole(self):
        heatmap = Heatmap(
            relevances=[make_relevance(2, peak=(0, 0, 0))], source=make_source(2, kind="images")
        )
        tall = np.full((300, 50, 3), 255, np.uint8)
        sheet = np.asarray(contact_sheet(heatmap, [make_frames(1)[0], tall]))
        left, top, right, bottom = sheet_layout(1, 2, aspect=1.5).cell(0, 1)
        lit = brightness(sheet[top:bottom, left:right].astype(float)) > 100
        assert lit.any(axis=1).all()
        assert lit.any(axis=0).mean() == pytest.approx(1 / 6 / 1.5, rel=0.05)

    @pytest.mark.parametrize("count", [5, 7])
    def test_too_few_or_too_many_frames_are_refused(self, count):
        with pytest.raises(ShapeError, match="6 frames"):
            contact_sheet(make_heatmap(), make_frames(count))
        with pytest.raises(ShapeError, match="6 frames"):
            list(pages(make_heatmap(), make_frames(count), picture_width=100))

    def test_questions_about_other_clips_are_refused(self):
        with pytest.raises(ShapeError, match="same clip"):
            Heatmap(relevances=[make_relevance(6), make_relevance(5)], source=make_source())

    def test_pages_differ_only_in_picture_label_and_mark(self):
        drawn = list(pages(make_heatmap(), make_frames(), picture_width=480))
        assert len(drawn) == 6
        layout = page_layout(1, aspect=1.5, cell_width=480)
        assert {page.size for page in drawn} == {layout.size}
        cell, strip = layout.cell(0, 0), layout.timeline(0)
        box = ImageChops.difference(drawn[0], drawn[3]).getbbox()
        assert box[1] >= cell[1]
        assert box[3] <= strip[3]

    def test_frames_are_taken_one_at_a_time(self):
        taken = []

        def frames():
            for index, frame in enumerate(make_frames()):
                taken.append(index)
                yield frame

        drawn = pages(make_heatmap(), frames(), picture_width=100)
        next(drawn)
        assert taken == [0]

    def test_bars_average_to_one(self):
        assert frame_multiples(make_relevance()).mean() == pytest.approx(1)


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "form"),
        [
            ("a.png", "sheet"),
            ("a.PNG", "sheet"),
            ("b/a.mp4", "mp4"),
            ("a.gif", "gif"),
            ("a", "pages"),
            ("v1.5/", "pages"),
            ("v1.5/a", "pages"),
        ],
    )
    def test_the_name_chooses_the_form(self, name, form):
        assert form_of(name) == form

    def test_an_existing_folder_gets_pages_whatever_its_name(self, tmp_path):
        (tmp_path / "odd.png").mkdir()
        assert form_of(tmp_path / "odd.png") == "pages"

    @pytest.mark.parametrize("name", ["a.jpg", "a.pngg", "a.mkv"])
    def test_other_suffixes_are_refused_with_the_ones_that_work(self, name):
        with pytest.raises(UsageError, match=r"\.png, \.mp4 or \.gif"):
            form_of(name)

    def test_a_sheet(self, tmp_path):
        path = tmp_path / "new" / "sheet.png"
        calls = []
        written = write_heatmap(
            path, make_heatmap(), make_frames(), progress=lambda *done: calls.append(done)
        )
        assert written == (path,)
        assert calls == [(number, 6) for number in range(1, 7)]
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.size == sheet_layout(1, 6, aspect=1.5).size

    def test_pages_carry_their_times(self, tmp_path):
        written = write_heatmap(tmp_path / "pages", make_heatmap(), make_frames())
        names = [path.name for path in written]
        assert names[:2] == ["0000_0000.500s.png", "0001_0001.500s.png"]
        assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == names

    def test_pages_of_pictures_are_numbered(self, tmp_path):
        heatmap = Heatmap(
            relevances=[make_relevance(2, peak=(0, 0, 0))], source=make_source(2, kind="images")
        )
        written = write_heatmap(tmp_path / "pages", heatmap, make_frames(2))
        assert [path.name for path in written] == ["0000.png", "0001.png"]

    def test_a_film_plays_every_frame(self, tmp_path):
        path = tmp_path / "film.mp4"
        write_heatmap(path, make_heatmap("where?", "what?"), make_frames())
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert float(stream.duration * stream.time_base) == pytest.approx(3.0)
            shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        drawn = list(pages(make_heatmap("where?", "what?"), make_frames(), picture_width=720))
        assert len(shown) == 6
        for one, page in zip(shown, drawn, strict=True):
            assert one.shape == np.asarray(page).shape
            assert np.abs(one.astype(int) - np.asarray(page)).mean() < 4

    def test_a_gif_plays_every_frame_with_the_maps_colours(self, tmp_path):
        path = tmp_path / "film.gif"
        write_heatmap(path, make_heatmap(), make_frames())
        drawn = list(pages(make_heatmap(), make_frames(), picture_width=560))
        with Image.open(path) as film:
            assert film.n_frames == 6
            assert film.info["duration"] == 500
            for number, page in enumerate(drawn):
                film.seek(number)
                shown = np.asarray(film.convert("RGB")).astype(int)
                assert np.abs(shown - np.asarray(page)).mean() < 4

    @pytest.mark.parametrize("name", ["a.png", "a.mp4", "a.gif"])
    def test_the_same_heatmap_gives_the_same_bytes(self, tmp_path, name):
        path = tmp_path / name
        contents = set()
        for _ in range(2):
            write_heatmap(path, make_heatmap(), make_frames())
            contents.add(path.read_bytes())
        assert len(contents) == 1

    @pytest.mark.parametrize("name", ["a.png", "a.mp4", "a.gif", "a"])
    def test_heatmaps_know_each_other(self, tmp_path, name):
        for path in write_heatmap(tmp_path / name, make_heatmap(), make_frames()):
            assert is_heatmap(path)
            check_replaceable(path)

    @pytest.mark.parametrize("name", ["a.png", "a.mp4", "a.gif"])
    def test_other_files_are_not_replaceable(self, tmp_path, name):
        path = tmp_path / name
        check_replaceable(path)
        path.touch()
        check_replaceable(path)
        if name == "a.mp4":
            encode_mp4(np.zeros((2, 16, 16, 3), np.uint8), path, fps=2)
        else:
            Image.new("RGB", (4, 4)).save(path)
        with pytest.raises(UsageError, match="choose another name"):
            check_replaceable(path)
        path.write_text("not even a picture")
        with pytest.raises(UsageError, match="choose another name"):
            check_replaceable(path)

    @pytest.mark.parametrize("name", ["a.png", "a.mp4", "a.gif"])
    def test_a_failure_leaves_what_was_there_and_nothing_else(self, tmp_path, name):
        path = tmp_path / name
        path.write_text("the old one")

        def frames():
            yield from make_frames(3)
            raise OSError("the film broke")

        with pytest.raises(OSError, match="the film broke"):
            write_heatmap(path, make_heatmap(), frames())
        assert [entry.name for entry in tmp_path.iterdir()] == [name]
        assert path.read_text() == "the old one"
