"""`pplava bench`: what is measured is what happened, and how it is told."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import av
import pytest
import small_models

from pplava_core import bench, media
from pplava_core.bench import Measurements, measure, write_clip
from pplava_core.errors import InputError, UsageError
from pplava_core.session import Generation, PoolingChoice
from pplava_core.types import Sampling
from pplava_core.window import Window

GOLDEN = json.loads((Path(__file__).parent / "json_schema_1.json").read_text())

MEASURED = Measurements(
    rounds=5,
    grid_size=(16, 12, 10),
    patch_count=1920,
    token_count=96,
    decode_seconds=0.3,
    encode_seconds=0.1,
    pool_seconds=0.02,
    generate_seconds=0.5,
    text_token_count=10,
    second_pool_seconds=0.01,
    second_generate_seconds=0.4,
    cached_open_seconds=0.005,
)


@pytest.fixture(scope="module")
def small_model():
    return small_models.small_model()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return small_models.write_clip(tmp_path_factory.mktemp("bench") / "clip.mp4")


def test_the_made_clip_is_a_film_of_middling_size(tmp_path):
    write_clip(tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (640, 360, 64)


def test_counts_are_those_of_the_clip_and_the_choices(small_model, clip):
    measured = measure(
        [clip],
        small_model,
        sampling=Sampling(num_frames=6),
        pooling=PoolingChoice(window=Window((3, 2, 2))),
        generation=Generation(max_new_tokens=3),
        rounds=1,
    )
    assert measured.grid_size == (6, 6, 6)
    assert (measured.patch_count, measured.token_count) == (216, 18)
    assert 0 <= measured.text_token_count <= 3
    for field in dataclasses.fields(measured):
        if field.name.endswith("_seconds"):
            assert getattr(measured, field.name) > 0


def test_every_round_reads_anew_and_the_first_is_not_counted(small_model, clip, monkeypatch):
    reads, clock = [], [0.0]
    real = media.load_clip

    def slow_load(*arguments, **keywords):
        reads.append(1)
        clock[0] += 100.0 if len(reads) == 1 else float(len(reads))
        return real(*arguments, **keywords)

    monkeypatch.setattr(bench.media, "load_clip", slow_load)
    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])
    rounds = []
    measured = measure(
        [clip],
        small_model,
        generation=Generation(max_new_tokens=1),
        rounds=3,
        progress=lambda *done: rounds.append(done),
    )
    assert rounds == [(1, 4), (2, 4), (3, 4), (4, 4)]
    # one reading a round, and one more to fill the cache of the round that is not counted
    assert len(reads) == 5
    assert measured.decode_seconds == 4.0
    assert measured.encode_seconds == 0.0
    assert measured.cached_open_seconds == 0.0


def test_a_second_question_is_compared_with_reading_and_encoding():
    assert MEASURED.second_question_ratio == pytest.approx(0.025)


def test_nonsense_is_refused(small_model, clip, tmp_path):
    with pytest.raises(UsageError, match="at least 1"):
        measure([clip], small_model, rounds=0)
    with pytest.raises(InputError):
        measure([tmp_path / "gone.mp4"], small_model)


@pytest.fixture
def measuring(fakes, monkeypatch):
    """Replace the measuring by fixed results, and note what it was asked."""
    asked = []

    def fixed(paths, model, **choices):
        asked.append({"paths": paths, "existed": paths[0].exists(), **choices})
        return MEASURED

    monkeypatch.setattr(bench, "measure", fixed)
    monkeypatch.setattr(bench, "write_clip", lambda path: path.touch())
    return asked


def test_words(run_pplava, measuring, make_files):
    (film,) = make_files("a.mp4")
    run = run_pplava("bench", film, "--rounds", "5", "--frames", "16", "--kernel", "2,3,3")
    assert run.code == 0
    assert run.stdout.splitlines() == [
        f"{film}: fake on cpu float32, median of 5",
        "decode                       0.3000 s  16 frames",
        "encode                       0.1000 s  16×12×10 patches",
        "pool                         0.0200 s  1920 → 96 tokens",
        "generate                     0.5000 s  10 tokens, 20 a second",
        "2nd question: pool           0.0100 s  2.5 % of decode + encode",
        "2nd question: generate       0.4000 s",
        "the clip from the cache      0.0050 s  instead of decode + encode",
    ]
    (asked,) = measuring
    assert asked["paths"] == [film]
    assert asked["rounds"] == 5
    assert asked["sampling"] == Sampling(num_frames=16)
    assert asked["pooling"].window == Window((2, 3, 3))


def test_without_a_film_one_is_made(run_pplava, measuring):
    run = run_pplava("bench")
    assert run.code == 0
    assert measuring[0]["existed"]
    assert not measuring[0]["paths"][0].exists()


def test_json(run_pplava, measuring):
    record = json.loads(run_pplava("bench", "--json").stdout)
    assert {key: type(value).__name__ for key, value in record.items()} == {
        key: {"list": "list", "dict": "dict"}.get(type(shape).__name__, shape)
        for key, shape in GOLDEN["bench"].items()
    }
    assert record["second_question_ratio"] == pytest.approx(0.025)
    assert record["grid_size"] == [16, 12, 10]


def test_a_missing_film_is_found_before_the_model_is_loaded(run_pplava, fakes, tmp_path):
    assert run_pplava("bench", tmp_path / "gone.mp4").code == 3
    assert fakes.loads == []
