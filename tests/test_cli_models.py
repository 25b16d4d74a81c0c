"""`pplava models`: what is listed, fetched, checked, deleted and usual, and how it fails."""

from __future__ import annotations

import json
import sys
import tomllib

import pytest
from store_folders import write_pulled
from store_pulls import small_hub

from pplava_core.models.store import known_models
from pplava_core.paths import models_directory


@pytest.fixture
def hub(monkeypatch):
    with small_hub(monkeypatch) as hub:
        yield hub


def one_line(run, code):
    """Check that a run failed as it should, and return what it said."""
    assert (run.code, run.stdout) == (code, "")
    assert run.stderr.startswith("pplava: ")
    assert len(run.stderr.splitlines()) == 1
    return run.stderr


class TestList:
    def test_known_ones_come_after_those_that_are_here(self, run_pplava):
        write_pulled("internvl3-1b", repo="OpenGVLab/InternVL3-1B-hf")
        run = run_pplava("models", "list")
        header, *rows = run.stdout.splitlines()
        assert header.split()[:4] == ["NAME", "WHERE", "SIZE", "MEMORY"]
        places = {row.split()[0]: row.split()[1] for row in rows}
        assert places["nano"] == "embedded"
        assert places["internvl3-1b"] == "pulled"
        assert set(places) == {"nano"} | {known.name for known in known_models()}
        assert [*places.values()].count("known") == len(known_models()) - 1

    def test_row_of_a_known_one(self, run_pplava):
        (row,) = [line for line in run_pplava("models", "list").stdout.splitlines()
                  if line.startswith("ppllava-vicuna-7b ")]  # fmt: skip
        words = "known 14.5 GB 14.5 GB 4.9 GB llava_next unverified"
        assert row.split()[1:] == words.split()

    def test_unfinished_pulls_are_no_models(self, run_pplava):
        write_pulled("small.partial")
        write_pulled(".small.old")
        assert "small" not in run_pplava("models", "list").stdout

    def test_odd_folders_do_not_stop_it(self, run_pplava):
        folder = write_pulled("damaged")
        (folder / "source.json").write_text("{")
        (models_directory() / "empty").mkdir()
        run = run_pplava("models", "list")
        assert run.code == 0
        assert "damaged" not in run.stdout


class TestInfo:
    def test_of_one_that_is_not_here(self, run_pplava):
        run = run_pplava("models", "info", "llava-video-7b")
        assert "repo: lmms-lab/LLaVA-Video-7B-Qwen2\n" in run.stdout
        assert "licence: Apache-2.0 (unverified)\n" in run.stdout
        assert "folder" not in run.stdout

    def test_of_one_that_is(self, run_pplava):
        folder = write_pulled("small")
        record = json.loads(run_pplava("models", "info", "small", "--json").stdout)
        assert (record["folder"], record["licence"]) == (str(folder), "mit")
        assert (record["repo"], record["revision"]) == ("owner/small", "a" * 40)

    def test_path(self, run_pplava, hub):
        run_pplava("models", "pull", "owner/small")
        for name in ("owner--small", "owner/small"):
            folder = models_directory() / "owner--small"
            assert run_pplava("models", "path", name).stdout == f"{folder}\n"


class TestPull:
    def test_words(self, run_pplava, hub):
        run = run_pplava("models", "pull", "owner/small")
        folder = models_directory() / "owner--small"
        assert (run.code, run.stdout) == (0, f"owner--small: 0.00 GB, in {folder}\n")
        assert "licence: apache-2.0" in run.stderr
        assert "--model owner--small" in run.stderr
        again = run_pplava("models", "pull", "owner/small", "--quiet")
        assert (again.stdout, again.stderr) == (
            f"owner--small: was here already, in {folder}\n",
            "",
        )

    def test_json(self, run_pplava, hub):
        record = json.loads(run_pplava("models", "pull", "owner/small", "--json").stdout)
        assert (record["type"], record["source"], record["repo"]) == (
            "model",
            "pulled",
            "owner/small",
        )

    def test_offline(self, run_pplava, hub, monkeypatch):
        line = one_line(run_pplava("models", "pull", "owner/small", "--offline"), 4)
        assert "offline" in line
        monkeypatch.setenv("PPLAVA_OFFLINE", "1")
        one_line(run_pplava("models", "pull", "owner/small"), 4)
        assert hub.log == []
        monkeypatch.delenv("PPLAVA_OFFLINE")
        run_pplava("models", "pull", "owner/small")
        monkeypatch.setenv("PPLAVA_OFFLINE", "1")
        assert "here already" in run_pplava("models", "pull", "owner/small").stdout

    @pytest.mark.parametrize(
        ("name", "code"),
        [("nonsense", 2), ("../x/y", 2), ("owner/nothing", 4), ("owner/small@v9", 4)],
    )
    def test_failures(self, run_pplava, hub, name, code):
        one_line(run_pplava("models", "pull", name), code)

    def test_interrupted_and_given_up(self, run_pplava, hub, monkeypatch):
        from huggingface_hub import file_download

        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(file_download, "http_get", interrupted)
        assert run_pplava("models", "pull", "owner/small").code == 130
        assert (models_directory() / "owner--small.partial").is_dir()
        assert run_pplava("models", "rm", "owner/small", "--yes").code == 0
        assert not list(models_directory().glob("owner*"))

    def test_gated_and_damaged(self, run_pplava, hub, monkeypatch):
        hub.repositories["owner/small"].gated = True
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        run = run_pplava("models", "pull", "owner/small", "--debug")
        assert run.code == 4
        assert "hf_secret" not in run.stderr + run.stdout
        hub.tokens, hub.corrupted = frozenset({"hf_secret"}), {"model.safetensors"}
        assert "arrived damaged" in one_line(run_pplava("models", "pull", "owner/small"), 4)


