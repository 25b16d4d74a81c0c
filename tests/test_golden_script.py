"""`benchmarks/golden.py` finds what is off, and says so by its exit status."""

import sys
from pathlib import Path

import pytest
import torch
from golden_files import FOLDER
from safetensors.torch import load_file, save_file

SCRIPTS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def main(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import golden

    return golden.main


def run(main, monkeypatch, capsys, folder, *options):
    monkeypatch.setattr(sys, "argv", ["golden.py", str(folder), *options])
    status = main()
    return status, capsys.readouterr().out


def copy_modules(folder, *names):
    (folder / "modules").mkdir()
    for name in names:
        for ending in (".json", ".safetensors"):
            (folder / "modules" / name).with_suffix(ending).write_bytes(
                (FOLDER / f"{name}{ending}").read_bytes()
            )


def test_the_golden_files_of_the_project_pass(main, monkeypatch, capsys, tmp_path):
    copy_modules(tmp_path, "posembed", "pooling", "clip_projector", "siglip_projector")
    status, out = run(main, monkeypatch, capsys, tmp_path)
    assert status == 0
    assert out.splitlines()[0].split() == ["check", "max", "error", "tolerance", "ok"]
    assert "clip_projector ext.video_short.out" in out
    assert out.endswith(" checks, 0 failed\n")


@pytest.mark.parametrize("harm", ["value", "shape", "not a number"])
def test_a_number_that_is_off_fails(main, monkeypatch, capsys, tmp_path, harm):
    copy_modules(tmp_path, "posembed")
    path = tmp_path / "modules" / "posembed.safetensors"
    tensors = load_file(path)
    table = tensors["clip.pos_out"]
    if harm == "shape":
        tensors["clip.pos_out"] = table[:-1].contiguous()
    else:
        table[200, 3] = torch.nan if harm == "not a number" else table[200, 3] + 0.01
    save_file(tensors, path)
    status, out = run(main, monkeypatch, capsys, tmp_path, "--failed")
    assert status == 1
    lines = out.splitlines()
    assert len(lines) == 3
    assert lines[1].split()[1] == "clip.pos_out"
    assert lines[1].endswith("NO")
    assert lines[2].endswith(" 1 failed")


def test_a_folder_without_numbers_is_a_usage_error(main, monkeypatch, capsys, tmp_path):
    with pytest.raises(SystemExit) as caught:
        run(main, monkeypatch, capsys, tmp_path)
    assert caught.value.code == 2
    assert "neither modules/ nor models/" in capsys.readouterr().err
