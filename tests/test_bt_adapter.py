import math

import pytest
import torch
from golden_files import assert_golden, facts, tensors

from pplava_core.errors import ModelError, ShapeError, UsageError
from pplava_core.models.bt_adapter import PREFIX, BtAdapter, bt_adapter_state

QUIRK = "video_T3_axis_quirk"


def tower(**settings):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    return CLIPVisionModel(CLIPVisionConfig(**settings, attn_implementation="sdpa")).eval()


@pytest.fixture(scope="module")
def golden():
    info, weights = facts("btadapter"), tensors("btadapter")
    # the last layers are not part of what is read; the golden file has no weights for them
    vision = tower(**info["vision"])
    named = {
        name.removeprefix("sd.vision_model."): tensor
        for name, tensor in weights.items()
        if name.startswith("sd.") and "btadapter" not in name
    }
    missing, unknown = vision.load_state_dict(named, strict=False)
    assert not unknown
    assert all("layers.4." in name or "post_layernorm" in name for name in missing)
    adapter = BtAdapter(vision.config, depth=info["depth"], max_frames=info["max_T"]).eval()
    released = {f"vision_tower.{name[3:]}": t for name, t in weights.items() if name[:3] == "sd."}
    adapter.load_state_dict(bt_adapter_state(released, adapter))
    return vision, adapter


@torch.no_grad()
@pytest.mark.parametrize(
    ("run", "options"),
    [("video_T4", {}), ("images_4d", {"separate": True}), (QUIRK, {"reference_axis_quirk": True})],
)
def test_the_state_equals_the_reference(golden, run, options):
    vision, adapter = golden
    pixels = tensors("btadapter")[f"{run}.pixel_values"]
    states = adapter(vision, pixels.view(-1, *pixels.shape[-3:]), **options)
    assert_golden(states, "btadapter", f"{run}.hidden_states.4", run=f"{run}.hidden_states[-2]")


@torch.no_grad()
def test_three_frames_are_read_as_frames_unless_the_quirk_is_asked_for(golden):
    vision, adapter = golden
    frames = tensors("btadapter")[f"{QUIRK}.pixel_values"][0]
    quirk = tensors("btadapter")[f"{QUIRK}.hidden_states.4"].view(3, -1, 64)
    assert not torch.allclose(adapter(vision, frames), quirk, atol=1e-2)
    # two frames have no such trouble, and the switch does nothing to them
    plain, switched = (adapter(vision, frames[:2], reference_axis_quirk=on) for on in (False, True))
    assert torch.equal(plain, switched)


def slow_attention(rows, layer):
    """Attention of a list of vectors, one head and one query at a time."""
    width, heads = rows[0].numel(), layer.num_heads
    size = width // heads
    query, key, value = (
        [part(row) for row in rows] for part in (layer.q_proj, layer.k_proj, layer.v_proj)
    )
    answers = []
    for asked in query:
        pieces = []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            scores = torch.stack([asked[own] @ k[own] / math.sqrt(size) for k in key])
            shares = (scores - scores.max()).exp()
            shares = shares / shares.sum()
            pieces.append(sum(s * v[own] for s, v in zip(shares, value, strict=True)))
        answers.append(layer.out_proj(torch.cat(pieces)))
    return answers


def slow_layer(rows, layer):
    """One layer of CLIP over a list of vectors."""
    changes = slow_attention([layer.layer_norm1(row) for row in rows], layer.self_attn)
    rows = [row + change for row, change in zip(rows, changes, strict=True)]
    return [row + layer.mlp(layer.layer_norm2(row)) for row in rows]


def slow_states(vision, adapter, pixels, depth, layers_read):
    """The tower and its branch in loops over frames and patches, as the paper tells them."""
    frames = [list(row) for row in vision.pre_layrnorm(vision.embeddings(pixels))]
    count, plain = len(frames), len(vision.encoder.layers) - depth
    positions = vision.embeddings.position_embedding.weight
    y = None
    for number in range(layers_read):
        frames = [slow_layer(rows, vision.encoder.layers[number]) for rows in frames]
        if number < plain:
            continue
        mean = sum(rows[0] for rows in frames) / count
        if y is None:
            first = (adapter.cls_token[0, 0] + positions[0]) / 2
            y_cls = mean / 2 + first
            y = [
                [p + positions[i + 1] + adapter.times.weight[t] for i, p in enumerate(rows[1:])]
                for t, rows in enumerate(frames)
            ]
        else:
            y_cls = y_cls + mean
            y = [
                [a + b for a, b in zip(ys, xs[1:], strict=True)]
                for ys, xs in zip(y, frames, strict=True)
            ]
        temporal, spatial = adapter.temporal[number - plain], adapter.spatial[number - plain]
        for place in range(len(y[0])):
            rows = [temporal.layer_norm1(y[t][place]) for t in range(count)]
            for t, change in enumerate(slow_attention(rows, temporal.self_attn)):
                y[t][place] = y[t][place] + temporal.temporal_fc(change)
        changes = [
            slow_attention([spatial.layer_norm1(v) for v in (y_cls, *rows)], spatial.self_attn)
            for rows in y
        ]
        y_cls = y_cls + sum(change[0] for change in changes) / count
        y_cls = y_cls + spatial.mlp(spatial.layer_norm2(y_cls))
        for t, change in enumerate(changes):
            rows = [v + c for v, c in zip(y[t], change[1:], strict=True)]
            y[t] = [v + spatial.mlp(spatial.layer_norm2(v)) for v in rows]
    if y is not None:
        frames = [
            [rows[0], *((a + b) / 2 for a, b in zip(rows[1:], y[t], strict=True))]
            for t, rows in enumerate(frames)
        ]
    return torch.stack([torch.stack(rows) for rows in frames])


