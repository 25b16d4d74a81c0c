"""The program as a whole: help, cheap start, settings, versions, pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "open_clip", "av", "PIL", "numpy", "matplotlib")


def commands() -> list[str]:
    from typer.main import get_command

    from pplava_cli.app import app

    return sorted(get_command(app).commands)


@pytest.mark.parametrize("arguments", [["--help"], ["ask", "--help"], ["--version"]])
def test_help_never_imports_anything_heavy(arguments):
    script = (
        "import sys; from pplava_cli.app import main; code = main(sys.argv[1:]); "
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr); "
        "sys.exit(code)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    assert run.stderr == "[]\n"
    assert run.stdout


def test_completion_never_imports_torch():
    script = (
        "import atexit, sys; "
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr)); "
        "from pplava_cli.app import main; sys.exit(main([]))"
    )
    environment = os.environ | {
        "_PPLAVA_COMPLETE": "complete_bash",
        "COMP_WORDS": "pplava ask --model ",
        "COMP_CWORD": "3",
    }
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert run.stderr == "False\n"


@pytest.mark.parametrize("command", commands())
def test_every_help_ends_with_examples(run_pplava, command):
    run = run_pplava(command, "--help")
    assert (run.code, run.stderr) == (0, "")
    _, _, last = run.stdout.partition("Examples")
    shown = [line for line in last.splitlines() if f"pplava {command}" in line]
    assert 2 <= len(shown) <= 4


def test_no_command_shows_the_help(run_pplava):
    run = run_pplava()
    assert (run.code, run.stderr) == (0, "")
    assert "ask" in run.stdout
    assert "130 interrupted" in run.stdout


def test_unknown_command_is_one_line(run_pplava):
    run = run_pplava("aks")
    assert (run.code, run.stdout) == (2, "")
    assert run.stderr.startswith("pplava: No such command 'aks'")
    assert len(run.stderr.splitlines()) == 1


def test_version(run_pplava):
    from pplava_core import __version__

    assert run_pplava("--version").stdout == f"pplava {__version__}\n"
    record = json.loads(run_pplava("version", "--json").stdout)
    assert record["versions"]["pplava"] == __version__
    assert record["versions"]["torch"]


class TestSettings:
    """Flag > environment > file > default."""

    @pytest.fixture
    def asked(self, run_pplava, make_files, fakes):
        (film,) = make_files("a.mp4")

        def ask(*options):
            run = run_pplava("ask", film, "what?", "--quiet", *options)
            return run, fakes.sessions[-1] if fakes.sessions else None

        return ask

    @pytest.fixture
    def write_config(self, own_directories):
        return (own_directories / "config.toml").write_text

    def test_file_beats_default(self, asked, write_config):
        write_config('frames = 12\nkernel = [2, 2, 3]\nmax_new_tokens = 7\nweighting = "window"\n')
        _, session = asked()
        assert session.sampling.num_frames == 12
        assert session.asked[0]["pooling"].window.kernel == (2, 2, 3)
        assert session.asked[0]["pooling"].weighting == "window"
        assert session.asked[0]["generation"].max_new_tokens == 7

    def test_environment_beats_file(self, asked, write_config, monkeypatch):
        write_config("frames = 12\n")
        monkeypatch.setenv("PPLAVA_FRAMES", "13")
        assert asked()[1].sampling.num_frames == 13

    def test_pooling_has_two_names_everywhere(self, asked, write_config, monkeypatch):
        def weighting(*options):
            return asked(*options)[1].asked[0]["pooling"].weighting

        assert weighting("--pooling", "max") == weighting("--weighting", "max") == "max"
        for name in ("pooling", "weighting"):
            write_config(f'{name} = "window"\n')
            assert weighting() == "window"
            monkeypatch.setenv(f"PPLAVA_{name.upper()}", "average")
            assert weighting() == "average"
            monkeypatch.setenv(f"PPLAVA_{name.upper()}", "best")
            run, _ = asked()
            assert f"from PPLAVA_{name.upper()} in the environment" in run.stderr
            monkeypatch.delenv(f"PPLAVA_{name.upper()}")

    def test_the_base_models_own_path_is_known_when_the_clip_is_opened(self, asked):
        assert not asked()[1].native
        session = asked("--pooling", "native")[1]
        assert session.native
        assert session.asked[0]["pooling"].weighting == "native"
        assert "exclude each other" in asked("--pooling", "native", "--tokens", "9")[0].stderr

    def test_flag_beats_environment(self, asked, monkeypatch):
        monkeypatch.setenv("PPLAVA_FRAMES", "13")
        assert asked("--frames", "14")[1].sampling.num_frames == 14

    def test_nearer_of_frames_and_fps_wins(self, asked, write_config, monkeypatch):
        write_config("frames = 12\n")
        sampling = asked("--fps", "2")[1].sampling
        assert (sampling.num_frames, sampling.fps) == (None, 2.0)
        monkeypatch.setenv("PPLAVA_FPS", "3")
        sampling = asked("--frames", "5")[1].sampling
        assert (sampling.num_frames, sampling.fps) == (5, None)

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("frame = 1\n", "unknown setting 'frame'"),
            ("[ask]\nframes = 1\n", "unknown setting 'ask'"),
            ("frames = \n", "cannot read settings"),
            ('frames = "many"\n', "--frames"),
        ],
    )
    def test_bad_file_is_one_line_that_names_it(
        self, asked, write_config, own_directories, text, complaint
    ):
        write_config(text)
        run, session = asked()
        assert (run.code, run.stdout, session) == (2, "", None)
        assert complaint in run.stderr
        assert str(own_directories) in run.stderr
        assert len(run.stderr.splitlines()) == 1

    def test_bad_environment_names_the_variable(self, asked, monkeypatch):
        monkeypatch.setenv("PPLAVA_SEED", "x")
        run, _ = asked()
        assert run.code == 2
        assert "PPLAVA_SEED" in run.stderr

    def test_settings_command_says_who_speaks(self, run_pplava, write_config, monkeypatch):
        write_config("frames = 12\nseed = 4\n")
        monkeypatch.setenv("PPLAVA_FRAMES", "13")
        rows = json.loads(run_pplava("settings", "--json").stdout)["settings"]
        found = {row["name"]: row for row in rows}
        assert found["frames"] == {"name": "frames", "value": "13", "source": "PPLAVA_FRAMES"}
        assert found["seed"]["value"] == 4
        assert found["model"] == {"name": "model", "value": "nano", "source": "default"}
        lines = [" ".join(line.split()) for line in run_pplava("settings").stdout.splitlines()]
        assert "frames = 13 # PPLAVA_FRAMES" in lines


def test_weightings_are_those_of_the_models():
    from pplava_cli.options import Weighting
    from pplava_core.models.videolm import WEIGHTINGS

    assert {*Weighting} == {*WEIGHTINGS}


def test_reader_that_leaves_early_is_no_error():
    script = "import sys; from pplava_cli.app import main; sys.exit(main(['settings']))"
    run = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    run.stdout.close()
    assert run.stderr.read() == b""
    run.stderr.close()
    assert run.wait() == 0


def test_cache_info_and_clear(run_pplava, own_directories):
    info = json.loads(run_pplava("cache", "info", "--json").stdout)
    assert info["directory"] == str(own_directories / "cache" / "features")
    assert info["entry_count"] == 0
    assert "0 clips" in run_pplava("cache", "info").stdout
    assert run_pplava("cache", "clear").code == 0


def test_usage_error_shows_no_traceback_without_debug(run_pplava, tmp_path):
    run = run_pplava("ask", tmp_path / "gone.mp4", "what?")
    assert "Traceback" not in run.stderr
    run = run_pplava("ask", tmp_path / "gone.mp4", "what?", "--debug")
    assert "Traceback" in run.stderr
    assert run.code == 3


def test_interrupt_while_loading_is_quiet():
    script = (
        "import builtins, sys, pplava_cli.__main__ as start\n"
        "def interrupted(name, *rest):\n"
        "    if name == 'pplava_cli.app': raise KeyboardInterrupt\n"
        "    return real(name, *rest)\n"
        "real, builtins.__import__ = builtins.__import__, interrupted\n"
        "sys.exit(start.main())"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "")


@pytest.mark.parametrize("presses", [1, 2])
def test_interrupt_while_libraries_are_imported_waits_for_them(tmp_path, presses):
    """A module that is imported as one of the large libraries, and presses Ctrl-C itself."""
    (tmp_path / "large_library.py").write_text(
        f"import signal\nfor _ in range({presses}): signal.raise_signal(signal.SIGINT)\n"
        "print('whole')\n"
    )
    script = (
        "import sys, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pplava_cli import libraries\n"
        "libraries._LARGE = ('large_library',)\n"
        "try: libraries.import_libraries()\n"
        "except KeyboardInterrupt: print('interrupted')\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.split() == (["whole", "interrupted"] if presses == 1 else ["interrupted"])
