"""InternVL's patch grid: which pixels a patch shows, which features it has, how it is pooled."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from tiny_internvl import write_internvl

from pplava_core import pooling
from pplava_core.errors import ModelError, ShapeError
from pplava_core.models.backbones.internvl3 import FILM_WINDOW, PICTURE_WINDOW
from pplava_core.models.checkpoint import describe_model, load_model
from pplava_core.session import PoolingChoice, Session
from pplava_core.shapes.film import encode_mp4
from pplava_core.types import ClipSource, Sampling
from pplava_core.window import Window

SIZE, GRID = 64, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_internvl(tmp_path_factory.mktemp("model") / "tiny", size=SIZE)


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder)


def spotted(row, column, *, height=SIZE, width=SIZE):
    """A grey picture with noise on one of 16x16 cells."""
    picture = np.full((height, width, 3), 90, dtype=np.uint8)
    high, wide = height // GRID, width // GRID
    noise = np.random.default_rng(1).integers(0, 256, (high, wide, 3))
    picture[row * high : (row + 1) * high, column * wide : (column + 1) * wide] = noise
    return picture


def place_of_most(values):
    return divmod(int(values.argmax()), values.shape[1])


@pytest.mark.parametrize("place", [(2, 12), (12, 2), (0, 15), (15, 0)])
def test_a_patch_shows_what_is_in_its_row_and_column(model, place):
    pictures = np.stack([spotted(*place), np.full((SIZE, SIZE, 3), 90, dtype=np.uint8)])
    batch = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    with torch.inference_mode():
        spot, plain = model.parts.encode_pictures(batch, "image")
    assert place_of_most((spot - plain).norm(dim=-1)) == place


@pytest.mark.parametrize("layer", [-1, -2, 1])
def test_features_are_four_of_the_towers_patches_in_reading_order(folder, tmp_path, layer):
    changed = shutil.copytree(folder, tmp_path / "tiny")
    values = json.loads((changed / "config.json").read_text())
    values["vision_feature_layer"] = layer
    (changed / "config.json").write_text(json.dumps(values))
    model = load_model(changed)
    pixel_values = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = model.parts.features(pixel_values)
        output = model.parts.base.vision_tower(pixel_values, output_hidden_states=True)
    states = output.hidden_states[layer][:, 1:].reshape(2, 2 * GRID, 2 * GRID, -1)
    assert ours.shape == (2, GRID, GRID, 4 * states.shape[-1])
    for row, column in ((0, 0), (3, 9), (9, 3), (15, 15)):
        top, left = 2 * row, 2 * column
        block = [states[:, top + down, left + right] for down in (0, 1) for right in (0, 1)]
        assert torch.allclose(ours[:, row, column], torch.cat(block, dim=-1), atol=1e-6)


@pytest.mark.parametrize(
    ("window", "frames"), [(FILM_WINDOW, 4), (PICTURE_WINDOW, 1), (PICTURE_WINDOW, 3)]
)
def test_the_windows_cover_the_whole_grid(window, frames):
    features = torch.zeros(1, frames, GRID, GRID, 1, requires_grad=True)
    pooling.pool(features, None, window=window).sum().backward()
    assert bool((features.grad > 0).all())


def test_windows_of_three_would_leave_out_the_last_row_and_column():
    features = torch.zeros(1, 2, GRID, GRID, 1, requires_grad=True)
    pooling.pool(features, None, window=Window((2, 3, 3))).sum().backward()
    missed = features.grad[0, 0, :, :, 0] == 0
    assert bool(missed[-1].all() and missed[:, -1].all())
    assert int(missed.sum()) == 2 * GRID - 1


def test_the_folder_is_described(folder):
    config = describe_model(folder)
    assert (config.backbone, config.template) == ("internvl3", "internvl3")
    assert (config.pixels.height, config.pixels.width, config.pixels.resize) == (64, 64, "squash")
    assert (config.num_frames, config.window, config.image_window) == (
        32,
        Window((2, 4, 4), (2, 3, 3)),
        Window((1, 4, 4), (1, 3, 3)),
    )
    assert config.tower["max_tiles"] == 6
    assert config.tower["image_mean"] == pytest.approx([0.485, 0.456, 0.406])


@pytest.mark.parametrize(
    ("changes", "part"),
    [({"image_size": [64, 32]}, "64x32"), ({"vision_feature_layer": [1, 2]}, r"layer \[1, 2\]")],
)
def test_a_tower_of_another_kind_is_refused(folder, tmp_path, changes, part):
    changed = shutil.copytree(folder, tmp_path / "tiny")
    values = json.loads((changed / "config.json").read_text())
    for name, value in changes.items():
        (values["vision_config"] if name in values["vision_config"] else values)[name] = value
    (changed / "config.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match=part) as caught:
        describe_model(changed)
    assert "\n" not in str(caught.value)


def test_pooled_films_are_numbered_steps_with_a_block_each(model, tmp_path):
    path = tmp_path / "film.mp4"
    encode_mp4(
        np.random.default_rng(0).integers(0, 256, (9, 48, 64, 3), dtype=np.uint8), path, fps=4
    )
    session = Session.open([path], model, sampling=Sampling(num_frames=8))
    choice = PoolingChoice(weighting="average")
    assert session.token_count(choice) == 4 * 5 * 5
    visual = model.visual_tokens(
        session.grid.features[None], None, weighting="average", source=session.source
    )
    assert visual.block_sizes == (25, 25, 25, 25)
    ids = model.prompt_ids("what moves?", kind="video", blocks=4)
    text = model.words.tokenizer.decode([i for i in ids if i >= 0])
    assert text.startswith("<|im_start|>user\nFrame1: <img></img>\nFrame2: <img></img>\n")
    embedded = model.prompt_embeddings(visual.tokens, torch.tensor([ids]), visual.block_sizes)
    assert embedded.shape[1] == len(ids) - 4 + 100


@pytest.mark.parametrize(
    ("kind", "tile_counts", "blocks"),
    [
        ("image", (3,), (75,)),
        ("images", (2, 1), (50, 25)),
        ("images", (), (25, 25, 25)),
        ("frames", (), (25, 25, 25)),
    ],
)
def test_tiles_share_a_block_and_pictures_do_not(model, kind, tile_counts, blocks):
    source = still_source(kind, tile_counts)
    features = torch.randn(1, 3, GRID, GRID, 64)
    options = {"window": PICTURE_WINDOW, "weighting": "average", "source": source}
    assert model.visual_tokens(features, None, **options).block_sizes == blocks
    native = model.visual_tokens(features, None, weighting="native", source=source)
    assert [size * 25 for size in native.block_sizes] == [256 * size for size in blocks]


def test_tiles_are_not_merged_with_each_other(model):
    features = torch.randn(1, 3, GRID, GRID, 64)
    with pytest.raises(ShapeError, match="3 tiles became 1") as caught:
        model.visual_tokens(
            features, None, window=FILM_WINDOW, weighting="average",
            source=still_source("image", (3,)),
        )  # fmt: skip
    assert "\n" not in str(caught.value)


def still_source(kind, tile_counts):
    return ClipSource(
        paths=("a.png",), kind=kind, width=128, height=64, frame_count=1, fps=0.0,
        duration_seconds=0.0, start_seconds=0.0, stop_seconds=0.0, reader="pillow", indices=(0,),
        tile_counts=tile_counts,
    )  # fmt: skip
