"""The statistics of Table 5 on features whose cosines are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from holdfast.centers import max_mahalanobis_centres
from training.analysis import cosine_statistics

CENTRES = np.array([[2.0, 0.0], [0.0, 2.0]], dtype=np.float32)


def at(*degrees: float) -> np.ndarray:
    """Vectors of different lengths at these angles."""
    angles = np.radians(degrees)
    lengths = 1.0 + np.arange(len(degrees))[:, None]
    return (lengths * np.stack([np.cos(angles), np.sin(angles)], 1)).astype(np.float32)


def test_mean_and_deviation_are_within_each_class_and_then_averaged() -> None:
    # Class 0 at 0° and 60° from its centre: cosines 1 and 1/2. Class 1 thrice on its centre: cosines 1.
    features = at(0, 60, 90, 90, 90)
    found = cosine_statistics(features, np.array([0, 0, 1, 1, 1]), CENTRES)
    np.testing.assert_allclose(found.means, [0.75, 1.0], atol=1e-6)
    np.testing.assert_allclose(found.deviations, [0.25, 0.0], atol=1e-6)
    assert found.images.tolist() == [2, 3]
    assert found.mean == pytest.approx(0.875)
    assert found.deviation == pytest.approx(0.125)
    assert found.deviation_over_classes == pytest.approx(0.125)
    assert str(found) == "0.875±0.125"


def test_the_centre_is_that_of_the_class_that_is_predicted() -> None:
    features = at(30)
    assert cosine_statistics(features, np.array([0]), CENTRES).mean == pytest.approx(
        math.cos(math.radians(30))
    )
    assert cosine_statistics(features, np.array([1]), CENTRES).mean == pytest.approx(
        math.cos(math.radians(60))
    )


def test_a_class_that_no_image_is_predicted_to_be_of_takes_no_part() -> None:
    centres = max_mahalanobis_centres(10, 12).astype(np.float32)
    found = cosine_statistics(3 * centres[[4, 7, 7]], np.array([4, 7, 7]), centres)
    assert found.classes.tolist() == [4, 7]
    assert found.mean == pytest.approx(1.0)
    assert found.deviation == pytest.approx(0.0, abs=1e-6)
