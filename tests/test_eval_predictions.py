"""Files of predictions: nothing is lost, whatever happens to the writer, the disk or the file."""

from __future__ import annotations

import errno
import json
import os

import pytest

from pplava_core.errors import InputError, OutputError, UsageError
from pplava_core.evals.base import Prediction
from pplava_core.evals.runs.predictions import (
    FILE_NAME,
    PredictionLog,
    read_folder,
    read_predictions,
    shard_file_name,
    write_predictions,
)

SOME = [
    Prediction(id="1", text="a\nb  c"),
    Prediction(id="ü\ud800", text="", error="gone"),
    Prediction(id="3", text="(", details={"frames": 4}),
]


def log_all(path, predictions):
    with PredictionLog(path) as log:
        for prediction in predictions:
            log.append(prediction)


def test_lines_come_back_as_they_were(tmp_path):
    path = tmp_path / FILE_NAME
    log_all(path, SOME)
    assert list(read_predictions(path).values()) == SOME
    assert len(path.read_bytes().splitlines()) == 3
    write_predictions(tmp_path / "other.jsonl", SOME)
    assert (tmp_path / "other.jsonl").read_bytes() == path.read_bytes()


def test_every_cut_loses_only_the_line_that_is_cut(tmp_path):
    whole = tmp_path / FILE_NAME
    log_all(whole, SOME)
    data = whole.read_bytes()
    ends = [place for place, byte in enumerate(data) if byte == ord("\n")]
    for cut in range(len(data) + 1):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(data[:cut])
        kept = sum(end <= cut for end in ends)
        assert list(read_predictions(path).values()) == SOME[:kept]
        log_all(path, SOME[kept:])
        assert path.read_bytes() == data


def test_a_line_is_on_the_disk_before_append_returns(tmp_path, monkeypatch):
    path, synced = tmp_path / FILE_NAME, []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(path.read_bytes().count(b"\n")))
    log_all(path, SOME)
    assert synced == [1, 2, 3]


@pytest.mark.parametrize(
    "line",
    ['{"text": "a"}', '{"id": 1, "text": "a"}', '{"id": "1", "text": 2}', "[]", "nonsense", "3"],
)
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / FILE_NAME
    path.write_text('{"id": "0", "text": ""}\n' + line + "\n")
    with pytest.raises(InputError, match="line 2"):
        read_predictions(path)


def test_a_missing_file_is_unreadable(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_predictions(tmp_path / "absent.jsonl")


def test_an_answer_beats_an_error_whichever_process_wrote_it(tmp_path):
    log_all(tmp_path / FILE_NAME, [Prediction(id="1", error="gone"), Prediction(id="2", text="b")])
    log_all(tmp_path / shard_file_name(0), [Prediction(id="1", text="a")])
    log_all(tmp_path / shard_file_name(1), [Prediction(id="2", error="gone")])
    found = read_folder(tmp_path)
    assert {name: (one.text, one.error) for name, one in found.items()} == {
        "1": ("a", None),
        "2": ("b", None),
    }


def test_two_runs_do_not_share_a_file(tmp_path):
    with PredictionLog(tmp_path / FILE_NAME), pytest.raises(UsageError, match="another run"):
        PredictionLog(tmp_path / FILE_NAME)
    with PredictionLog(tmp_path / FILE_NAME):
        pass


class FullDisk:
    """A file on a disk that takes no more after so many bytes."""

    def __init__(self, file, room_bytes):
        self.file, self.room_bytes = file, room_bytes

    def write(self, data):
        if self.room_bytes == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = min(len(data), self.room_bytes)
        self.room_bytes -= taken
        return self.file.write(data[:taken])

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_is_one_line_and_leaves_whole_lines(tmp_path):
    path = tmp_path / FILE_NAME
    with PredictionLog(path) as log:
        log.append(SOME[0])
        log._file = FullDisk(log._file, 10)
        with pytest.raises(OutputError, match=r"No space left on device.*is kept") as caught:
            log.append(SOME[2])
        assert "\n" not in str(caught.value)
        assert list(read_predictions(path).values()) == SOME[:1]
        assert json.loads(path.read_text())["id"] == "1"
        log._file.room_bytes = 1000
        log.append(SOME[2])
    assert [one.id for one in read_predictions(path).values()] == ["1", "3"]


def test_a_folder_that_may_not_be_written_into(tmp_path):
    target = tmp_path / "absent" / FILE_NAME
    with pytest.raises(OutputError, match="No such file"):
        PredictionLog(target)
    with pytest.raises(OutputError, match="No such file"):
        write_predictions(target, SOME)
