"""Pictures of perturbations: what is grey, what is white, and what scale they say."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from holdfast.images import decode
from holdfast.manifest import InputSpec
from holdfast.pictures import perturbation_picture

GREY = np.full((3, 4, 4), 0.4, dtype=np.float32)


def changed(*changes: float) -> np.ndarray:
    """GREY with its first values changed."""
    image = GREY.copy()
    image.reshape(-1)[: len(changes)] += np.asarray(changes, dtype=np.float32)
    return image


def test_the_budget_fills_the_range_around_mid_grey() -> None:
    picture = perturbation_picture(GREY, changed(8 / 255, -8 / 255, 4 / 255), 8 / 255)
    assert picture.image.shape == GREY.shape
    assert picture.image.dtype == np.float32
    assert picture.image.reshape(-1)[:4] == pytest.approx([1.0, 0.0, 0.75, 0.5], abs=1e-5)
    assert picture.scale == pytest.approx(255 / 16)


def test_without_a_budget_the_largest_change_fills_the_range() -> None:
    picture = perturbation_picture(GREY, changed(0.1, -0.2))
    assert picture.image.reshape(-1)[:3] == pytest.approx([0.75, 0.0, 0.5], abs=1e-5)
    assert picture.scale == pytest.approx(2.5)


@pytest.mark.parametrize("extent", [None, 0.0, 0.1])
def test_an_image_that_was_not_changed_is_plain_grey(extent: float | None) -> None:
    assert (perturbation_picture(GREY, GREY, extent).image == 0.5).all()


@given(
    st.floats(0.001, 1.0), st.lists(st.floats(-1, 1, allow_subnormal=False, width=32), min_size=1, max_size=8)
)
def test_the_perturbation_can_be_read_back_from_the_picture(extent: float, shares: list[float]) -> None:
    perturbed = changed(*(extent * share for share in shares))
    picture = perturbation_picture(GREY, perturbed, extent)
    assert (picture.image - 0.5) / picture.scale == pytest.approx(perturbed - GREY, abs=extent * 1e-4 + 1e-6)


def test_its_png_says_the_scale_and_is_an_image_like_any_other() -> None:
    picture = perturbation_picture(GREY, changed(8 / 255), 8 / 255)
    data = picture.png()
    with Image.open(BytesIO(data)) as opened:
        assert opened.info["Description"] == (
            "Perturbation, 15.9375 times larger than life; mid-grey is no change."
        )
    pixels = decode(data, InputSpec(channels=3, height=4, width=4))
    assert pixels == pytest.approx(picture.image, abs=0.5 / 255 + 1e-6)


def test_images_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        perturbation_picture(GREY, GREY[:1])
    with pytest.raises(ValueError, match="extent"):
        perturbation_picture(GREY, GREY, -0.1)
