"""A model's revision names its features: whatever changes them changes it."""

from __future__ import annotations

import json
import shutil

import pytest
import tiny_checkpoints as tiny
from original_layout import write_original
from safetensors.torch import load_file, save_file

from pplava_core.models.checkpoint import revision_of


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.write_llava_next(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    root = tmp_path_factory.mktemp("original")
    onevision = tiny.write_llava_onevision(root / "onevision")
    return write_original(onevision, tiny.write_siglip(root / "siglip"), root / "it", tower="none")


@pytest.fixture
def copied(tmp_path):
    def copy(folder):
        return shutil.copytree(folder, tmp_path / f"copy-{len(list(tmp_path.iterdir()))}")

    return copy


def test_the_name_of_the_folder_does_not_count(base, copied):
    assert revision_of(copied(base)) == revision_of(copied(base)) == revision_of(base)


def test_how_pixels_are_normalised_counts(base, copied):
    other = copied(base)
    path = other / "preprocessor_config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["image_mean"] = [0.1, 0.2, 0.3]
    path.write_text(json.dumps(values), encoding="utf-8")
    assert revision_of(other) != revision_of(base)


@pytest.mark.parametrize("place", ["processor_config.json", "video_processor"])
def test_every_place_of_pixel_settings_counts(place, base, copied):
    other = copied(base)
    path = other / place
    if place == "video_processor":
        path.mkdir()
        path /= "preprocessor_config.json"
    path.write_text("{}", encoding="utf-8")
    assert revision_of(other) != revision_of(base)


def test_a_tower_that_lies_beside_counts(original, copied):
    other = copied(original)
    path = other / "aligner_source" / "model.safetensors"
    tensors = load_file(path)
    tensors["vision_model.embeddings.patch_embedding.bias"] += 1
    save_file(tensors, path, metadata={"format": "pt"})
    assert revision_of(other) != revision_of(original)


def test_an_encoder_that_only_aligns_does_not_count(base, copied, tmp_path):
    other = copied(base)
    tiny.write_clip(other / "aligner_source")
    assert revision_of(other) == revision_of(base)
