"""Subtitles are chosen and ordered as the benchmarks' own codes do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pplava_core.errors import InputError
from pplava_core.evals.benchmarks.subtitles import (
    Cue,
    interleaved,
    read_srt,
    read_timed_lines,
    shown_in,
    spoken_at,
)

FOLDER = Path(__file__).parent / "data" / "evals"
VIDEOMME = json.loads((FOLDER / "videomme" / "subtitle_oracle.json").read_text())
LONGVIDEOBENCH = json.loads((FOLDER / "longvideobench" / "interleave_oracle.json").read_text())


@pytest.fixture(params=VIDEOMME, ids=lambda case: case["srt"])
def case(request):
    return request.param


@pytest.fixture
def cues(case):
    return read_srt(FOLDER / "videomme" / "subtitle" / case["srt"])


def test_the_official_rule(case, cues):
    for expected in case["official_slicer"].values():
        lines = spoken_at(cues, [index / case["fps"] for index in expected["frame_idx"]])
        assert "\n".join(lines) == expected["text"]


def test_ppllavas_rule(case, cues):
    expected = case["ppllava"]
    assert " ".join(shown_in(cues, expected["frame_idx"], case["fps"])) == expected["text"]


def test_lmms_evals_rule(case, cues):
    expected = case["lmms_eval_32"]
    indices = np.linspace(0, case["total_frames"] - 1, 32, dtype=int).tolist()
    assert indices == expected["frame_idx"]
    assert "\n".join(shown_in(cues, indices, case["fps"])) == expected["text"]


def test_the_order_of_a_set_is_kept_where_it_is_not_that_of_time():
    assert [case["ppllava"]["chronological"] for case in VIDEOMME] == [True, False, True, False]


@pytest.mark.parametrize("name", LONGVIDEOBENCH)
def test_frames_and_subtitles_stand_in_the_loaders_order(name):
    file_name, offset, duration, _ = (part.split("=")[-1] for part in name.split("|"))
    cues = read_timed_lines(
        FOLDER / "longvideobench" / "subtitles" / f"{file_name}.json",
        offset_seconds=float(offset),
        duration_seconds=float(duration),
    )
    expected = LONGVIDEOBENCH[name]
    order = interleaved(expected["frame_timestamps"], cues)
    shown = ["<image>" if isinstance(part, int) else part for part in order]
    assert "\n".join(shown) == expected["interleaved"]
    assert [part for part in order if isinstance(part, int)] == list(
        range(len(expected["frame_timestamps"]))
    )


def test_a_stop_that_is_no_float_is_the_films_end_before_the_offset_is_taken_off(tmp_path):
    path = tmp_path / "cues.json"
    spans = [[10.0, 12.5], [10.0, 12], [10.0, None]]
    path.write_text(json.dumps([{"timestamp": span, "text": "x"} for span in spans]))
    cues = read_timed_lines(path, offset_seconds=2.0, duration_seconds=60.0)
    assert [cue.stop_seconds for cue in cues] == [10.5, 58.0, 58.0]


def test_a_short_subtitle_is_widened_and_one_between_frames_left_out():
    short = Cue(start_seconds=1.0, stop_seconds=1.2, text="short")
    long = Cue(start_seconds=4.0, stop_seconds=4.9, text="never")
    assert interleaved([0.0, 1.5, 3.0], [short, long]) == [0, "short", 1, 2]


def srt(tmp_path, text):
    path = tmp_path / "one.srt"
    path.write_bytes(text.encode())
    return path


def test_blocks_without_text_are_passed_over_and_the_later_of_two_at_one_time_counts(tmp_path):
    path = srt(
        tmp_path,
        "1\n00:00:00,000 --> 00:00:01,000\nfirst\n\n"
        "2\n00:00:01,000 --> 00:00:02,000\n\n"
        "3\n01:00:02,500 --> 01:00:03,000\nrow\nanother\n\n"
        "4\n00:00:00,000 --> 00:00:01,000\nsecond\n",
    )
    cues = [(cue.start_seconds, cue.stop_seconds, cue.text) for cue in read_srt(path)]
    assert cues == [(0.0, 1.0, "second"), (3602.5, 3603.0, "row another")]


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path):
    path = srt(tmp_path, "\ufeff1\r\n00:00:00,000 --> 00:00:01,000\r\nx\r\n\r\n\r\n2\r\n")
    assert [cue.text for cue in read_srt(path)] == ["x"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"1\nno time\nx\n", "subtitle 1: 'no time' is no time"),
        (b"\xff\xfe1\x00", "not UTF-8"),
    ],
)
def test_unreadable_subtitles_are_one_line(tmp_path, content, said):
    path = tmp_path / "bad.srt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as raised:
        read_srt(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content", ["", "[1]", "{}", '[{"start": 1}]', '[{"timestamp": [1], "text": "x"}]', "[["]
)
def test_timed_lines_in_no_known_format_are_one_line(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"bad\.json") as raised:
        read_timed_lines(path, offset_seconds=0, duration_seconds=1)
    assert "\n" not in str(raised.value)


def test_missing_subtitles_are_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_srt(tmp_path / "none.srt")
