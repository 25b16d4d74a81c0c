import math

import pytest
import torch
from golden_files import assert_golden, facts, tensors
from hypothesis import given, settings
from hypothesis import strategies as st

from pplava_core import alignment
from pplava_core.errors import ShapeError

CLIP_RUNS = list(facts("clip_projector")["runs"])
SIGLIP_RUNS = list(facts("siglip_projector")["runs"])


def as_grid(tensor):
    """``(T, side * side, D)`` of the golden files as ``(1, T, side, side, D)``."""
    side = math.isqrt(tensor.shape[1])
    return tensor.view(1, tensor.shape[0], side, side, -1)


def siglip_path():
    golden = tensors("siglip_projector")
    head = "sd.clip_visual_head"
    return alignment.SiglipValuePath(
        norm_weight=golden["sd.clip_visual_ln.weight"],
        norm_bias=golden["sd.clip_visual_ln.bias"],
        value_weight=golden[f"{head}.attention.in_proj_weight"].chunk(3)[2],
        value_bias=golden[f"{head}.attention.in_proj_bias"].chunk(3)[2],
        mlp_norm_weight=golden[f"{head}.layernorm.weight"],
        mlp_norm_bias=golden[f"{head}.layernorm.bias"],
        fc1_weight=golden[f"{head}.mlp.fc1.weight"],
        fc1_bias=golden[f"{head}.mlp.fc1.bias"],
        fc2_weight=golden[f"{head}.mlp.fc2.weight"],
        fc2_bias=golden[f"{head}.mlp.fc2.bias"],
    )


def relevance_slowly(patches, text, scale):
    """Eq. 1 for one clip, patch by patch, in Python's floats."""
    rows = patches.flatten(0, 2).tolist()
    words = text.tolist()
    cosines = [
        sum(a * b for a, b in zip(row, words, strict=True))
        / (math.hypot(*row) * math.hypot(*words))
        for row in rows
    ]
    powers = [math.exp(scale * (cosine - max(cosines))) for cosine in cosines]
    return torch.tensor([power / sum(powers) for power in powers]).view(patches.shape[:3])


@pytest.mark.parametrize("run", CLIP_RUNS)
def test_clip_relevance_equals_the_reference(run):
    golden, kind = tensors("clip_projector"), run.split(".")[0]
    patches = alignment.clip_patch_embeddings(
        as_grid(golden[f"{run}.image_features"]),
        golden[f"{kind}.sd.clip_visual_ln.weight"],
        golden[f"{kind}.sd.clip_visual_ln.bias"],
        golden[f"{kind}.sd.clip_visual_projection.weight"].T,
    )
    text = golden[f"{run}.text_embed"]
    cosines = alignment.cosine_similarity(patches, text)
    scale = math.exp(facts("clip_projector")["runs"][run]["logit_scale"])
    assert_golden(cosines, "clip_projector", f"{run}.cosine")
    shares = alignment.relevance(patches, text, logit_scale=scale)
    assert_golden(shares, "clip_projector", f"{run}.weights")


@pytest.mark.parametrize("run", SIGLIP_RUNS)
def test_siglip_relevance_equals_the_reference(run):
    golden = tensors("siglip_projector")
    features = as_grid(golden[f"{run}.image_features"])
    patches = alignment.siglip_patch_embeddings(features, siglip_path())
    torch.testing.assert_close(
        patches[0].flatten(1, 2), golden[f"{run}.head_out"], rtol=1e-5, atol=1e-5
    )
    shares = alignment.relevance(
        patches, golden[f"{run}.text_pooled"], logit_scale=golden["sd.logit_scale"].exp()
    )
    if run.startswith("plus"):
        shares = shares * probe_attention(features) * 1000
    assert_golden(shares, "siglip_projector", f"{run}.weights")


def probe_attention(features, mask=None):
    golden, head = tensors("siglip_projector"), "sd.clip_visual_head"
    query, key, _ = golden[f"{head}.attention.in_proj_weight"].chunk(3)
    query_bias, key_bias, _ = golden[f"{head}.attention.in_proj_bias"].chunk(3)
    return alignment.siglip_probe_attention(
        features,
        query @ golden[f"{head}.probe"].flatten() + query_bias,
        siglip_path(),
        key_weight=key,
        key_bias=key_bias,
        heads=4,
        mask=mask,
    )


