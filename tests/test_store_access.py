"""Pulls that cannot succeed: no access, no sense, no space, no connection, no network wanted."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hub_server import COMMIT, WEIGHTS, clip_model
from store_pulls import pull_text, refusal, small_hub

from pplava_core.models.store import download
from pplava_core.models.store.shelf import verify
from pplava_core.paths import models_directory


@pytest.fixture
def hub(monkeypatch):
    with small_hub(monkeypatch) as hub:
        yield hub


@pytest.fixture
def no_waiting(monkeypatch):
    """Let huggingface_hub try again at once."""
    from huggingface_hub import file_download

    monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda seconds: None))


def sibling(**values):
    """Make a listing of one file, of which something is odd."""
    file = {"rfilename": "config.json", "size": 1, "blobId": "a"} | values
    return json.dumps({"id": "owner/small", "sha": "abc", "siblings": [file]}).encode()


class TestAccess:
    def test_gated_without_a_token(self, hub):
        hub.repositories["owner/small"].gated = True
        line = refusal()
        assert "owner/small is gated" in line
        assert "HF_TOKEN" in line
        assert "settings/tokens" in line

    def test_gated_with_a_token_that_may_not(self, hub, monkeypatch):
        hub.repositories["owner/small"].gated = True
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        line = refusal()
        assert "your token may not read owner/small" in line
        assert "secret" not in line

    def test_a_token_goes_to_the_hub_and_nowhere_else(self, hub, monkeypatch):
        hub.repositories["owner/small"].gated = True
        hub.tokens = frozenset({"hf_good"})
        monkeypatch.setenv("HF_TOKEN", "hf_good")
        folder = pull_text("owner/small").folder
        asked = hub.requests_of("model.safetensors")
        assert [(one.origin, one.has_token) for one in asked] == [("hub", True), ("store", False)]
        assert not any(b"hf_good" in path.read_bytes() for path in folder.rglob("*.json"))

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("owner/nothing", "there is no repository owner/nothing"),
            ("owner/a--b", "no name of a repository"),
            ("owner/small@v9", "owner/small has no revision 'v9'"),
            ("owner/small:folder", "has no files in folder/"),
        ],
    )
    def test_what_is_not_there(self, hub, text, reason):
        assert reason in refusal(text)
        assert not list(models_directory().glob("*/config.json"))

    def test_a_file_that_is_listed_but_not_there(self, hub):
        hub.repositories["owner/small"].listed = ("more.json",)
        assert "lacks a file that it lists" in refusal()

    def test_something_that_is_no_hub(self, hub, monkeypatch):
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint + "/elsewhere")
        assert "answered 404" in refusal()

    @pytest.mark.parametrize(
        "said",
        [
            b"<html>log in to the airport's network</html>",
            b"[]",
            b"{}",
            b'{"id": "owner/small", "siblings": []}',
            b'{"id": "owner/small", "sha": "../..", "siblings": []}',
            b'{"id": "owner/small", "sha": "abc"}',
            b'{"id": "owner/small", "sha": "abc", "siblings": [{"size": 1}]}',
            sibling(rfilename=5),
            sibling(size=-1),
            sibling(size="1"),
            sibling(blobId="../b"),
            sibling(lfs={}),
            sibling(lfs={"sha256": "../b", "size": 1, "pointerSize": 1}),
        ],
    )
    def test_answers_that_make_no_sense(self, hub, said):
        hub.repositories["owner/small"].said = said
        refusal()
        assert not list(models_directory().glob("*"))


class TestSpaceAndConnection:
    def test_no_space(self, hub, monkeypatch):
        monkeypatch.setattr(download, "free_disk_bytes", lambda folder: 1000)
        line = refusal()
        assert "no space" in line
        assert "PPLAVA_CACHE_DIR" in line
        assert not hub.requests_of("model.safetensors")

    def test_space_for_the_rest_is_enough(self, hub, monkeypatch):
        hub.corrupted = {"tokenizer.model"}
        refusal()
        wanted = sum(len(file) for file in clip_model().files.values()) + len(WEIGHTS) + 10
        monkeypatch.setattr(download, "free_disk_bytes", lambda folder: wanted)
        hub.corrupted = set()
        pull_text("owner/small")

    def test_the_disk_fills_up_meanwhile(self, hub, monkeypatch):
        from huggingface_hub import file_download

        def full(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(file_download, "http_get", full)
        assert "the disk is full" in refusal()

    def test_a_cache_that_cannot_be_written(self, hub):
        models_directory().parent.mkdir(parents=True)
        models_directory().write_text("a file")
        assert "PPLAVA_CACHE_DIR" in refusal()

    @pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "nonsense", "http://[", "ftp://a"])
    def test_no_hub(self, hub, monkeypatch, endpoint):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        assert endpoint in refusal()

    def test_connection_lost_for_good(self, hub, no_waiting):
        hub.cut_after_bytes = 3000
        line = refusal()
        assert "goes on from there" in line
        hub.cut_after_bytes = None
        verify(pull_text("owner/small").folder)

    def test_a_connection_that_keeps_breaking(self, hub, no_waiting, monkeypatch):
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)
        hub.cut_after_bytes = 3000
        verify(pull_text("owner/small").folder)
        assert [one.range for one in hub.requests_of("model.safetensors")
                if one.origin == "store"][:2] == [None, "bytes=2048-"]  # fmt: skip


class TestOffline:
    def test_with_a_copy(self, hub):
        folder = pull_text("owner/small").folder
        hub.log.clear()
        pulled = pull_text("owner/small", offline=True)
        assert (pulled.folder, pulled.already_here, hub.log) == (folder, True, [])
        assert pull_text(f"owner/small@{COMMIT}", offline=True).already_here

    def test_without_a_copy(self, hub):
        assert "offline, and owner/small@main is not here" in refusal(offline=True)
        assert hub.log == []

    def test_with_half_a_copy_or_another(self, hub):
        folder = pull_text("owner/small").folder
        assert "is not here" in refusal("owner/small@v1", offline=True)
        (folder / "tokenizer.json").unlink()
        assert "is not here" in refusal(offline=True)

    def test_huggingface_hubs_own_switch(self, hub, monkeypatch):
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert "HF_HUB_OFFLINE is set" in refusal()
