"""Model folders: saved and loaded to the same numbers; every damage is one clear line."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import MODEL_TABLE, small_model, small_tokenizer

from pplava_core.errors import ModelError
from pplava_core.models import catalog
from pplava_core.models.checkpoint import load_model, revision_of, save_model
from pplava_core.models.config import VideoLMConfig, read_config
from pplava_core.models.language.tokenizer import train_tokenizer
from pplava_core.models.placement import Placement
from pplava_core.window import Window

FILES = ["config.json", "model.safetensors", "tokenizer.json"]


@pytest.fixture(scope="module")
def model():
    return small_model(seed=4)


@pytest.fixture
def folder(model, tmp_path):
    save_model(model, tmp_path / "saved")
    return tmp_path / "saved"


def logits_of(model):
    features = torch.randn(1, 4, 6, 6, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = features.to(model.dtype)
        relevance = model.relevance(features, ["how many red circles are there?"])
        tokens = model.visual_tokens(features, relevance).tokens
        ids = torch.tensor([model.prompt_ids("how many red circles are there?")])
        return model.llm(inputs_embeds=model.prompt_embeddings(tokens, ids)).logits


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def refusal(folder):
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) > 20
    return str(caught.value)


def test_a_loaded_model_computes_the_same_bits(model, folder):
    loaded = load_model(folder)
    assert torch.equal(logits_of(loaded), logits_of(model))
    assert loaded.config == model.config
    assert not loaded.training
    assert loaded.name == "small"
    assert loaded.dtype == torch.float32
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_the_frames_features_are_the_same_bits_too(model, folder):
    pictures = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(load_model(folder).parts.tower(pictures), model.parts.tower(pictures))


def test_loading_leaves_new_layers_as_torch_makes_them(folder):
    load_model(folder)
    torch.manual_seed(0)
    first = torch.nn.Linear(4, 4).weight
    assert first.abs().max() > 0
    assert torch.nn.LayerNorm(3).weight.tolist() == [1.0, 1.0, 1.0]


def test_half_precision_is_asked_for_at_load_or_at_save(model, folder, tmp_path):
    loaded = load_model(folder, Placement(dtype=torch.bfloat16))
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}
    assert torch.allclose(logits_of(loaded).float(), logits_of(model), atol=0.7)
    save_model(model, tmp_path / "half", dtype=torch.float16)
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert {t.dtype for t in stored.values() if t.is_floating_point()} == {torch.float16}
    again = load_model(tmp_path / "half")
    assert again.dtype == torch.float32
    assert torch.allclose(logits_of(again), logits_of(model), atol=0.1)


def test_a_longer_text_tower_is_kept(tmp_path):
    model = small_model(seed=4)
    model.aligner.extend_context()
    text = {**model.config.aligner["text"], "context_length": model.aligner.context_length}
    config = {**model.config.to_dict(), "aligner": {**model.config.aligner, "text": text}}
    model.config = VideoLMConfig.from_dict(config)
    save_model(model, tmp_path / "long")
    assert load_model(tmp_path / "long").aligner.context_length == 248


def test_the_config_survives_json(model, folder):
    assert read_config(folder) == model.config
    assert read_config(folder).window == Window((2, 2, 2))
    values = json.loads((folder / "config.json").read_text())
    assert values["format"] == 1


def test_a_missing_and_an_unknown_tensor_are_named(folder):
    change_weights(folder, lambda weights: weights.pop("parts.scale.mean"))
    assert "lacks parts.scale.mean (1 missing, 0 unknown)" in refusal(folder)
    change_weights(
        folder,
        lambda weights: weights.update({"parts.scale.mean": torch.zeros(16), "x.y": torch.ones(1)}),
    )
    assert "unknown tensor x.y" in refusal(folder)


def test_a_tensor_of_the_wrong_shape_is_named(folder):
    change_weights(folder, lambda weights: weights.update({"parts.scale.mean": torch.zeros(17)}))
    line = refusal(folder)
    assert "parts.scale.mean is (17,), not (16,)" in line


@pytest.mark.parametrize("kept", [0, 4, 200, -7])
def test_weights_that_are_cut_off(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert "is damaged" in refusal(folder)


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_needed(folder, name):
    (folder / name).unlink()
    assert name in refusal(folder)


def test_a_damaged_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{")
    assert "is not a tokenizer" in refusal(folder)


def test_a_tokenizer_without_the_special_tokens(folder):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("<assistant>", "<helper>"))
    assert "<assistant>" in refusal(folder)


def test_a_tokenizer_with_more_tokens_than_the_language_model(folder):
    words = [f"word{number} and some" for number in range(400)]
    bigger = train_tokenizer(words, vocab_size=400)
    assert bigger.get_vocab_size() > small_tokenizer().get_vocab_size()
    bigger.save(str(folder / "tokenizer.json"))
    assert "mixed from two models" in refusal(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", '"x"', "{}"])
def test_a_config_that_is_none(folder, text):
    (folder / "config.json").write_text(text)
    assert "config.json" in refusal(folder)


def test_another_format_version(folder):
    change_config(folder, format=2)
    assert "has format 2" in refusal(folder)
    change_config(folder, format=None)
    assert "has format None" in refusal(folder)


def test_an_unknown_backbone(folder):
    change_config(folder, backbone="mystery")
    line = refusal(folder)
    assert "'mystery'" in line
    assert "nano" in line


@pytest.mark.parametrize(
    "changes",
    [
        {"surprise": 1},
        {"pixels": 3},
        {"pixels": {"height": "x", "width": 48}},
        {"window": [2, 2, 2]},
        {"window": {"kernel": [0, 1, 1]}},
        {"window": {"kernel": 3}},
        {"image_window": {}},
        {"num_frames": "many"},
        {"weighting": "guess"},
        {"projector_order": "never"},
        {"projector_order": "project_first"},
        {"tower": []},
        {"tower": {}},
        {"llm": []},
        {"aligner": {"text": {}}},
        {"projector_hidden_size": "wide"},
    ],
)
def test_a_config_that_cannot_be_built(folder, changes):
    change_config(folder, **changes)
    refusal(folder)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("llm", {"num_attention_heads": 3}),
        ("llm", {"hidden_size": "x"}),
        ("llm", {"intermediate_size": -3}),
        ("tower", {"stem_channels": "x"}),
        ("tower", {"places": None}),
    ],
)
def test_settings_that_a_library_refuses(folder, part, changes):
    change_config(folder, **{part: copy.deepcopy(MODEL_TABLE[part]) | changes})
    assert "cannot be built" in refusal(folder)


def test_a_folder_that_is_none(tmp_path):
    assert "not a model folder" in refusal(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    assert "not a model folder" in refusal(tmp_path / "file")


def test_saving_replaces_a_whole_folder(model, folder):
    before = revision_of(folder)
    save_model(small_model(seed=5), folder)
    assert revision_of(folder) != before
    assert [path.name for path in folder.parent.iterdir()] == ["saved"]


def test_a_save_that_fails_leaves_the_old_model_and_nothing_else(model, folder, monkeypatch):
    before = revision_of(folder)
    half = type("Half", (), {"save": lambda self, path: 1 / 0})()
    broken = small_model(seed=5)
    broken.words.tokenizer = half
    with pytest.raises(ZeroDivisionError):
        save_model(broken, folder)
    assert revision_of(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["saved"]
    load_model(folder)


def test_a_save_makes_the_parents(model, tmp_path):
    save_model(model, tmp_path / "a" / "b")
    load_model(tmp_path / "a" / "b")


def test_the_revision_is_that_of_config_and_weights(folder):
    first = revision_of(folder)
    assert load_model(folder).revision == first
    assert revision_of(folder) == first
    change_weights(folder, lambda weights: weights["parts.scale.mean"].add_(1e-3))
    second = revision_of(folder)
    change_config(folder, num_frames=5)
    assert len({first, second, revision_of(folder)}) == 3


@pytest.fixture
def shelves(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "EMBEDDED", tmp_path / "embedded")
    return tmp_path / "embedded", catalog.models_directory()


def test_models_are_found_by_name_and_by_folder(model, shelves, tmp_path):
    embedded, local = shelves
    save_model(model, embedded / "tiny")
    save_model(model, local / "mine")
    save_model(model, tmp_path / "elsewhere")
    assert [entry.source for entry in catalog.list_models()] == ["local", "embedded"]
    entry = catalog.find_model("tiny")
    assert (entry.source, entry.folder, entry.name) == ("embedded", embedded / "tiny", "tiny")
    assert entry.size_bytes == sum(path.stat().st_size for path in entry.folder.iterdir())
    assert catalog.find_model("mine").source == "local"
    entry = catalog.find_model(str(tmp_path / "elsewhere"))
    assert (entry.source, entry.name) == ("folder", "small")


def test_a_model_that_is_not_there_is_answered_with_those_that_are(model, shelves):
    save_model(model, shelves[0] / "tiny")
    with pytest.raises(ModelError, match="give one of tiny"):
        catalog.find_model("absent")


def test_a_damaged_model_is_left_out_of_the_list(model, shelves):
    save_model(model, shelves[0] / "tiny")
    save_model(model, shelves[0] / "broken")
    (shelves[0] / "broken" / "config.json").write_text("{")
    assert [entry.folder.name for entry in catalog.list_models()] == ["tiny"]
    with pytest.raises(ModelError, match="not JSON"):
        catalog.find_model("broken")
