import math
import subprocess
import sys

import pytest
import torch
from golden_files import assert_golden, facts, tensors

from pplava_core.errors import ModelError, ShapeError
from pplava_core.models.dual_encoder import DualEncoder, PatchHeadSettings, TextTowerSettings
from pplava_core.models.layouts.released_weights import dual_encoder_state

CLIP_TEXT = {
    "width": 48, "layers": 2, "heads": 4, "mlp_width": 96, "vocab_size": 120, "embed_dim": 40,
    "activation": "quick_gelu",
}  # fmt: skip
SMALL = TextTowerSettings(width=32, layers=2, heads=4, vocab_size=60, embed_dim=16)


def clip_encoder(kind):
    golden = {
        name.removeprefix(f"{kind}.sd."): tensor
        for name, tensor in tensors("clip_projector").items()
        if name.startswith(f"{kind}.sd.")
    }
    text = TextTowerSettings(**CLIP_TEXT, context_length=248 if kind == "ext" else 77)
    patches = PatchHeadSettings(width=64, embed_dim=40)
    encoder = DualEncoder(text, patches).eval()
    encoder.load_state_dict(dual_encoder_state(golden, text, patches))
    return encoder


def siglip_encoder(kind):
    golden = {
        name.removeprefix("sd."): tensor
        for name, tensor in tensors("siglip_projector").items()
        if name.startswith("sd.")
    }
    text = TextTowerSettings(
        width=64, layers=2, heads=4, mlp_width=112, vocab_size=120, embed_dim=64,
        context_length=196, activation="gelu_tanh", causal=False, pooling="last",
        projection_bias=True, eps=1e-6,
    )  # fmt: skip
    patches = PatchHeadSettings(
        kind="siglip", width=64, embed_dim=64, mlp_width=112, eps=1e-6,
        probe_heads=4 if kind == "plus" else None,
    )  # fmt: skip
    encoder = DualEncoder(text, patches).eval()
    encoder.load_state_dict(dual_encoder_state(golden, text, patches))
    return encoder


def as_grid(tensor):
    side = math.isqrt(tensor.shape[1])
    return tensor.view(1, len(tensor), side, side, -1)


@pytest.mark.parametrize("run", facts("clip_projector")["runs"])
@torch.no_grad()
def test_clip_equals_the_reference(run):
    golden, encoder = tensors("clip_projector"), clip_encoder(run.split(".")[0])
    encoder.logit_scale.fill_(facts("clip_projector")["runs"][run]["logit_scale"])
    ids, mask = golden[f"{run}.clip_ids"], golden[f"{run}.clip_mask"]
    text = encoder.embed_text(ids, mask)
    torch.testing.assert_close(text, golden[f"{run}.text_embed"], rtol=1e-5, atol=1e-5)
    features = as_grid(golden[f"{run}.image_features"])
    shares = encoder.relevance(features, ids, text_mask=mask)
    assert_golden(shares, "clip_projector", f"{run}.weights")


@pytest.mark.parametrize("run", facts("siglip_projector")["runs"])
@torch.no_grad()
def test_siglip_equals_the_reference(run):
    golden, encoder = tensors("siglip_projector"), siglip_encoder(run.split(".")[0])
    ids = golden[f"{run}.clip_ids"]
    text = encoder.embed_text(ids)
    torch.testing.assert_close(text, golden[f"{run}.text_pooled"], rtol=1e-5, atol=1e-5)
    shares = encoder.relevance(as_grid(golden[f"{run}.image_features"]), ids)
    assert_golden(shares, "siglip_projector", f"{run}.weights")


def test_a_missing_tensor_is_named():
    encoder = clip_encoder("noext")
    with pytest.raises(ModelError, match=r"no tensor 'logit_scale'"):
        dual_encoder_state({}, encoder.text_settings, encoder.patch_settings)


def small_encoder(**changes):
    torch.manual_seed(0)
    settings = {**{name: getattr(SMALL, name) for name in SMALL.__dataclass_fields__}, **changes}
    return DualEncoder.from_settings(TextTowerSettings(**settings), patch_width=24).eval()


