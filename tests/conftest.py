"""What every test gets: its own cache and settings, and one way to run the program."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

# Read when huggingface_hub is first imported: no test may reach a hub, or find somebody's token.
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="pplava-hub-")
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)

# A busy machine is no failure.
settings.register_profile("pplava", deadline=None)
settings.load_profile("pplava")


@pytest.fixture(autouse=True)
def own_directories(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> Iterator[Path]:
    """Keep the developer's cache, settings and environment out of the tests, and safe from them."""
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("PPLAVA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PPLAVA_CACHE_DIR", str(home / "cache"))
    monkeypatch.setenv("PPLAVA_CONFIG", str(home / "config.toml"))
    monkeypatch.setenv("NO_COLOR", "1")
    return home


@dataclass(frozen=True)
class Run:
    """What one run of the program left behind."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def run_pplava(capsys) -> Callable[..., Run]:
    """Run the program in this process: ``run_pplava("ask", path, "what?")``."""
    from pplava_cli.app import main

    def run(*arguments: object) -> Run:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Run(code, captured.out, captured.err)

    return run


@pytest.fixture
def fakes(monkeypatch):
    """Stand-ins for model and session; see `cli_fakes`."""
    import cli_fakes

    return cli_fakes.install(monkeypatch)


@pytest.fixture
def make_files(tmp_path) -> Callable[[Sequence[str]], list[Path]]:
    """Make small files of the kind their names say: mp4 videos and png pictures."""
    from cli_fakes import write_picture, write_video

    def make(*names: str) -> list[Path]:
        paths = [tmp_path / name for name in names]
        for path in paths:
            (write_video if path.suffix == ".mp4" else write_picture)(path)
        return paths

    return make