def small(depth, **options):
    torch.manual_seed(depth)
    vision = tower(
        hidden_size=8, intermediate_size=12, num_hidden_layers=4, num_attention_heads=2,
        image_size=9, patch_size=4,
    ).double()  # fmt: skip
    adapter = BtAdapter(vision.config, depth=depth, max_frames=5, **options).double().eval()
    for parameter in (*adapter.parameters(), *vision.parameters()):
        torch.nn.init.normal_(parameter, std=0.5)
    return vision, adapter


@torch.no_grad()
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("feature_layer", [-1, -2, -4])
@pytest.mark.parametrize("frames", [1, 3, 5])
def test_it_equals_loops_over_frames_and_patches(depth, feature_layer, frames):
    vision, adapter = small(depth, feature_layer=feature_layer)
    pixels = torch.randn(frames, 3, 9, 9, dtype=torch.float64)
    slow = slow_states(vision, adapter, pixels, depth, 5 + feature_layer)
    torch.testing.assert_close(adapter(vision, pixels), slow, rtol=0, atol=1e-11)


@torch.no_grad()
def test_separate_pictures_are_clips_of_one_frame():
    vision, adapter = small(3)
    pixels = torch.randn(7, 3, 9, 9, dtype=torch.float64)
    together = adapter(vision, pixels, separate=True)
    alone = torch.cat([adapter(vision, picture[None]) for picture in pixels])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_what_cannot_be_read_is_said():
    vision, adapter = small(2)
    with pytest.raises(UsageError, match="at most 5 frames together, not 6; ask for 5 or fewer"):
        adapter(vision, torch.zeros(6, 3, 9, 9).double())
    for shape in [(3, 9, 9), (2, 1, 9, 9), (1, 2, 3, 9, 9)]:
        with pytest.raises(ShapeError, match="are not"):
            adapter(vision, torch.zeros(shape))
    for depth in (0, 5):
        with pytest.raises(ModelError, match="4 layers"):
            BtAdapter(vision.config, depth=depth, max_frames=4)
    with pytest.raises(ModelError, match="no state -6"):
        BtAdapter(vision.config, depth=2, max_frames=4, feature_layer=-6)


def released(adapter, vision):
    """The tensors of a checkpoint whose branch is as deep as the adapter says."""
    whole = BtAdapter(vision.config, depth=adapter.depth, max_frames=5, feature_layer=-1)
    theirs = {"spatial": "S_layers", "temporal": "T_layers", "times": "time_embed"}
    named = {}
    for name, tensor in whole.state_dict().items():
        kind, dot, rest = name.partition(".")
        named[f"{PREFIX}{theirs.get(kind, kind)}{dot}{rest}"] = tensor
    return named | {"vision_tower.vision_model.post_layernorm.bias": torch.zeros(8)}


def test_every_tensor_has_its_place_and_the_last_layers_are_left_out():
    vision, adapter = small(3)
    tensors = released(adapter, vision)
    state = bt_adapter_state(tensors, adapter)
    adapter.load_state_dict(state)
    assert len(adapter.spatial) == 2
    assert state["temporal.1.temporal_fc.bias"] is tensors[f"{PREFIX}T_layers.1.temporal_fc.bias"]
    assert len(state) == len(tensors) - 1 - 16 - 12


@pytest.mark.parametrize("name", ["cls_token", "time_embed.weight", "T_layers.0.temporal_fc.bias"])
def test_a_missing_tensor_is_named(name):
    vision, adapter = small(3)
    tensors = released(adapter, vision)
    del tensors[PREFIX + name]
    with pytest.raises(ModelError, match=f"no tensor '{PREFIX}{name}'"):
        bt_adapter_state(tensors, adapter)


@pytest.mark.parametrize("name", ["S_layers.3.mlp.fc1.bias", "cls", "X_layers.0.bias", "T_layers"])
def test_an_unknown_tensor_is_named(name):
    vision, adapter = small(3)
    tensors = released(adapter, vision) | {PREFIX + name: torch.zeros(2)}
    with pytest.raises(ModelError, match=f"unknown tensor '{PREFIX}{name}'"):
        bt_adapter_state(tensors, adapter)


def test_a_tensor_of_another_shape_is_named():
    vision, adapter = small(3)
    tensors = released(adapter, vision) | {f"{PREFIX}time_embed.weight": torch.zeros(6, 8)}
    with pytest.raises(ModelError, match=r"time_embed.weight is \(6, 8\), not \(5, 8\)"):
        bt_adapter_state(tensors, adapter)
