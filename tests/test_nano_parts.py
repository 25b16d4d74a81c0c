"""What nano's tokens are told beside what pooling leaves: magnitude, time, and what "it" is."""

from __future__ import annotations

import pytest
import torch
from small_models import small_model

from pplava_core import pooling
from pplava_core.errors import ModelError, RecipeError
from pplava_core.models.backbones import nano
from pplava_core.models.backbones.nano import NanoParts
from pplava_core.models.backbones.nano_tokens import Clock, Magnitude
from pplava_core.session import _grown
from pplava_core.train import rebuilt
from pplava_core.types import ClipSource
from pplava_core.window import Window

WINDOW = Window((2, 3, 3))


def test_magnitudes_of_an_even_map_are_one_everywhere():
    even = torch.full((2, 4, 6, 9), 1 / (4 * 6 * 9))
    magnitudes = pooling.window_magnitudes(even, window=WINDOW)
    assert magnitudes.shape == (2, 2, 2, 3)
    torch.testing.assert_close(magnitudes, torch.ones_like(magnitudes))


def test_magnitudes_are_what_the_windows_have_of_the_whole():
    relevance = torch.rand(1, 4, 6, 6).flatten(1).softmax(-1).view(1, 4, 6, 6)
    magnitudes = pooling.window_magnitudes(relevance, window=WINDOW)
    assert magnitudes.sum() == pytest.approx(magnitudes.numel(), rel=1e-5)
    first = relevance[0, :2, :3, :3].sum() * 8
    assert magnitudes[0, 0, 0, 0] == pytest.approx(float(first), rel=1e-5)


def test_padding_has_no_magnitude():
    relevance = torch.full((1, 4, 6, 6), 1 / 72.0)
    mask = torch.ones(1, 4, 6, 6, dtype=torch.bool)
    mask[:, 2:] = False
    magnitudes = pooling.window_magnitudes(relevance, window=WINDOW, mask=mask)
    assert (magnitudes[:, 1] == 0).all()
    torch.testing.assert_close(magnitudes[:, 0], torch.ones(1, 2, 2))


def test_what_the_text_does_not_care_about_fades():
    torch.manual_seed(0)
    magnitude, tokens = Magnitude(16), torch.randn(1, 16)
    with torch.no_grad():
        magnitude.term.weight.zero_()
        faint, usual, strong = (
            magnitude(tokens, torch.tensor([value])).norm() / tokens.norm()
            for value in (0.01, 1.0, 20.0)
        )
    assert faint < 0.1
    assert usual == pytest.approx(1.0, abs=0.01)
    assert strong > 1.5


def test_nothing_and_everything_are_numbers():
    out = Magnitude(8)(torch.ones(3, 8), torch.tensor([0.0, 1.0, 1e4]))
    assert out.isfinite().all()


def test_the_clock_tells_steps_and_films_apart_and_stands_after_the_longest():
    clock = Clock(12)
    short, long = clock(4, torch.tensor([4.0, 8.0]))
    assert short.shape == (4, 12)
    assert not torch.allclose(short, long)
    assert not torch.allclose(short[0], short[1])
    ends = clock(8, torch.tensor([600.0, 6000.0]))
    assert ends.abs().max() < 10 * clock(8, torch.tensor([40.0])).abs().max()


def source(kind, stop):
    return ClipSource(
        paths=("a",), kind=kind, width=8, height=8, frame_count=4, fps=4.0, duration_seconds=stop,
        start_seconds=0.0, stop_seconds=stop, reader="pyav", indices=(0, 1, 2, 3),
    )  # fmt: skip


def test_only_films_have_a_clock():
    parts = small_model().parts
    tokens = torch.zeros(1, 8, 16)
    for kind, stop in (("images", 0.0), ("frames", 0.0), ("image", 0.0), ("video", 0.0)):
        assert not parts.arrange(tokens, (2, 2, 2), source(kind, stop)).tokens.any()
    assert not parts.arrange(tokens, (2, 2, 2), None).tokens.any()
    timed = parts.arrange(tokens, (2, 2, 2), source("video", 6.0)).tokens[0]
    assert torch.equal(timed[0], timed[3])
    assert not torch.allclose(timed[0], timed[4])


def test_a_guide_remembers_the_questions_before():
    assert NanoParts.guide("and it?", ["a?", "b?"]) == "a? b? and it?"
    assert NanoParts.guide("f?", list("abcde")) == "b c d e f?"
    assert NanoParts.guide("alone?", []) == "alone?"


@pytest.mark.parametrize("frames", [16, 32, 48, 608, 23, 61])
def test_windows_grow_in_time_so_that_no_film_leaves_more_steps(frames):
    window = _grown(WINDOW, (frames, 12, 12), 8)
    assert window.output_size((frames, 12, 12)) == (8, 4, 4)
    last = (8 - 1) * window.step[0] + window.kernel[0]
    assert last == frames
    if frames % 8 == 0:
        assert window.kernel == window.step


def test_windows_stay_where_there_is_no_limit_or_no_need():
    assert _grown(WINDOW, (64, 12, 12), None) == WINDOW
    assert _grown(WINDOW, (8, 12, 12), 8) == WINDOW


