"""Pulling models from a small hub on this machine: what arrives, or is said if nothing does."""

from __future__ import annotations

import json

import pytest
from hub_server import CLIP_REPOSITORY, COMMIT, WEIGHTS, base_model
from store_pulls import pull_text, refusal, small_hub

from pplava_core.errors import ModelError
from pplava_core.models.catalog import find_model, list_models
from pplava_core.models.store.known import find_known
from pplava_core.models.store.shelf import verify
from pplava_core.paths import models_directory


@pytest.fixture
def hub(monkeypatch):
    with small_hub(monkeypatch) as hub:
        yield hub


def files_of(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


class TestSuccess:
    def test_a_base_model_and_its_aligner(self, hub):
        pulled = pull_text("owner/small")
        assert pulled.folder == models_directory() / "owner--small"
        assert files_of(pulled.folder) == [
            "aligner_source/config.json",
            "aligner_source/merges.txt",
            "aligner_source/pytorch_model.bin",
            "aligner_source/vocab.json",
            "chat_template.jinja",
            "config.json",
            "model.safetensors",
            "source.json",
            "tokenizer.json",
            "tokenizer.model",
        ]
        assert (pulled.folder / "model.safetensors").read_bytes() == WEIGHTS
        assert not list(models_directory().glob("*.partial"))
        verify(pulled.folder)

    def test_the_record_pins_the_commit(self, hub):
        record = json.loads((pull_text("owner/small@v1").folder / "source.json").read_text())
        assert (record["requested_revision"], record["revision"]) == ("v1", COMMIT)
        assert (record["repo"], record["licence"]) == ("owner/small", "apache-2.0")
        assert record["aligner_repo"] == CLIP_REPOSITORY
        assert record["files"]["model.safetensors"]["digest"].startswith("sha256:")
        assert record["files"]["config.json"]["digest"].startswith("git-sha1:")
        resolved = {asked.path.split("/resolve/")[1].split("/")[0] for asked in hub.log
                    if "/resolve/" in asked.path}  # fmt: skip
        assert resolved == {COMMIT}

    def test_it_is_found_by_name_and_by_repository(self, hub):
        folder = pull_text("owner/small").folder
        for name in ("owner--small", "owner/small", "owner/small@main", f"owner/small@{COMMIT}"):
            entry = find_model(name)
            assert (entry.folder, entry.source) == (folder, "pulled")
        assert (entry.backbone, entry.licence) == ("llava_next", "apache-2.0")
        assert "owner--small" in [entry.name for entry in list_models()]
        with pytest.raises(ModelError, match="looks for it on the hub"):
            find_model("owner/small@v2")

    def test_the_authors_folder_needs_nothing_beside_it(self, hub):
        known = find_known("ppllava-vicuna-7b")
        repository = base_model(WEIGHTS, licence=None)
        repository.files = {
            f"{known.subfolder}/{name}": content for name, content in repository.files.items()
        }
        repository.large = frozenset({f"{known.subfolder}/model.safetensors"})
        hub.repositories[known.repo] = repository
        pulled = pull_text("ppllava-vicuna-7b")
        assert pulled.folder.name == "ppllava-vicuna-7b"
        assert (pulled.folder / "model.safetensors").read_bytes() == WEIGHTS
        assert not (pulled.folder / "aligner_source").exists()
        assert pulled.record.licence == "unverified"
        assert find_model("ppllava-vicuna-7b").description == known.description
        assert not any(CLIP_REPOSITORY in asked.path for asked in hub.log)

    def test_a_listing_without_hashes(self, hub):
        hub.repositories["owner/small"].plain_listing = True
        record = pull_text("owner/small").record
        assert record.files["model.safetensors"].digest.startswith("sha256:")
        assert hub.requests_of("model.safetensors", "HEAD")

    def test_progress_ends_where_the_total_is(self, hub):
        steps = []
        record = pull_text("owner/small", progress=lambda *step: steps.append(step)).record
        assert steps[-1] == (record.size_bytes, record.size_bytes)
        assert steps == sorted(steps)

    def test_nothing_is_fetched_twice(self, hub):
        pull_text("owner/small")
        hub.log.clear()
        assert pull_text("owner/small").already_here
        assert not any("/resolve/" in asked.path for asked in hub.log)

    def test_a_new_commit_brings_only_what_is_new(self, hub):
        pull_text("owner/small")
        repository = hub.repositories["owner/small"]
        repository.commit, repository.files["tokenizer.json"] = "f" * 40, b'{"a": 2}'
        del repository.files["tokenizer.model"]
        hub.log.clear()
        pulled = pull_text("owner/small")
        assert (pulled.already_here, pulled.record.revision) == (False, "f" * 40)
        assert (pulled.folder / "tokenizer.json").read_bytes() == b'{"a": 2}'
        assert "tokenizer.model" not in files_of(pulled.folder)
        assert not hub.requests_of("model.safetensors")
        assert sorted(path.name for path in models_directory().iterdir()
                      if path.is_dir()) == ["owner--small"]  # fmt: skip

    def test_again_repairs_what_is_damaged(self, hub):
        folder = pull_text("owner/small").folder
        (folder / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"!")
        with pytest.raises(
            ModelError, match=r"model.safetensors has changed.*pull owner/small --ag"
        ):
            verify(folder)
        (folder / "tokenizer.json").unlink()
        hub.log.clear()
        pull_text("owner/small", again=True)
        verify(folder)
        fetched = {asked.path.rsplit("/", 1)[1] for asked in hub.log if "/resolve/" in asked.path}
        assert fetched == {"model.safetensors", "tokenizer.json"}


class TestDamage:
    def test_a_damaged_record_says_what_helps(self, hub):
        folder = pull_text("owner/small").folder
        (folder / "source.json").write_text('{"format": 9}')
        assert "--again" in refusal()
        pull_text("owner/small", again=True)
        verify(folder)

    def test_wrong_hash(self, hub):
        hub.corrupted = {"model.safetensors"}
        line = refusal()
        assert "model.safetensors of owner/small" in line
        assert "arrived damaged" in line
        assert not (models_directory() / "owner--small").exists()
        hub.corrupted = set()
        verify(pull_text("owner/small").folder)

    def test_wrong_hash_of_a_small_file(self, hub):
        hub.corrupted = {"tokenizer.json"}
        assert "tokenizer.json" in refusal()

    def test_leftovers_are_not_trusted(self, hub):
        hub.corrupted = {"tokenizer.model"}
        refusal()
        partial = models_directory() / "owner--small.partial"
        (partial / "config.json").write_bytes(b"x" * len((partial / "config.json").read_bytes()))
        (partial / "left.json").write_text("by an older commit")
        (partial / "old").mkdir()
        hub.corrupted = set()
        folder = pull_text("owner/small").folder
        verify(folder)
        assert not {"left.json", "old"} & {path.name for path in folder.iterdir()}

    @pytest.mark.parametrize("name", ["../escape.json", "/tmp/escape.json", "a\\..\\escape.json"])
    def test_hostile_file_names(self, hub, name):
        hub.repositories["owner/small"].files[name] = b"{}"
        assert "may lie outside its folder" in refusal()
        assert not list(models_directory().parent.rglob("*escape*"))

    def test_hostile_index(self, hub):
        index = {"weight_map": {"a": "../../other/model.safetensors"}}
        hub.repositories["owner/small"].files["model.safetensors.index.json"] = json.dumps(
            index
        ).encode()
        assert "may lie outside its folder" in refusal()
        assert not list(models_directory().glob("owner*"))

    def test_a_model_that_no_adapter_takes(self, hub):
        hub.repositories["owner/small"].files["config.json"] = b'{"model_type": "bert"}'
        assert "'bert' model, which no adapter" in refusal()
        assert not hub.requests_of("model.safetensors")
        assert not list(models_directory().glob("owner*"))

    def test_a_model_of_ones_own_is_left_alone(self, hub):
        (models_directory() / "owner--small").mkdir(parents=True)
        assert "was not pulled" in refusal()


def test_two_pulls_of_one_model_do_not_meet(hub):
    from filelock import FileLock

    models_directory().mkdir(parents=True)
    with FileLock(models_directory() / ".owner--small.partial.lock"):
        assert "another `pplava models pull`" in refusal()
    pull_text("owner/small")