def texts(*lengths, total=12, end=59):
    """Ids whose highest, `end`, closes each text; 1 fills up on the right."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.ones(len(lengths), total, dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, : length - 1] = torch.randint(2, 58, (length - 1,), generator=generator)
        ids[row, length - 1] = end
    return ids, torch.arange(total) < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("pooling", ["argmax", "eos"])
@torch.no_grad()
def test_padding_on_either_side_changes_no_text(pooling):
    encoder = small_encoder(pooling=pooling, eos_id=59)
    ids, mask = texts(3, 7, 12)
    right = encoder.embed_text(ids, mask)
    torch.testing.assert_close(right, encoder.embed_text(ids))
    for row, length in enumerate((3, 7, 12)):
        alone = encoder.embed_text(ids[row : row + 1, :length])
        torch.testing.assert_close(alone[0], right[row])

    # on the left positions move as well, so compare texts that stand at the same places
    shifted, moved_mask = texts(3, 3, total=3)
    padding = torch.tensor([[5, 6], [7, 8]])
    ids = torch.cat([padding, shifted], dim=1)
    mask = torch.cat([torch.zeros(2, 2, dtype=torch.bool), moved_mask], dim=1)
    other = torch.cat([padding.flip(0) + 20, shifted], dim=1)
    torch.testing.assert_close(encoder.embed_text(ids, mask), encoder.embed_text(other, mask))
    assert not torch.allclose(encoder.embed_text(ids), encoder.embed_text(other))


def test_the_end_of_a_text_is_where_it_is_said_to_be():
    ids, _ = texts(4, 9)
    ids[0, 1] = 59  # an end mark in the middle: the first one counts, for both ways to look
    twice = torch.cat([ids, torch.full((2, 1), 59)], dim=1)
    for pooling in ("argmax", "eos"):
        encoder = small_encoder(pooling=pooling, eos_id=59)
        assert encoder._pooled_positions(twice).tolist() == [1, 8]
    assert small_encoder(pooling="last")._pooled_positions(twice).tolist() == [12, 12]


def test_a_bidirectional_tower_sees_what_comes_later():
    ids, _ = texts(4, 4)
    ids[1] = ids[0]
    ids[1, -1] = 30
    causal, both_ways = small_encoder(), small_encoder(causal=False)
    with torch.no_grad():
        first, second = causal.embed_text(ids)
        assert torch.equal(first, second)
        first, second = both_ways.embed_text(ids)
        assert not torch.allclose(first, second)


def test_texts_longer_than_the_table_are_refused_until_it_is_stretched():
    encoder = small_encoder(context_length=30)
    ids, mask = texts(5, 33, total=40)
    short = encoder.embed_text(ids[:1, :20])
    with pytest.raises(ShapeError, match="30 positions"):
        encoder.embed_text(ids, mask)
    encoder.extend_context()
    assert encoder.context_length == 60
    assert encoder.embed_text(ids, mask).shape == (2, 16)
    torch.testing.assert_close(encoder.embed_text(ids[:1, :20]), short)


def test_it_learns_in_bfloat16():
    encoder = small_encoder().train()
    encoder.extend_context()
    ids, mask = texts(5, 9, 12)
    features = torch.randn(3, 2, 4, 5, 24)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        with torch.autocast("cpu", torch.bfloat16):
            shares = encoder.relevance(features, ids, text_mask=mask)
        assert shares.dtype == torch.float32
        loss = -shares[torch.arange(3), 1, torch.arange(3), 2].log().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


def test_weights_survive_a_state_dict():
    encoder, other = small_encoder(), small_encoder()
    torch.nn.init.normal_(other.patches.projection)
    other.load_state_dict(encoder.state_dict())
    ids, mask = texts(3, 8)
    features = torch.randn(2, 2, 3, 4, 24)
    assert torch.equal(
        encoder.relevance(features, ids, text_mask=mask),
        other.relevance(features, ids, text_mask=mask),
    )


@pytest.mark.parametrize(
    "settings",
    [
        lambda: TextTowerSettings(width=30, layers=1, heads=4, vocab_size=9, embed_dim=8),
        lambda: TextTowerSettings(
            width=32, layers=1, heads=4, vocab_size=9, embed_dim=8, pooling="eos"
        ),
        lambda: PatchHeadSettings(kind="siglip", width=8, embed_dim=9),
        lambda: DualEncoder(SMALL, PatchHeadSettings(width=8, embed_dim=8)),
    ],
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ModelError):
        settings()


def test_open_clip_is_read_in_part_and_stays_whole_for_others():
    program = """
import sys
from pplava_core.models.open_clip_parts import load_text_transformer
parts = load_text_transformer()
assert "open_clip" not in sys.modules and "timm" not in sys.modules
import open_clip
assert open_clip.model.TextTransformer is parts.TextTransformer
assert load_text_transformer() is parts
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_open_clip_that_is_missing_is_one_clear_line(monkeypatch):
    from pplava_core.models import open_clip_parts

    for name in [name for name in sys.modules if name.split(".")[0] == "open_clip"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(open_clip_parts.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="open_clip is not installed") as caught:
        open_clip_parts.load_text_transformer()
    assert "\n" not in str(caught.value)
    assert "open_clip" not in sys.modules
