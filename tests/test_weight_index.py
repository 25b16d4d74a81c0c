"""Files of weights by any name that the authors' own loader takes."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pplava_core.errors import ModelError
from pplava_core.models.checkpoint import load_model
from pplava_core.models.layouts.tensor_files import names_in, weight_files
from pplava_core.models.layouts.weight_index import indexed

FOLDER = Path(__file__).parent / "golden" / "clip_plain"
TENSORS = load_file(FOLDER / "checkpoint" / "model.safetensors")
HALVES = (
    {name: tensor for name, tensor in TENSORS.items() if "projector" in name},
    {name: tensor for name, tensor in TENSORS.items() if "projector" not in name},
)


@pytest.fixture
def folder(tmp_path):
    """The checkpoint without its weights."""
    shutil.copytree(FOLDER / "clip_text", tmp_path / "clip_text")
    shutil.copytree(FOLDER / "checkpoint", tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "model.safetensors").unlink()
    return tmp_path / "checkpoint"


def write(path, tensors):
    if path.suffix == ".bin":
        torch.save(tensors, path)
    else:
        save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "names",
    [
        ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        ("non_lora_trainables.safetensors", "model.safetensors"),
        ("non_lora_trainables.bin", "model.safetensors"),
        ("non_lora_trainables.bin", "pytorch_model.bin"),
        ("model-1.bin", "model-2.bin"),
        ("model.bin",),
        ("pytorch_model.bin",),
        ("model.safetensors",),
    ],
    ids=" ".join,
)
def test_every_tensor_arrives(folder, names):
    for name, tensors in zip(names, HALVES if len(names) > 1 else (TENSORS,), strict=True):
        write(folder / name, tensors)
    before = sorted(path.name for path in folder.iterdir())
    model = load_model(folder)
    head = TENSORS["language_model.lm_head.weight"]
    assert torch.equal(model.llm.lm_head.weight, head)
    linear = TENSORS["multi_modal_projector.linear_1.weight"]
    assert torch.equal(model.llm.model.multi_modal_projector.linear_1.weight, linear)
    assert model.words.end_ids == {2}
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_usual_folder_is_itself_and_what_is_written_for_others_goes(folder):
    write(folder / "model.safetensors", TENSORS)
    with indexed(folder) as readable:
        assert readable == folder
    write(folder / "model-2.safetensors", HALVES[0])
    with indexed(folder) as readable:
        assert readable != folder
        assert (readable / "generation_config.json").is_file()
    assert not readable.exists()


def test_pickles_beside_safetensors_are_left_unless_they_hold_more(folder):
    write(folder / "model.safetensors", TENSORS)
    write(folder / "pytorch_model.bin", {"stray": torch.zeros(1)})
    assert [path.name for path in weight_files(folder)] == ["model.safetensors"]
    write(folder / "non_lora_trainables.bin", HALVES[0])
    assert names_in(weight_files(folder)[1]) == list(HALVES[0])


def test_what_is_missing_is_named_in_a_folder_without_an_index(folder):
    write(folder / "model-00002-of-00002.safetensors", HALVES[1])
    with pytest.raises(ModelError, match=r"multi_modal_projector\.linear_1"):
        load_model(folder)


class Harm:
    """Unpickled, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_with_code_is_refused_and_does_nothing(folder, tmp_path):
    write(folder / "model.safetensors", HALVES[1])
    torch.save({"x": Harm(tmp_path / "harmed")}, folder / "non_lora_trainables.bin")
    with pytest.raises(ModelError, match="cannot be read as weights alone"):
        load_model(folder)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("content", [[1, 2], {"x": 1}, torch.zeros(2)])
def test_a_pickle_that_is_no_table_of_tensors(content, tmp_path):
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="holds no tensors by name"):
        names_in(tmp_path / "pytorch_model.bin")


@pytest.mark.parametrize("name", ["model-2.safetensors", "non_lora_trainables.bin"])
def test_a_link_to_outside_is_refused(folder, tmp_path, name):
    write(folder / "model.safetensors", HALVES[1])
    write(tmp_path / name, HALVES[0])
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(ModelError, match="outside its folder"):
        load_model(folder)
