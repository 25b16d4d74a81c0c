"""Folders of base models that are damaged, mixed, or want to run something: one line each."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress

import pytest
import tiny_checkpoints as tiny
import torch
from safetensors.torch import load_file, save_file

from pplava_core.errors import ModelError
from pplava_core.models.checkpoint import describe_model, load_model

MARK = "ran.txt"


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    return {
        "llama": tiny.write_llava_next(root / "llama"),
        "qwen2": tiny.write_llava_next(root / "qwen2", text_type="qwen2"),
        "onevision": tiny.write_llava_onevision(root / "onevision"),
        "clip": tiny.write_clip(root / "clip"),
        "siglip": tiny.write_siglip(root / "siglip"),
    }


@pytest.fixture
def folder(sources, tmp_path):
    shutil.copytree(sources["llama"], tmp_path / "model")
    shutil.copytree(sources["clip"], tmp_path / "model" / "aligner_source")
    return tmp_path / "model"


def refused(folder, *, names):
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    message = str(caught.value)
    assert names in message
    assert len(message.splitlines()) == 1
    assert len(message) < 1000
    return message


def change_tensors(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_the_folder_itself_loads(folder):
    assert load_model(folder).aligner is not None


@pytest.mark.parametrize(
    "name",
    [
        "image_newline",
        "language_model.model.layers.1.mlp.up_proj.weight",
        "vision_tower.encoder.layers.2.layer_norm1.bias",
        "multi_modal_projector.linear_2.bias",
        "language_model.lm_head.weight",
    ],
)
def test_a_missing_tensor_is_named(name, folder):
    change_tensors(folder, lambda tensors: tensors.pop(name))
    refused(folder, names=name.removeprefix("language_model.").removeprefix("model."))


@pytest.mark.parametrize(
    "name",
    [
        "stray",
        "language_model.model.layers.2.mlp.up_proj.weight",
        "vision_tower.encoder.layers.3.layer_norm1.bias",
        "multi_modal_projector.linear_3.bias",
    ],
)
def test_an_unknown_tensor_is_named(name, folder):
    change_tensors(folder, lambda tensors: tensors.update({name: torch.zeros(4)}))
    refused(folder, names=name.removeprefix("language_model.").removeprefix("model."))


def test_a_tensor_of_another_shape_is_named(folder):
    def widen(tensors):
        tensors["multi_modal_projector.linear_1.weight"] = torch.zeros(24, 17)

    change_tensors(folder, widen)
    refused(folder, names="multi_modal_projector.linear_1.weight")


@pytest.mark.parametrize("kept", [0, 7, 1000, 100_000])
def test_cut_weights(kept, folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    refused(folder, names="model")


@pytest.mark.parametrize(
    "text", ["", "[]", "nothing", '{"model_type": "llava_next", "text_config": 3}', '{"a": 1}',
             '{"model_type": "opt"}', '{"model_type": ["llava_next"]}']
)  # fmt: skip
def test_configurations_that_are_none(text, folder):
    (folder / "config.json").write_text(text)
    for read in (load_model, describe_model):
        with pytest.raises(ModelError) as caught:
            read(folder)
        assert len(str(caught.value).splitlines()) == 1


def test_configuration_of_another_model(sources, folder):
    for other in ("qwen2", "onevision"):
        shutil.copy(sources[other] / "config.json", folder / "config.json")
        refused(folder, names="config.json")


def test_tokenizer_of_another_model(sources, folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["added_tokens"] = [
        token
        for token in tokenizer["added_tokens"]
        if token["content"] not in ("<image>", "<video>")
    ]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    refused(folder, names="a picture's place")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(sources["clip"] / name, folder / name)
    refused(folder, names="mixed from two models")
    (folder / "tokenizer.json").unlink()
    refused(folder, names="tokenizer")


@pytest.mark.parametrize("place", [".", "aligner_source"])
def test_a_damaged_tokenizer(place, folder):
    (folder / place / "tokenizer.json").write_text('{"model": ')
    refused(folder, names="no usable tokenizer")


def test_encoder_of_another_tower(sources, folder, tmp_path):
    shutil.rmtree(folder / "aligner_source")
    wide = tiny.write_clip(tmp_path / "wide", vision_width=tiny.WIDTH + 8)
    shutil.copytree(wide, folder / "aligner_source")
    refused(folder, names="aligner_source")


def test_statistics_lie_where_transformers_puts_them_now(folder):
    path = folder / "preprocessor_config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    expected = describe_model(folder).tower
    path.unlink()
    refused(folder, names="preprocessor_config.json")
    unified = {"processor_class": "LlavaNextProcessor", "image_processor": values}
    (folder / "processor_config.json").write_text(json.dumps(unified), encoding="utf-8")
    assert describe_model(folder).tower == expected
    path.write_text('{"image_mean": [0.5, 0.5, 0.5]}')
    refused(folder, names="image_std")


@pytest.mark.parametrize("key", ["image_mean", "image_std"])
@pytest.mark.parametrize("value", ["x", [0.5], [0.5, 0.5, "x"], None, [0.5, 0.5, float("nan")]])
def test_statistics_that_are_none(value, key, folder):
    path = folder / "preprocessor_config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**values, key: value}), encoding="utf-8")
    assert "not a number for each colour" in refused(folder, names=key)


@pytest.mark.parametrize("layer", [-99, 99, [-2, -5]])
def test_features_of_no_layer(layer, folder):
    tiny.change_config(folder, vision_feature_layer=layer)
    refused(folder, names="features from layer")


@pytest.mark.parametrize("temperature", [0, -1, "warm"])
def test_a_temperature_that_is_none(temperature, folder):
    tiny.change_config(folder, pooling_temp=temperature)
    refused(folder, names="temperature")


class Harm:
    """Unpickled, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))


