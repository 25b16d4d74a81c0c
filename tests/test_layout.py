"""What the tower's heads are taught to read off a patch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pplava_core.shapes.drawing import draw_scene
from pplava_core.shapes.film import film_for_training
from pplava_core.shapes.scene import COLOURS, KINDS
from pplava_core.train.layout import counts_told, lay_out, layout_loss, share_out


def test_a_middle_is_shared_out_whole_and_without_jumps():
    rng = np.random.default_rng(0)
    for down, across in rng.uniform(0, 12, (200, 2)):
        density = np.zeros((12, 12), np.float32)
        share_out(density, down, across)
        assert density.sum() == pytest.approx(1.0, abs=1e-5)
        moved = np.zeros((12, 12), np.float32)
        share_out(moved, min(down + 1e-3, 11.999), across)
        assert np.abs(moved - density).max() < 2e-3
    outside = np.zeros((12, 12), np.float32)
    share_out(outside, -0.1, 3.0)
    assert not outside.any()


def laid_out(number, moments=(0.2, 0.5)):
    scene = draw_scene(number)
    _, coverage = film_for_training(
        scene,
        list(moments),
        np.random.default_rng(number),
        size=96,
        grid=(12, 12),
        codec_share=0.0,
    )
    return scene, coverage, lay_out(scene, coverage, moments)


def test_the_density_adds_up_to_what_is_there():
    seen = 0
    for number in range(30):
        scene, _, layout = laid_out(number)
        for frame, moment in enumerate((0.2, 0.5)):
            within = [
                thing
                for thing in scene.things
                if thing.visible(moment) and all(0 <= x < 1 for x in scene.place(thing, moment))
            ]
            colours = [sum(thing.colour == colour for thing in within) for colour in COLOURS]
            kinds = [sum(thing.kind == kind for thing in within) for kind in KINDS]
            told = counts_told(torch.from_numpy(layout)[None])[0, frame]
            assert told.tolist() == pytest.approx([len(within), *colours, *kinds], abs=1e-4)
            seen = max(seen, len(within))
    assert seen >= 5


def test_the_layout_is_learned_where_it_is_right_and_missed_where_it_is_not():
    _, coverage, layout = laid_out(3)
    true = torch.from_numpy(layout)[None]
    labels = torch.from_numpy(coverage.max(0) >= 0.3)[None].long() - 1
    assert layout_loss(true, true, labels) == 0
    fewer = true.clone()
    fewer[..., 3] *= 0.5
    assert layout_loss(fewer, true, labels) > 0.1
    elsewhere = true.clone()
    elsewhere[..., 1] += 1.0
    assert layout_loss(elsewhere, true, labels) > 0.1
    recoloured = true.clone()
    recoloured[..., 4 : 4 + len(COLOURS)] = recoloured[..., 4 : 4 + len(COLOURS)].roll(1, -1)
    assert layout_loss(recoloured, true, labels) > 0.1
