"""The released checkpoints' tensor names and shapes, all of them, at their real size.

Everything is on torch's meta device: shapes without numbers.
"""

import gzip
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, rename_source_key

from pplava_core.errors import ModelError
from pplava_core.models.bt_adapter import BtAdapter, bt_adapter_state
from pplava_core.models.dual_encoder import DualEncoder
from pplava_core.models.layouts import aligner_folder
from pplava_core.models.layouts.released_weights import dual_encoder_state
from pplava_core.models.layouts.transformers_folder import describe_folder, is_extra, load_settings
from pplava_core.window import Window

DATA = Path(__file__).parent / "data" / "released_keys.json.gz"
KEYS = json.loads(gzip.decompress(DATA.read_bytes()))
OURS = {
    "pooling": "ppllava", "pooling_kernel": [2, 3, 3], "pooling_stride": [2, 3, 3],
    "image_pooling_kernel": [1, 3, 3], "image_pooling_stride": [1, 3, 3], "pooling_temp": 0.01,
    "extend_clip": True, "valuew_plus": False, "ignore_index": -100,
}  # fmt: skip
# as saved: what is the library's default is left out
VICUNA = OURS | {
    "model_type": "llava_next",
    "clip_weight": "openai/clip-vit-large-patch14-336",
    "image_token_index": 32000,
    "text_config": {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096},
    "vision_config": {
        "model_type": "clip_vision_model", "hidden_size": 1024, "image_size": 336,
        "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24,
        "patch_size": 14, "projection_dim": 768,
    },
}  # fmt: skip
QWEN = OURS | {
    "model_type": "llava_onevision",
    "clip_weight": "google/siglip-so400m-patch14-384",
    "image_token_index": 151646, "qwen": True, "btadapter": False,
    "vision_feature_layer": -1, "vision_feature_select_strategy": "full",
    "text_config": {
        "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
        "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4,
        "vocab_size": 152128,
    },
    "vision_config": {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "image_size": 384,
        "intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 26,
        "patch_size": 14, "vision_use_head": False,
    },
}  # fmt: skip
BRANCH = {"btadapter": True, "btadapter_depth": 4, "max_T": 64}
CONFIGS = {
    "vicuna7b": VICUNA | BRANCH,
    "vicuna7b_nobtadapter": VICUNA | {"btadapter": False},
    "qwen7b": QWEN,
}
STATISTICS = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def released(name):
    return {key: torch.empty(shape, device="meta") for key, shape in KEYS[name].items()}


@pytest.fixture
def folder(tmp_path, request):
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[request.param]))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(STATISTICS))
    return tmp_path


both_names = pytest.mark.parametrize(
    ("folder", "name"), [(n, n) for n in KEYS], indirect=["folder"]
)


@both_names
def test_every_tensor_has_a_place_and_every_place_a_tensor(folder, name):
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(load_settings(folder))
    places = model.state_dict()
    mapping = get_model_conversion_mapping(model)
    renamings = [one for one in mapping if not isinstance(one, WeightConverter)]
    filled = set()
    for key, tensor in released(name).items():
        if is_extra(key):
            continue
        target, _ = rename_source_key(key, renamings, [], model.base_model_prefix, places)
        if target not in places:
            # the reference keeps what its features never pass through
            assert "post_layernorm" in target or key.endswith("logit_bias")
            continue
        assert places[target].shape == tensor.shape, key
        filled.add(target)
    assert filled == set(places)


@both_names
def test_the_aligner_takes_its_tensors(folder, name):
    prefix = "multi_modal_projector."
    tensors = {
        key.removeprefix(prefix): tensor
        for key, tensor in released(name).items()
        if key.startswith(prefix) and is_extra(key)
    }
    source = aligner_folder.named_source(CONFIGS[name]["clip_weight"], folder)
    width = CONFIGS[name]["vision_config"]["hidden_size"]
    text, patches = aligner_folder._settings(source, width, probe=False)
    with torch.device("meta"):
        encoder = DualEncoder(text, patches)
    encoder.extend_context()
    assert encoder.context_length == (196 if name == "qwen7b" else 248)
    state = dual_encoder_state(tensors, text, patches)
    shapes = {key: tensor.shape for key, tensor in encoder.state_dict().items()}
    assert {key: tensor.shape for key, tensor in state.items()} == shapes


def test_the_branch_takes_its_tensors(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["vicuna7b"]))
    settings = load_settings(tmp_path)
    with torch.device("meta"):
        adapter = BtAdapter(
            settings.vision_config,
            depth=settings.btadapter_depth,
            max_frames=settings.max_T,
            feature_layer=settings.vision_feature_layer,
        )
    adapter.load_state_dict(bt_adapter_state(released("vicuna7b"), adapter), assign=True)
    with pytest.raises(ModelError, match="no tensor"):
        bt_adapter_state(released("vicuna7b_nobtadapter"), adapter)


@both_names
def test_what_such_a_folder_says_of_itself(folder, name):
    described = describe_folder(folder)
    assert described.backbone == ("llava_video" if name == "qwen7b" else "llava_next")
    assert described.template == ("qwen" if name == "qwen7b" else "v1")
    assert (described.projector_order, described.weighting) == ("project_first", "authors")
    assert described.window == Window((2, 3, 3))
    assert described.image_window == Window((1, 3, 3))
    side = 384 if name == "qwen7b" else 336
    assert (described.pixels.height, described.pixels.width) == (side, side)
    assert described.num_frames == 32
