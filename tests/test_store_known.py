"""The table of known models is true to its models' shapes, and names are read as documented."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pplava_core.errors import ModelError, UsageError
from pplava_core.models.backbones import ADAPTERS
from pplava_core.models.catalog import find_model
from pplava_core.models.store import HubSource, find_known, known_models
from pplava_core.models.store.foreign import describe_foreign

# hidden size, MLP size, layers, width of keys and of values, words, tables of words
LANGUAGE_MODELS = {
    "vicuna-7b": (4096, 11008, 32, 4096, 32064, 2),
    "mistral-7b": (4096, 14336, 32, 1024, 32064, 2),
    "qwen2-7b": (3584, 18944, 28, 512, 152000, 2),
    "qwen2-0.5b": (896, 4864, 24, 128, 152000, 1),
    "qwen2.5-0.5b": (896, 4864, 24, 128, 151674, 2),
    "qwen2.5-1.5b": (1536, 8960, 28, 256, 151674, 2),
}
LANGUAGE_MODEL_OF = {
    "ppllava-vicuna-7b": "vicuna-7b",
    "ppllava-vicuna-7b-dpo": "vicuna-7b",
    "llava-v1.6-vicuna-7b": "vicuna-7b",
    "llava-v1.6-mistral-7b": "mistral-7b",
    "llava-onevision-7b": "qwen2-7b",
    "llava-onevision-0.5b": "qwen2-0.5b",
    "llava-video-7b": "qwen2-7b",
    "internvl3-1b": "qwen2.5-0.5b",
    "internvl3-2b": "qwen2.5-1.5b",
    "internvl3-8b": "qwen2-7b",
}


@pytest.mark.parametrize("known", known_models(), ids=lambda known: known.name)
class TestTable:
    def test_language_models_layers(self, known):
        hidden, mlp, layers, width, _, _ = LANGUAGE_MODELS[LANGUAGE_MODEL_OF[known.name]]
        attention = 2 * hidden * hidden + 2 * hidden * width
        assert known.quantizable_parameters == layers * (attention + 3 * hidden * mlp)

    def test_the_rest_is_words_and_a_tower(self, known):
        hidden, *_, words, tables = LANGUAGE_MODELS[LANGUAGE_MODEL_OF[known.name]]
        towers = known.other_parameters - tables * hidden * words
        assert 0.30e9 < towers < 0.55e9

    def test_it_can_be_used(self, known):
        assert known.backbone in ADAPTERS
        assert known.licence.endswith(("unverified", "(unverified)"))
        assert HubSource.parse(known.name).name == known.name
        assert find_known(known.name) == known

    def test_four_bits_are_smaller(self, known):
        small, whole = known.weights_bytes(quantized=True), known.weights_bytes()
        saved = (2 - 4.127 / 8) * known.quantizable_parameters
        assert whole - small == pytest.approx(saved, rel=1e-3)

    def test_not_here_says_how_to_fetch_it(self, known):
        size = f"{known.download_bytes / 1e9:.0f} GB"
        for name in {known.name, known.name if known.subfolder else known.repo}:
            with pytest.raises(ModelError) as error:
                find_model(name)
            line = f"{name} is not here; `pplava models pull {name}` fetches it ({size})"
            assert str(error.value) == line


def test_the_authors_checkpoint_has_as_many_parameters_as_its_key_list():
    known = find_known("ppllava-vicuna-7b")
    assert known.quantizable_parameters + known.other_parameters == 7_259_643_393


def test_bundled_configurations_are_transformers_own():
    from transformers import CLIPConfig, SiglipConfig

    aligners = {known.aligner.repo: known.aligner for known in known_models() if known.aligner}
    classes = {"clip": CLIPConfig, "siglip": SiglipConfig}
    for aligner in aligners.values():
        values = json.loads((aligner.bundled / "config.json").read_text())
        config = classes[values["model_type"]](**values)
        for part in ("text_config", "vision_config"):
            read = getattr(config, part).to_dict()
            wanted = values[part]
            assert {key: read[key] for key in wanted} == wanted


class TestNames:
    @pytest.mark.parametrize(
        ("text", "repo", "revision", "subfolder", "name"),
        [
            ("a/b", "a/b", "main", "", "a--b"),
            ("a/b@v1", "a/b", "v1", "", "a--b"),
            ("a/b@refs/pr/1:c", "a/b", "refs/pr/1", "c", "a--b--c"),
            ("a/b:c/d/", "a/b", "main", "c/d", "a--b--c--d"),
            ("OpenGVLab/InternVL3-1B-hf", "OpenGVLab/InternVL3-1B-hf", "main", "", "internvl3-1b"),
            ("internvl3-1b@abc", "OpenGVLab/InternVL3-1B-hf", "abc", "", "internvl3-1b"),
        ],
    )
    def test_parse(self, text, repo, revision, subfolder, name):
        source = HubSource.parse(text)
        found = (source.repo, source.revision, source.subfolder, source.name)
        assert found == (repo, revision, subfolder, name)

    def test_a_folder_of_the_authors_has_a_name(self):
        text = "farewellthree/ppllava_weight:ppllava_vicuna7b_image_video"
        assert HubSource.parse(text).name == "ppllava-vicuna-7b"

    @pytest.mark.parametrize(
        "text",
        ["", "nothing", "a/b/c", "/a/b", "../a", "a/..", "a/b:../c", "a/b:/c\\d", "a/b@", "a b/c",
         "internvl3-1b:sub", "-a/b", "a/b@x@y", "http://a/b"],
    )  # fmt: skip
    def test_refused(self, text):
        with pytest.raises((UsageError, ModelError)):
            HubSource.parse(text)

    @given(st.text(max_size=30))
    def test_any_text_is_read_or_refused(self, text):
        try:
            name = HubSource.parse(text).name
        except (UsageError, ModelError):
            return
        assert name
        assert "/" not in name
        assert not name.startswith(".")


@pytest.mark.parametrize(
    ("config", "backbone", "aligner"),
    [
        ({"model_type": "llava_next", "vision_config": {"model_type": "clip_vision_model"}},
         "llava_next", ("openai/clip-vit-large-patch14-336", False)),
        ({"model_type": "llava_next", "pooling": "ppllava",
          "vision_config": {"model_type": "clip_vision_model"}},
         "llava_next", ("openai/clip-vit-large-patch14-336", True)),
        ({"model_type": "llava_onevision", "vision_config": {"model_type": "siglip_vision_model"}},
         "llava_video", ("google/siglip-so400m-patch14-384", False)),
        ({"model_type": "llava_qwen", "mm_vision_tower": "google/siglip-so400m-patch14-384"},
         "llava_video", ("google/siglip-so400m-patch14-384", False)),
        ({"model_type": "internvl", "vision_config": {"model_type": "internvl_vision"}},
         "internvl3", None),
        ({"model_type": "bert", "vision_config": 5}, "", None),
    ],
)  # fmt: skip
def test_what_a_configuration_says(tmp_path, config, backbone, aligner):
    (tmp_path / "config.json").write_text(json.dumps(config))
    foreign = describe_foreign(tmp_path)
    found = foreign.aligner and (foreign.aligner.repo, foreign.aligner.weights_inside)
    assert (foreign.backbone, found) == (backbone, aligner)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model_type": 5}', "{", "[" * 100_000])
def test_what_is_no_configuration_of_transformers(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert describe_foreign(tmp_path) is None
