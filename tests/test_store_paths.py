"""No name from a hub, an index or a record leads outside its folder."""

from __future__ import annotations

import json

import pytest
from hub_server import base_model
from store_folders import write_pulled

from pplava_core.errors import ModelError, UsageError
from pplava_core.models.store import HubSource, check_file_name, check_index, path_inside
from pplava_core.models.store.hub import HubFile
from pplava_core.models.store.selection import choose_aligner_files, choose_model_files
from pplava_core.models.store.shelf import remove, verify

HOSTILE = [
    "/etc/passwd",
    "../model.safetensors",
    "a/../../model.safetensors",
    "a//model.safetensors",
    "./model.safetensors",
    "..\\model.safetensors",
    "C:\\model.safetensors",
    "C:model.safetensors",
    "\\\\host\\share\\model.safetensors",
    "model\0.safetensors",
    "model\n.safetensors",
    "\x1b]0;title\x07.safetensors",
    "a" * 300 + ".safetensors",
    "",
    ".",
    "..",
    "a/",
]
ODD_VALUES = [None, 5, ["model.safetensors"], {"a": 1}, True]


@pytest.mark.parametrize("name", [*HOSTILE, *ODD_VALUES], ids=repr)
def test_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(ModelError, match="owner/small") as error:
        check_file_name(name, of="owner/small")
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("name", ["config.json", "a/b/c.json", "..a.json", "a..b", "名前.json"])
def test_ordinary_names_pass(name):
    assert check_file_name(name, of="x") == name


def write_index(folder, weight_map, name="model.safetensors.index.json"):
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


class TestIndex:
    def test_shards_are_named_once_each(self, tmp_path):
        names = ["model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"]
        for name in names:
            (tmp_path / name).touch()
        write_index(tmp_path, {"a": names[0], "b": names[1], "c": names[0]})
        assert check_index(tmp_path) == sorted(names)

    @pytest.mark.parametrize("name", [*HOSTILE, None, 5, True], ids=repr)
    def test_hostile_shard(self, tmp_path, name):
        folder = tmp_path / "model"
        folder.mkdir()
        (tmp_path / "model.safetensors").touch()
        write_index(folder, {"a": name})
        with pytest.raises(ModelError):
            check_index(folder)

    @pytest.mark.parametrize("name", ["config.json", "model.py", "model.pkl", "model"])
    def test_only_weight_files(self, tmp_path, name):
        (tmp_path / name).touch()
        write_index(tmp_path, {"a": name})
        with pytest.raises(ModelError, match="no weight file"):
            check_index(tmp_path)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{}",
            '{"weight_map": []}',
            '{"weight_map": {}}',
            "[" * 100_000,
            '{"weight_map"',
        ],
        ids=lambda text: text[:20],
    )
    def test_damaged_index(self, tmp_path, text):
        (tmp_path / "model.safetensors.index.json").write_text(text)
        with pytest.raises(ModelError, match="index"):
            check_index(tmp_path)

    def test_missing_shard_is_named(self, tmp_path):
        write_index(tmp_path, {"a": "model-00001-of-00001.safetensors"})
        with pytest.raises(ModelError, match="lacks model-00001-of-00001"):
            check_index(tmp_path)

    def test_index_of_pickles(self, tmp_path):
        (tmp_path / "pytorch_model-1.bin").touch()
        write_index(tmp_path, {"a": "pytorch_model-1.bin"}, "pytorch_model.bin.index.json")
        assert check_index(tmp_path) == ["pytorch_model-1.bin"]

    def test_folder_without_an_index(self, tmp_path):
        with pytest.raises(ModelError, match="no weights"):
            check_index(tmp_path)
        (tmp_path / "pytorch_model.bin").touch()
        (tmp_path / "training_args.bin").touch()
        assert check_index(tmp_path) == ["pytorch_model.bin"]
        (tmp_path / "model.safetensors").touch()
        assert check_index(tmp_path) == ["model.safetensors"]


