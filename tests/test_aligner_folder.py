"""Aligners made of CLIP's and SigLIP's own folders, against transformers' classes."""

from __future__ import annotations

import json
import shutil

import pytest
import tiny_checkpoints as tiny
import torch
from torch.nn import functional as F

from pplava_core.context import extend_positions
from pplava_core.errors import ModelError
from pplava_core.models.layouts import aligner_folder

TEXTS = (
    "a red circle",
    "How many objects, and where? " * 3,
    "the end of the film " * 20,
)
"Shorter than the 20 positions that stay, longer, longer than the tower was trained for."


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    return {
        "clip": tiny.write_clip(root / "clip"),
        "siglip": tiny.write_siglip(root / "siglip"),
    }


@pytest.fixture(scope="module")
def loaded(folders):
    from transformers import AutoModel

    return {
        kind: (
            aligner_folder.from_pretrained(folder, patch_width=tiny.WIDTH),
            AutoModel.from_pretrained(folder).eval(),
        )
        for kind, folder in folders.items()
    }


def stretch(model):
    """Put the stretched table (Eq. 4) into transformers' text tower."""
    embeddings = model.text_model.embeddings
    table = extend_positions(embeddings.position_embedding.weight.detach())
    embeddings.position_embedding = torch.nn.Embedding.from_pretrained(table)
    embeddings.position_ids = torch.arange(len(table))[None]
    return len(table)


@pytest.mark.parametrize(("kind", "length"), [("clip", 248), ("siglip", 196)])
@torch.inference_mode()
def test_texts_are_embedded_as_transformers_does(kind, length, loaded):
    aligner, model = loaded[kind]
    positions = aligner.encoder.text.positional_embedding
    old = model.text_model.embeddings.position_embedding.weight
    if len(old) != length:
        assert torch.equal(positions[:20], old[:20])
        assert stretch(model) == length
    assert aligner.encoder.context_length == length
    options = {"padding": "max_length" if aligner.pads_fully else True, "return_tensors": "pt"}
    for text in TEXTS:
        inputs = aligner.tokenizer([text], truncation=True, max_length=length, **options)
        ids = inputs["input_ids"]
        mask = inputs.get("attention_mask")
        # SigLIP was trained, and is fed by the paper's code, without a mask
        given = {"input_ids": ids, **({} if aligner.pads_fully else {"attention_mask": mask})}
        theirs = model.get_text_features(**given)
        theirs = theirs if isinstance(theirs, torch.Tensor) else theirs.pooler_output
        ours = aligner.encoder.embed_text(ids, mask)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_short_texts_are_those_of_the_tower_as_it_came(folders):
    from transformers import CLIPModel

    aligner = aligner_folder.from_pretrained(folders["clip"], patch_width=tiny.WIDTH)
    model = CLIPModel.from_pretrained(folders["clip"]).eval()
    inputs = aligner.tokenizer(["a red circle", "the"], padding=True, return_tensors="pt")
    assert inputs["input_ids"].shape[1] <= 20
    theirs = model.get_text_features(**inputs)
    theirs = theirs if isinstance(theirs, torch.Tensor) else theirs.pooler_output
    ours = aligner.encoder.embed_text(inputs["input_ids"], inputs["attention_mask"])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_released_projectors_whose_context_was_not_stretched(folders):
    from safetensors.torch import load_file
    from transformers import CLIPModel

    released = {}
    for name, tensor in load_file(folders["clip"] / "model.safetensors").items():
        for theirs, prefix in (
            ("text_model.", "clip_text_model."),
            ("text_projection.", "clip_text_projection."),
            ("visual_projection.", "clip_visual_projection."),
            ("vision_model.post_layernorm.", "clip_visual_ln."),
            ("logit_scale", "logit_scale"),
        ):
            if name.startswith(theirs):
                released[prefix + name.removeprefix(theirs)] = tensor
    aligner = aligner_folder.from_released(
        released, folders["clip"], patch_width=tiny.WIDTH, probe=False, extended=False
    )
    assert aligner.encoder.context_length == 77
    model = CLIPModel.from_pretrained(folders["clip"]).eval()
    inputs = aligner.tokenizer([TEXTS[2]], truncation=True, max_length=77, return_tensors="pt")
    theirs = model.get_text_features(**inputs)
    theirs = theirs if isinstance(theirs, torch.Tensor) else theirs.pooler_output
    ours = aligner.encoder.embed_text(inputs["input_ids"], inputs["attention_mask"])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_patches_go_through_what_clip_does_to_its_class_token(loaded):
    aligner, model = loaded["clip"]
    features = torch.randn(1, 2, 3, 4, tiny.WIDTH)
    expected = model.visual_projection(model.vision_model.post_layernorm(features))
    ours = aligner.encoder.embed_patches(features)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    assert torch.equal(aligner.encoder.logit_scale, model.logit_scale)


