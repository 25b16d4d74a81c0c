"""Getting a benchmark's data from a hub on this machine, which may misbehave."""

from __future__ import annotations

import json

import pytest
from hub_server import COMMIT, Repository, running_hub

from pplava_core.errors import InputError, OutputError, UsageError
from pplava_core.evals.data import fetch as fetching
from pplava_core.evals.registry import find_benchmark

FILES = {
    "README.md": b"---\nlicense: mit\n---\n",
    "json/action_count.json": b"[]",
    "video/clips.zip": bytes(range(256)) * 3000,
}
TOTAL_BYTES = sum(map(len, FILES.values()))
MVBENCH = find_benchmark("mvbench").info


@pytest.fixture
def hub(monkeypatch):
    repository = Repository(dict(FILES), licence="mit", large=frozenset({"video/clips.zip"}))
    with running_hub(OpenGVLab__MVBench=repository) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


def test_what_it_is_comes_first(hub, tmp_path):
    offer = fetching.look_up(MVBENCH, tmp_path / "data")
    assert (offer.licence, offer.file_count) == ("mit", 3)
    assert offer.total_bytes == offer.missing_bytes == TOTAL_BYTES
    assert offer.source.revision == COMMIT
    assert offer.free_bytes > 0
    assert not any(one.method == "GET" and "/resolve/" in one.path for one in hub.log)
    assert not (tmp_path / "data" / "README.md").exists()


def test_everything_arrives_once(hub, tmp_path):
    folder, told = tmp_path / "data", []
    fetching.fetch(
        fetching.look_up(MVBENCH, folder), progress=lambda *numbers: told.append(numbers)
    )
    for name, content in FILES.items():
        assert (folder / name).read_bytes() == content
    assert told[-1] == (TOTAL_BYTES, TOTAL_BYTES)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    hub.log.clear()
    offer = fetching.look_up(MVBENCH, folder)
    assert offer.missing_bytes == 0
    fetching.fetch(offer)
    assert not any(one.method == "GET" and "/resolve/" in one.path for one in hub.log)


def test_what_is_there_is_not_fetched_again(hub, tmp_path):
    folder = tmp_path / "data"
    fetching.fetch(fetching.look_up(MVBENCH, folder))
    (folder / "json" / "action_count.json").unlink()
    hub.log.clear()
    offer = fetching.look_up(MVBENCH, folder)
    assert offer.missing_bytes == len(FILES["json/action_count.json"])
    fetching.fetch(offer)
    assert (folder / "json" / "action_count.json").read_bytes() == b"[]"
    assert len(hub.requests_of("action_count.json")) == 1
    assert not hub.requests_of("clips.zip")


def test_no_access_is_one_line_and_leaves_what_is_there(hub, tmp_path):
    folder = tmp_path / "data"
    offer = fetching.look_up(MVBENCH, folder)
    hub.repositories["OpenGVLab/MVBench"].gated = True
    with pytest.raises(InputError, match="gated") as caught:
        fetching.fetch(offer)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_found_before_the_first_byte(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "free_disk_bytes", lambda folder: 1000)
    offer = fetching.look_up(MVBENCH, tmp_path / "data")
    with pytest.raises(OutputError, match="no space"):
        fetching.fetch(offer)
    assert not any(one.method == "GET" and "/resolve/" in one.path for one in hub.log)


def test_what_no_hub_has(hub, tmp_path):
    with pytest.raises(UsageError, match="not on the hub"):
        fetching.look_up(find_benchmark("msvdqa").info, tmp_path)
    with pytest.raises(InputError, match="no repository"):
        fetching.look_up(MVBENCH, tmp_path, hub_id="nobody/nothing")
    with pytest.raises(InputError, match="no revision"):
        fetching.look_up(MVBENCH, tmp_path, revision="v9")


def test_no_hub_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="no connection"):
        fetching.look_up(MVBENCH, tmp_path)


def test_the_command_asks_first(hub, run_pplava, tmp_path, own_directories):
    run = run_pplava("eval", "fetch", "mvbench", "-o", tmp_path / "data")
    assert run.code == 2
    assert "licence: mit" in run.stderr
    assert "--yes" in run.stderr
    assert not (tmp_path / "data" / "README.md").exists()
    run = run_pplava("eval", "fetch", "mvbench", "--yes", "--json")
    assert run.code == 0, run.stderr
    assert len(run.stderr.splitlines()) == 1
    record = json.loads(run.stdout)
    assert record["folder"] == str(own_directories / "cache" / "evals" / "data" / "mvbench")
    assert record["total_bytes"] == TOTAL_BYTES
    again = run_pplava("eval", "fetch", "mvbench")
    assert again.code == 0
    assert again.stdout.strip() == record["folder"]