def test_the_probe_sees_one_frame_at_a_time():
    golden = tensors("siglip_projector")
    features = as_grid(golden["plus.image.image_features"])
    attention = probe_attention(features)
    expected = golden["plus.image.head_attn"].mean(1).view_as(attention)
    torch.testing.assert_close(attention, expected)
    mask = torch.ones(attention.shape, dtype=torch.bool)
    mask[:, -1] = False
    mask[:, :, -1] = False
    masked = probe_attention(features, mask)
    torch.testing.assert_close(masked[:, :-1, :-1], probe_attention(features[:, :-1, :-1]))
    assert masked[~mask].abs().max() == 0


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.integers(1, 5)] * 3), st.integers(1, 6), st.floats(0, 100), st.integers(0, 99)
)
def test_relevance_equals_a_slow_obvious_loop(size, width, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(2, *size, width, generator=generator, dtype=torch.float64)
    text = torch.randn(2, width, generator=generator, dtype=torch.float64)
    shares = alignment.relevance(patches, text, logit_scale=scale)
    for number in range(2):
        expected = relevance_slowly(patches[number], text[number], scale)
        torch.testing.assert_close(
            shares[number], expected, check_dtype=False, rtol=1e-5, atol=1e-7
        )


def test_clips_of_different_sizes_are_not_mixed():
    sizes, full = ((5, 4, 6), (3, 7, 5)), (5, 7, 6)
    patches, text = torch.randn(2, *full, 8), torch.randn(2, 8)
    mask = torch.zeros(2, *full, dtype=torch.bool)
    for number, (frames, rows, columns) in enumerate(sizes):
        mask[number, :frames, :rows, :columns] = True
    together = alignment.relevance(patches, text, logit_scale=20.0, mask=mask)
    assert together[~mask].abs().max() == 0
    for number, (frames, rows, columns) in enumerate(sizes):
        own = patches[number : number + 1, :frames, :rows, :columns]
        alone = alignment.relevance(own, text[number : number + 1], logit_scale=20.0)
        torch.testing.assert_close(together[number, :frames, :rows, :columns], alone[0])


def test_relevance_is_one_unit_of_float32_even_under_autocast():
    patches, text = torch.randn(2, 4, 5, 3, 16), torch.randn(2, 16)
    plain = alignment.relevance(patches, text, logit_scale=torch.tensor(100.0))
    with torch.autocast("cpu", torch.bfloat16):
        cast = alignment.relevance(patches, text, logit_scale=torch.tensor(100.0))
    half = alignment.relevance(patches.bfloat16(), text.bfloat16(), logit_scale=100.0)
    assert plain.dtype == cast.dtype == half.dtype == torch.float32
    assert torch.equal(plain, cast)
    for shares in (plain, half):
        torch.testing.assert_close(shares.sum((1, 2, 3)), torch.ones(2))


def test_all_zeros_are_no_trouble():
    patches = torch.zeros(1, 2, 3, 4, 8, requires_grad=True)
    shares = alignment.relevance(patches, torch.randn(1, 8), logit_scale=100.0)
    torch.testing.assert_close(shares, torch.full((1, 2, 3, 4), 1 / 24))
    shares.square().sum().backward()
    assert patches.grad.isfinite().all()
    empty = torch.zeros(1, 2, 3, 4, dtype=torch.bool)
    nothing = alignment.relevance(patches, torch.randn(1, 8), logit_scale=100.0, mask=empty)
    assert torch.equal(nothing, torch.zeros(1, 2, 3, 4))


def test_gradients():
    patches = torch.randn(2, 2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    text = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 2, 2, 3) > 0.2

    def shares(patches, text, scale):
        return alignment.relevance(patches, text, logit_scale=scale, mask=mask)

    assert torch.autograd.gradcheck(shares, (patches, text, scale))


@pytest.mark.parametrize(
    ("patches", "text", "mask"),
    [
        ((2, 3, 4, 5, 8), (1, 8), None),
        ((2, 3, 4, 5, 8), (2, 7), None),
        ((3, 4, 5, 8), (3, 8), None),
        ((2, 3, 4, 5, 8), (2, 8), (2, 3, 5, 4)),
    ],
)
def test_shapes_that_do_not_go_together(patches, text, mask):
    with pytest.raises(ShapeError):
        alignment.relevance(
            torch.rand(patches),
            torch.rand(text),
            logit_scale=1.0,
            mask=torch.ones(mask, dtype=torch.bool) if mask else None,
        )
