"""Pictures brought to a tower's size, held against the authors' processors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pplava_core.media import resize_picture
from pplava_core.types import PixelRule

CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
CLIP_DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711])


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    return dict(np.load(Path(__file__).parent / "data" / "preprocess.npz"))


def from_reference(scaled: np.ndarray) -> np.ndarray:
    """Undo the reference's scaling: ``(3, H, W)`` to ``(H, W, 3)`` of 0 to 255."""
    return (scaled.transpose(1, 2, 0) * CLIP_DEVIATION + CLIP_MEAN) * 255


@pytest.mark.parametrize("name", ["wide", "tall"])
def test_squashing_equals_the_reference(reference, name):
    squashed = resize_picture(reference[name], PixelRule(height=56, width=56))
    np.testing.assert_allclose(
        squashed, from_reference(reference[f"{name}_squashed"]), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize(
    ("name", "resize"), [("tall", "pad"), ("tall", "pad_short"), ("odd", "pad_short")]
)
def test_padding_equals_the_reference(reference, name, resize):
    """The padding of one is odd: there the reference stretches by a pixel."""
    rule = PixelRule(height=384, width=384, resize=resize)
    padded = resize_picture(reference[name], rule)[::7, ::7]
    np.testing.assert_allclose(
        padded, from_reference(reference[f"{name}_padded_every_7th"]), atol=1e-3, rtol=0
    )


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    rule_height=st.integers(1, 50),
    rule_width=st.integers(1, 50),
    resize=st.sampled_from(["squash", "pad"]),
)
def test_every_picture_comes_to_the_size_asked_for(height, width, rule_height, rule_width, resize):
    picture = np.full((height, width, 3), 200, dtype=np.uint8)
    rule = PixelRule(height=rule_height, width=rule_width, resize=resize)
    resized = resize_picture(picture, rule)
    assert resized.shape == (rule_height, rule_width, 3)
    assert resized.dtype == np.uint8
    rows, columns = np.nonzero(resized[..., 0])
    assert (resized[rows, columns] == 200).all()
    if resize == "squash":
        assert len(rows) == rule_height * rule_width
    else:
        shown_height, shown_width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert shown_height == rule_height or shown_width == rule_width
        assert abs(2 * rows.min() + shown_height - rule_height) <= 1
        assert abs(2 * columns.min() + shown_width - rule_width) <= 1


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 50), st.integers(1, 50))
def test_short_padding_differs_from_padding_by_an_odd_pixel_only(
    height, width, rule_height, rule_width
):
    picture = np.full((height, width, 3), 200, dtype=np.uint8)
    padded, short = (
        resize_picture(picture, PixelRule(height=rule_height, width=rule_width, resize=resize))
        for resize in ("pad", "pad_short")
    )
    assert short.shape == padded.shape
    rows, columns = np.nonzero(padded[..., 0])
    shown = np.ptp(rows) + 1, np.ptp(columns) + 1
    if not ((rule_height - shown[0]) % 2 or (rule_width - shown[1]) % 2):
        assert np.array_equal(short, padded)


def test_a_picture_that_fits_is_left_alone():
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert resize_picture(picture, PixelRule(height=4, width=6)) is picture
    assert resize_picture(picture, PixelRule(height=4, width=6, resize="pad")) is picture
