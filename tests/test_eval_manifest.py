"""What a folder of results belongs to, and which questions a run asks."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import pytest
from eval_datasets import BUILDERS
from eval_fakes import Noise, write_noise
from small_models import small_model

from pplava_core.errors import InputError, OutputError, UsageError
from pplava_core.evals.base import Item, Settings
from pplava_core.evals.registry import find_benchmark
from pplava_core.evals.runs.job import default_folder, manifest_of
from pplava_core.evals.runs.manifest import claim_folder, differences, items_hash, read_manifest
from pplava_core.evals.runs.running import Work
from pplava_core.evals.runs.selection import Selection, select
from pplava_core.session import PoolingChoice
from pplava_core.window import Window


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_noise(tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="module")
def model():
    return small_model()


def manifest_with(data, model, *, selection=Selection(), settings=Settings(), **changes):
    work = Work(benchmark=Noise(), settings=settings, model=model, **changes)
    items = select(work.benchmark.items(data, settings), selection)
    return manifest_of(work, items, selection)


def test_a_manifest_names_what_determines_the_result(data, model, tmp_path):
    manifest = manifest_with(data, model)
    assert manifest["benchmark"] == "noise"
    assert manifest["model"] == {"name": "small", "revision": "seed0", "dtype": "float32"}
    assert manifest["data"]["questions"] == 12
    assert {"pplava", "torch", "transformers", "python"} <= set(manifest["versions"])
    claim_folder(tmp_path / "a" / "run", manifest)
    assert read_manifest(tmp_path / "a" / "run") == manifest
    claim_folder(tmp_path / "a" / "run", manifest_with(data, model))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"settings": Settings(num_frames=8)}, "settings.num_frames was null and would be 8"),
        ({"settings": Settings(protocol="lmms")}, 'settings.protocol was "official"'),
        ({"selection": Selection(limit=3)}, "selection.limit was null and would be 3"),
        ({"pooling": PoolingChoice(window=Window((1, 2, 2)))}, "pooling.window"),
        ({"reader": "decord"}, 'reader was "pyav" and would be "decord"'),
    ],
)
def test_another_run_is_refused_with_the_difference(data, model, tmp_path, changes, named):
    claim_folder(tmp_path, manifest_with(data, model))
    (tmp_path / "predictions.jsonl").write_text("kept")
    with pytest.raises(UsageError) as caught:
        claim_folder(tmp_path, manifest_with(data, model, **changes))
    assert named in str(caught.value)
    assert "--fresh" in str(caught.value)
    assert (tmp_path / "predictions.jsonl").read_text() == "kept"
    claim_folder(tmp_path, manifest_with(data, model, **changes), fresh=True)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_another_model_and_other_versions_are_refused(data, model, tmp_path):
    manifest = manifest_with(data, model)
    claim_folder(tmp_path, manifest)
    other = manifest_with(data, small_model(seed=1))
    assert differences(manifest, other) == ['model.revision was "seed0" and would be "seed1"']
    newer = {**manifest, "versions": {**manifest["versions"], "torch": "99"}}
    with pytest.raises(UsageError, match=r"versions\.torch"):
        claim_folder(tmp_path, newer)


def test_scoring_strictly_asks_nothing_anew(data, model):
    strict = manifest_with(data, model, settings=Settings(strict=True))
    assert strict == manifest_with(data, model)


def test_the_data_hash_knows_every_word_but_not_where_videos_lie(data, tmp_path):
    items = Noise().items(data, Settings())
    moved = [dataclasses.replace(item, video=tmp_path / item.video_id) for item in items]
    assert items_hash(moved) == items_hash(items)
    spoken = [dataclasses.replace(item, subtitles=data / "a.srt") for item in items]
    assert items_hash(spoken) != items_hash(items)
    also_moved = [dataclasses.replace(item, subtitles=tmp_path / "a.srt") for item in items]
    assert items_hash(also_moved) == items_hash(spoken)
    changed = [dataclasses.replace(items[0], answer=1 - items[0].answer), *items[1:]]
    assert items_hash(changed) != items_hash(items)
    assert items_hash(items[::-1]) != items_hash(items)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_data_folder_may_be_moved_and_named_otherwise(name, tmp_path, monkeypatch):
    folder = BUILDERS[name](tmp_path / "here" / "data")
    benchmark = find_benchmark(name)
    before = items_hash(benchmark.items(folder, Settings()))
    folder.parent.rename(tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    assert items_hash(benchmark.items(Path("data"), Settings())) == before


def test_a_folder_of_other_things_is_left_alone(data, model, tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    for fresh in (False, True):
        with pytest.raises(UsageError, match="other files"):
            claim_folder(tmp_path, manifest_with(data, model), fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_folders_that_cannot_be_and_manifests_that_are_damaged(data, model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        claim_folder(tmp_path / "file" / "run", manifest_with(data, model))
    with pytest.raises(InputError, match="no folder of results"):
        read_manifest(tmp_path)
    for text in ("{", "[]", '{"format": 0}'):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(InputError, match="--fresh"):
            read_manifest(tmp_path)


def test_the_same_run_has_the_same_folder(data, model):
    first = default_folder(manifest_with(data, model))
    assert first == default_folder(manifest_with(data, model))
    assert first != default_folder(manifest_with(data, model, settings=Settings(num_frames=8)))
    assert first.name.startswith("noise-small-")
    manifest = manifest_with(data, model)
    manifest["model"]["name"] = "owner/model v1"
    assert default_folder(manifest).name.startswith("noise-owner-model-v1-")


def items_of(counts):
    return [
        Item(
            id=f"{kind}{number}",
            video=None,
            video_id=f"video {number % 3}",
            question="?",
            groups={"kind": kind, "length": "short" if number % 2 else "long"},
        )
        for kind, count in counts.items()
        for number in range(count)
    ]


def test_a_limit_takes_from_every_task_its_share():
    items = items_of({"a": 60, "b": 30, "c": 9, "d": 1})
    for limit in (1, 7, 10, 50, 99):
        chosen = select(items, Selection(limit=limit))
        assert len(chosen) == limit
        got = Counter(item.groups["kind"] for item in chosen)
        for kind, count in (("a", 60), ("b", 30), ("c", 9), ("d", 1)):
            assert abs(got[kind] - limit * count / 100) < 1
        assert [item.id for item in items if item in chosen] == [item.id for item in chosen]
    assert select(items, Selection(limit=100)) == items
    assert select(items, Selection(limit=10)) == select(items, Selection(limit=10))
    assert select(items, Selection(limit=10)) != select(items, Selection(limit=10, seed=1))


def test_only_takes_values_of_any_axis_however_they_are_written():
    items = items_of({"Action Count": 4, "b": 4})
    assert len(select(items, Selection(only=("action count",)))) == 4
    assert len(select(items, Selection(only=("SHORT",)))) == 4
    assert len(select(items, Selection(only=("b", "short")))) == 6
    with pytest.raises(UsageError, match="Action Count, b, long, short"):
        select(items, Selection(only=("c",)))
    with pytest.raises(UsageError, match="no question"):
        select([], Selection())


def test_a_shuffle_keeps_a_videos_questions_together():
    items = items_of({"a": 12})
    shuffled = select(items, Selection(shuffle=True, seed=2))
    assert shuffled != items
    assert sorted(item.id for item in shuffled) == sorted(item.id for item in items)
    videos = [item.video_id for item in shuffled]
    assert [name for place, name in enumerate(videos) if videos.index(name) == place] == list(
        dict.fromkeys(videos)
    )
    assert videos == sorted(videos, key=videos.index)
    assert shuffled == select(items, Selection(shuffle=True, seed=2))


def test_a_manifest_is_plain_json(data, model):
    manifest = manifest_with(data, model, pooling=PoolingChoice(window=Window((1, 2, 2))))
    assert json.loads(json.dumps(manifest, allow_nan=False)) == manifest