class TestLinks:
    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "secret.safetensors").touch()
        (tmp_path / "model").mkdir()
        return tmp_path / "model"

    def test_link_out_of_the_folder(self, folder):
        (folder / "model.safetensors").symlink_to("../secret.safetensors")
        with pytest.raises(ModelError, match="link to outside"):
            check_index(folder)

    def test_index_that_is_a_link(self, folder):
        (folder.parent / "index.json").write_text('{"weight_map": {"a": "a.safetensors"}}')
        (folder / "model.safetensors.index.json").symlink_to("../index.json")
        with pytest.raises(ModelError, match="link to outside"):
            check_index(folder)

    def test_folder_that_is_a_link(self, folder):
        (folder / "inner").symlink_to("..")
        with pytest.raises(ModelError, match="link to outside"):
            path_inside(folder, "inner/secret.safetensors", of="x")

    def test_links_inside_and_links_to_the_folder_are_fine(self, folder):
        (folder / "weights").touch()
        (folder / "model.safetensors").symlink_to("weights")
        (folder.parent / "alias").symlink_to("model")
        assert check_index(folder.parent / "alias") == ["model.safetensors"]


def listing(*names):
    return [HubFile(name=name, size_bytes=1, digest="git-sha1:00") for name in names]


class TestSelection:
    SOURCE = HubSource(repo="owner/small")

    def test_weights_settings_and_tokenizers_but_no_code(self):
        names = choose_model_files(listing(*base_model().files), self.SOURCE)
        assert sorted(names) == [
            "chat_template.jinja",
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer.model",
        ]

    def test_pickles_only_without_safetensors(self):
        files = ["config.json", "pytorch_model-1.bin", "pytorch_model-2.bin", "optimizer.bin"]
        names = choose_model_files(listing(*files), self.SOURCE)
        assert sorted(names) == ["config.json", "pytorch_model-1.bin", "pytorch_model-2.bin"]

    def test_a_subfolder_comes_to_the_top(self):
        files = ["config.json", "sub/config.json", "sub/a.safetensors", "sub/deep/x.json", "subx/y"]
        source = HubSource(repo="owner/small", subfolder="sub")
        chosen = choose_model_files(listing(*files), source)
        assert {name: file.name for name, file in chosen.items()} == {
            "config.json": "sub/config.json",
            "a.safetensors": "sub/a.safetensors",
        }

    def test_small_files_of_an_aligner(self):
        files = ["config.json", "vocab.json", "merges.txt", "model.safetensors", "notes.txt"]
        small = choose_aligner_files(listing(*files), self.SOURCE, weights=False)
        assert sorted(small) == ["config.json", "merges.txt", "vocab.json"]
        whole = choose_aligner_files(listing(*files), self.SOURCE, weights=True)
        assert sorted({*whole} - {*small}) == ["model.safetensors"]

    @pytest.mark.parametrize("name", HOSTILE, ids=repr)
    def test_a_hostile_name_refuses_the_whole_repository(self, name):
        with pytest.raises(ModelError):
            choose_model_files(listing("config.json", "a.safetensors", name), self.SOURCE)

    def test_the_hub_does_not_write_our_record(self):
        files = listing("config.json", "a.safetensors", "source.json")
        assert "source.json" not in choose_model_files(files, self.SOURCE)

    @pytest.mark.parametrize(
        ("names", "reason"),
        [
            ([], "no files"),
            (["a.safetensors"], "no config.json"),
            (["config.json"], "no weights"),
            (["config.json", "training_args.bin"], "no weights"),
        ],
    )
    def test_what_is_no_model(self, names, reason):
        with pytest.raises(ModelError, match=reason):
            choose_model_files(listing(*names), self.SOURCE)


class TestRecords:
    @pytest.mark.parametrize("name", ["../outside.txt", "/etc/passwd", "a\\b"])
    def test_a_hostile_record_reads_nothing_outside(self, name):
        folder = write_pulled("small")
        record = json.loads((folder / "source.json").read_text())
        record["files"][name] = {"size_bytes": 1, "digest": "sha256:00"}
        (folder / "source.json").write_text(json.dumps(record))
        with pytest.raises(ModelError, match="may lie outside"):
            verify(folder)

    @pytest.mark.parametrize("name", ["..", ".", "../models/small", "/", "", "small/..", ".hidden"])
    def test_remove_stays_in_the_cache(self, name):
        folder = write_pulled("small")
        with pytest.raises((ModelError, UsageError)):
            remove(name)
        assert (folder / "config.json").exists()

    def test_remove_of_a_link_keeps_what_it_points_to(self, tmp_path):
        folder = write_pulled("small")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "config.json").touch()
        (folder.parent / "link").symlink_to(tmp_path / "mine")
        remove("link")
        assert (tmp_path / "mine" / "config.json").exists()
        assert not (folder.parent / "link").is_symlink()