class TestVerifyAndRemove:
    def test_verify(self, run_pplava):
        folder = write_pulled("small")
        assert run_pplava("models", "verify", "small").stdout.startswith("small: 3 files, ")
        (folder / "aligner_source" / "config.json").unlink()
        line = one_line(run_pplava("models", "verify", "small"), 4)
        assert "aligner_source/config.json is missing" in line
        assert "pplava models pull owner/small --again" in line

    @pytest.mark.parametrize("name", ["nano", "internvl3-1b", "nonsense", "a/b"])
    def test_nothing_to_verify(self, run_pplava, name):
        one_line(run_pplava("models", "verify", name), 4)

    def test_a_damaged_configuration_can_be_verified_and_removed(self, run_pplava):
        folder = write_pulled("small")
        (folder / "config.json").write_text("{")
        assert "config.json has changed" in one_line(run_pplava("models", "verify", "small"), 4)
        assert run_pplava("models", "rm", "small", "--yes").code == 0
        assert not folder.exists()

    def test_rm_wants_to_be_sure(self, run_pplava, monkeypatch):
        folder = write_pulled("small")
        monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
        assert "--yes" in one_line(run_pplava("models", "rm", "small"), 2)
        assert folder.exists()

    @pytest.mark.parametrize(("answer", "stays"), [(True, False), (False, True)])
    def test_rm_asks(self, run_pplava, monkeypatch, answer, stays):
        import typer

        folder, asked = write_pulled("small"), []
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(typer, "confirm", lambda text, **_: asked.append(text) or answer)
        assert run_pplava("models", "rm", "small").code == 0
        assert str(folder) in asked[0]
        assert folder.exists() == stays

    def test_rm_takes_what_a_pull_left(self, run_pplava):
        write_pulled("small")
        write_pulled("small.partial")
        assert run_pplava("models", "rm", "small", "--yes").code == 0
        assert not list(models_directory().iterdir())

    @pytest.mark.parametrize(("name", "code"), [("nano", 4), ("../x", 2), ("small.partial", 2)])
    def test_rm_of_what_is_not_its_own(self, run_pplava, name, code):
        write_pulled("small.partial")
        one_line(run_pplava("models", "rm", name, "--yes"), code)
        assert (models_directory() / "small.partial").exists()


class TestDefault:
    @pytest.fixture
    def config(self, own_directories):
        return own_directories / "config.toml"

    def test_it_is_what_other_commands_use(self, run_pplava, config, make_files):
        write_pulled("small")
        assert run_pplava("models", "default").stdout == "nano\n"
        assert run_pplava("models", "default", "small").stdout == "small\n"
        assert tomllib.loads(config.read_text()) == {"model": "small"}
        rows = json.loads(run_pplava("settings", "--json").stdout)["settings"]
        assert {"name": "model", "value": "small", "source": str(config)} in rows

    def test_other_lines_stay(self, run_pplava, config):
        config.write_text('# mine\nframes = 12\nmodel   = "old"  # the old one\nseed = 4\n')
        assert run_pplava("models", "default", "nano").code == 0
        assert config.read_text() == '# mine\nframes = 12\nmodel = "nano"\nseed = 4\n'

    def test_a_folder_with_an_odd_name(self, run_pplava, config, tmp_path):
        folder = write_pulled("small").rename(tmp_path / 'a "b" \\ ü')
        assert run_pplava("models", "default", folder).code == 0
        assert tomllib.loads(config.read_text()) == {"model": str(folder)}

    def test_a_file_that_only_a_person_can_change(self, run_pplava, config):
        config.write_text('"model" = "nano"\n')
        line = one_line(run_pplava("models", "default", "nano"), 2)
        assert "edit it by hand" in line
        assert config.read_text() == '"model" = "nano"\n'

    def test_one_that_is_not_here(self, run_pplava, config):
        line = one_line(run_pplava("models", "default", "internvl3-1b"), 4)
        assert "`pplava models pull internvl3-1b` fetches it (2 GB)" in line
        assert not config.exists()

    def test_the_environment_wins_and_it_says_so(self, run_pplava, monkeypatch):
        write_pulled("small")
        monkeypatch.setenv("PPLAVA_MODEL", "nano")
        run = run_pplava("models", "default", "small")
        assert run.stdout == "nano\n"
        assert "PPLAVA_MODEL" in run.stderr

    def test_rm_of_the_default_warns(self, run_pplava):
        write_pulled("small")
        run_pplava("models", "default", "small")
        assert "still the default" in run_pplava("models", "rm", "small", "--yes").stderr


def test_asking_a_model_that_is_not_here(run_pplava, make_files):
    (film,) = make_files("a.mp4")
    run = run_pplava("ask", film, "what?", "--model", "ppllava-vicuna-7b")
    assert "`pplava models pull ppllava-vicuna-7b` fetches it (15 GB)" in one_line(run, 4)