def test_magnitudes_are_for_projectors_that_take_them():
    model = small_model(tells_magnitude=True)
    assert model.parts.magnitude is not None
    features, even = torch.randn(1, 4, 6, 6, 16), torch.full((1, 4, 6, 6), 1 / 144)
    tokens = model.visual_tokens(features, even).tokens
    sharp = torch.zeros(1, 4, 6, 6)
    sharp[0, 0, 0, 0] = 1.0
    assert not torch.allclose(tokens, model.visual_tokens(features, sharp).tokens)
    plain = model.visual_tokens(features, None, weighting="average").tokens
    assert plain.shape == tokens.shape


@pytest.mark.parametrize(
    ("setting", "taken"),
    [
        ("tells_magnitude", "takes_magnitudes"),
        ("tells_average", "takes_averages"),
        ("tells_count", "takes_counts"),
        ("tells_list", "takes_lists"),
    ],
)
def test_what_is_told_is_for_projectors_that_take_it(monkeypatch, setting, taken):
    monkeypatch.delattr(NanoParts, taken)
    with pytest.raises(ModelError, match=f"{setting} is for models whose projector takes"):
        small_model(**{"tells_average": True, "tells_count": taken == "takes_lists", setting: True})


def test_what_a_long_films_patches_hold_is_read_in_parts(monkeypatch):
    model = small_model(tells_average=True, tells_count=True, tells_list=True)
    torch.nn.init.normal_(model.parts.things.read[-1].weight)
    features = torch.randn(2, 7, 3, 3, 16)
    whole = model.parts.read_things(features)
    monkeypatch.setattr(nano, "FRAMES_READ_TOGETHER", 3)
    lengths = []
    model.parts.things.register_forward_pre_hook(
        lambda _, inputs: lengths.append(len(inputs[0][0]))
    )
    torch.testing.assert_close(model.parts.read_things(features), whole)
    assert lengths == [3, 3, 1]
    assert whole.std() > 0
    assert model.parts.read_things(features.half()).dtype == torch.float32


def test_the_average_beside_what_is_pooled_is_nothing_at_first():
    torch.manual_seed(3)
    features, relevance = torch.randn(1, 4, 6, 6, 16), torch.rand(1, 4, 6, 6)
    relevance = relevance / relevance.sum()
    plain, told = small_model(), small_model(tells_average=True)
    told.load_state_dict({**told.state_dict(), **plain.state_dict()})
    tokens = plain.visual_tokens(features, relevance).tokens
    assert torch.equal(told.visual_tokens(features, relevance).tokens, tokens)
    torch.nn.init.eye_(told.parts.average.linear.weight)
    assert not torch.allclose(told.visual_tokens(features, relevance).tokens, tokens)


def test_the_average_tells_what_weights_forget():
    """Two films whose guided averages are alike, of which one holds twice as much."""
    model = small_model(tells_average=True, weighting="window", window={"kernel": (1, 2, 2)})
    torch.nn.init.eye_(model.parts.average.linear.weight)
    one, two = torch.zeros(2, 1, 2, 2, 16)
    one[0, 0, 0] = two[0, 0, 0] = two[0, 1, 1] = 1.0
    grids = [(film[None], film[None, ..., 0] / film[..., 0].sum()) for film in (one, two)]
    pooled = [pooling.pool(*grid, window=model.config.window, weighting="window") for grid in grids]
    torch.testing.assert_close(*pooled)
    tokens = [model.visual_tokens(*grid).tokens for grid in grids]
    assert not torch.allclose(*tokens)


def test_a_tower_that_folds_pixels_sees_their_mean_as_the_other_saw_a_pixel():
    old = small_model()
    sharper = {
        "pixels": {"height": 96, "width": 96, "resize": "squash"},
        "tower": {"fold": 2},
    }
    new = rebuilt(old, sharper, seed=1, keep_learned=True)
    assert new.parts.tower.stem[0].weight.shape[1] == 12
    pictures = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    twice = pictures.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    known, seen = old.parts.tower(pictures), new.parts.tower(twice)
    torch.testing.assert_close(seen, known, rtol=1e-4, atol=1e-5)
    # What one of the four pixels is can now be told apart.
    new.parts.tower.stem[0].weight.data[:, ::4] *= 2
    assert not torch.allclose(new.parts.tower(twice), known, atol=1e-3)


@pytest.mark.parametrize("side", [47, 96])
def test_pictures_of_another_size_than_the_towers_are_refused(side):
    with pytest.raises(ModelError, match=f"sees 48×48 pixels, not pixels of height {side}"):
        small_model(pixels={"height": side, "width": side, "resize": "squash"})


def test_a_tower_that_folds_pixels_cannot_go_back_or_fold_more():
    sharper = {"pixels": {"height": 96, "width": 96, "resize": "squash"}, "tower": {"fold": 2}}
    model = rebuilt(small_model(), sharper, seed=1, keep_learned=True)
    for fold in (1, 4):
        side = 48 * fold
        pixels = {"height": side, "width": side, "resize": "squash"}
        with pytest.raises(RecipeError, match=r"no place for parts\.tower\.stem"):
            rebuilt(model, {"pixels": pixels, "tower": {"fold": fold}}, seed=1, keep_learned=True)


@pytest.mark.parametrize("fold", [0, -1, 1.5, "2"])
def test_a_fold_that_is_none_is_refused(fold):
    with pytest.raises(ModelError, match=r"tower\.fold is .*; it must be a whole number from 1 on"):
        small_model(tower={"fold": fold})