@pytest.mark.parametrize("place", [".", "aligner_source"])
def test_pickles_are_read_as_weights_alone(place, folder, tmp_path):
    safe = folder / place / "model.safetensors"
    tensors = load_file(safe)
    safe.unlink()
    pickled = folder / place / "pytorch_model.bin"
    torch.save(tensors, pickled)
    model = load_model(folder)
    assert model.aligner is not None
    torch.save({**tensors, "image_newline": Harm(tmp_path / MARK), "logit_scale": 0}, pickled)
    refused(folder, names="pytorch_model.bin" if place != "." else "")
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("place", [".", "aligner_source"])
@pytest.mark.parametrize("kind", ["up", "absolute", "link", "code"])
def test_indexes_lead_nowhere_else(kind, place, folder, tmp_path):
    outside = tmp_path / "outside.safetensors"
    inside = folder / place
    shutil.move(inside / "model.safetensors", outside)
    names = {"up": "../" * (2 if place != "." else 1) + outside.name, "absolute": str(outside)}
    name = names.get(kind, "model-00001-of-00001." + ("py" if kind == "code" else "safetensors"))
    if kind == "link":
        (inside / name).symlink_to(outside)
    if kind == "code":
        (inside / name).write_text("raise SystemExit")
    weights = dict.fromkeys(load_file(outside), name)
    index = {"metadata": {"total_size": 1}, "weight_map": weights}
    (inside / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, names="model")


@pytest.mark.parametrize("place", [".", "aligner_source"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_in_a_folder_is_never_run(name, place, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    mark = tmp_path / MARK
    (folder / place / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    path = folder / place / name
    values = json.loads(path.read_text(encoding="utf-8"))
    values["auto_map"] = {
        "AutoConfig": "evil.Config",
        "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
        "AutoModelForImageTextToText": "evil.Model",
    }
    for key, stranger in (("tokenizer_class", "EvilTokenizer"), ("model_type", "evil")):
        path.write_text(json.dumps(values), encoding="utf-8")
        with suppress(ModelError):  # nothing else may come of it
            load_model(folder)
        assert not mark.exists()
        values[key] = stranger


def test_a_configuration_that_means_a_far_larger_model_takes_no_room(folder):
    tiny.change_config(
        folder,
        text_config={
            **json.loads((folder / "config.json").read_text())["text_config"],
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
        },
    )
    refused(folder, names="a model of")


def test_an_adapter_that_would_change_the_model_unseen(folder):
    (folder / "adapter_config.json").write_text("{}")
    refused(folder, names="adapter_config.json")