@torch.inference_mode()
def test_patches_take_the_value_path_of_siglips_head(loaded):
    """A picture of one patch: attention can only be 1, so the head is its value path."""
    aligner, model = loaded["siglip"]
    head, features = model.vision_model.head, torch.randn(1, 2, 3, 4, tiny.WIDTH)
    ours = aligner.encoder.embed_patches(features)
    patches = model.vision_model.post_layernorm(features).reshape(-1, 1, tiny.WIDTH)
    value = F.linear(patches, *(part.chunk(3)[2] for part in (
        head.attention.in_proj_weight, head.attention.in_proj_bias)))  # fmt: skip
    attended, _ = head.attention(head.probe.expand(len(patches), 1, -1), patches, patches)
    # the head itself goes on through out_proj, which the paper's code leaves out
    torch.testing.assert_close(attended, head.attention.out_proj(value), rtol=0, atol=1e-5)
    expected = value + head.mlp(head.layernorm(value))
    torch.testing.assert_close(ours, expected.reshape(features.shape), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_saved_and_loaded_again(kind, loaded, tmp_path):
    aligner = loaded[kind][0]
    aligner_folder.save_aligner(aligner, tmp_path / "aligner")
    again = aligner_folder.load_aligner(tmp_path / "aligner")
    assert again.pads_fully == aligner.pads_fully
    assert again.encoder.text_settings == aligner.encoder.text_settings
    for name, tensor in aligner.encoder.state_dict().items():
        assert torch.equal(again.encoder.state_dict()[name], tensor), name
    assert again.tokenizer(TEXTS[0]).input_ids == aligner.tokenizer(TEXTS[0]).input_ids


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_damaged_folders_are_one_line(kind, folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "source"
    shutil.copytree(folders[kind], folder)
    tensors = load_file(folder / "model.safetensors")
    fewer = dict(tensors)
    del fewer["text_model.final_layer_norm.weight"]
    save_file(fewer, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="final_layer_norm"):
        aligner_folder.from_pretrained(folder, patch_width=tiny.WIDTH)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError) as caught:
        aligner_folder.from_pretrained(folder, patch_width=tiny.WIDTH + 8)
    assert len(str(caught.value).splitlines()) == 1
    for name in ("tokenizer.json", "spiece.model"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(ModelError, match="tokenizer"):
        aligner_folder.from_pretrained(folder, patch_width=tiny.WIDTH)
    for nonsense in ("{}", "[]", "nothing", '{"model_type": "llama"}', '{"model_type": "altclip"}'):
        (folder / "config.json").write_text(nonsense)
        with pytest.raises(ModelError, match="source") as caught:
            aligner_folder.from_pretrained(folder, patch_width=tiny.WIDTH)
        assert len(str(caught.value).splitlines()) == 1


def test_a_tokenizer_of_another_model_is_noticed(folders, tmp_path):
    folder = tmp_path / "source"
    shutil.copytree(folders["siglip"], folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folders["clip"] / name, folder / name)
    with pytest.raises(ModelError, match="mixed from two models"):
        aligner_folder.from_pretrained(folder, patch_width=tiny.WIDTH)


@pytest.mark.parametrize(
    "text",
    [
        "A red Circle,  and\ttwo\nblue ones!",
        "it's what they're doing; I'd say we've 12345 of 'em...",
        'naïve façade — "quotes" 3½ €',
        "猫が走る。 Привет, мир",
        "🎬 film 🐈‍⬛",
        "(a) b/c [d] {e} <f> #g @h $i %j ^k &l *m",
        "supercalifragilisticexpialidocious",
        "",
    ],
)
def test_bundled_clip_tokenizer_is_open_clips(text):
    """Apart from curly quotes, which open_clip makes straight and transformers leaves."""
    from open_clip.tokenizer import SimpleTokenizer

    bundled = aligner_folder._tokenizer(aligner_folder.NAMED / "clip-vit-large-patch14-336")
    expected = SimpleTokenizer()(text)[0]
    expected = expected[: int(expected.argmax()) + 1].tolist()
    assert bundled(text).input_ids == expected
    assert bundled.eos_token_id == max(expected)


def test_bundled_siglip_has_no_tokenizer_and_says_where_to_get_one():
    with pytest.raises(ModelError, match="aligner_source"):
        aligner_folder._tokenizer(aligner_folder.NAMED / "siglip-so400m-patch14-384")


def test_bundled_configurations_are_the_real_sizes():
    text, patches = aligner_folder._settings(
        aligner_folder.NAMED / "clip-vit-large-patch14-336", 1024, False
    )
    assert (text.width, text.vocab_size, text.pooling) == (768, 49408, "argmax")
    assert (patches.width, patches.embed_dim) == (1024, 768)
    values = json.loads(
        (aligner_folder.NAMED / "siglip-so400m-patch14-384" / "config.json").read_text()
    )
    assert values["vision_config"]["num_hidden_layers"] == 27
