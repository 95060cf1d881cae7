"""Class centres: as far apart as is known to be possible, and cosines that are numbers everywhere."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdfast.centers import SHORTEST, cosine_logits, cosine_similarity, max_mahalanobis_centres, unit
from holdfast.errors import UsageError


def cosines(centres: np.ndarray) -> np.ndarray:
    """The cosine of every two different centres."""
    units = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    return (units @ units.T)[~np.eye(len(centres), dtype=bool)]


@given(classes=st.integers(2, 40), spare=st.integers(0, 30), norm=st.floats(0.1, 100))
def test_with_enough_dimensions_every_two_centres_have_the_cosine_of_a_simplex(
    classes: int, spare: int, norm: float
) -> None:
    centres = max_mahalanobis_centres(classes, classes - 1 + spare, norm=norm)
    np.testing.assert_allclose(cosines(centres), -1 / (classes - 1), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), norm)
    np.testing.assert_allclose(centres.sum(0), 0, atol=1e-10 * norm)


def test_the_centres_are_those_of_the_published_recursion() -> None:
    """The first four of ten in 256 dimensions, by hand from Algorithm 1 of Pang et al. 2018."""
    centres = max_mahalanobis_centres(10, 256)
    second = math.sqrt(1 - 1 / 81)
    below = (-1 / 9 - 1 / 81) / second
    expected = np.zeros((3, 256))
    expected[0, 0] = 1
    expected[1, :2] = -1 / 9, second
    expected[2, :3] = -1 / 9, below, math.sqrt(1 - 1 / 81 - below**2)
    np.testing.assert_allclose(centres[:3], expected, atol=1e-12)


# The largest cosine of the best arrangements that are known; those in three dimensions up to 14 are proved.
# With L <= 2d it is 0 (Rankin 1955), in the plane a regular polygon's, then Tammes' problem.
_OPTIMA = [
    (4, 2, 0.0),
    (5, 2, math.cos(2 * math.pi / 5)),
    (10, 2, math.cos(2 * math.pi / 10)),
    (5, 3, 0.0),
    (6, 3, 0.0),  # octahedron
    (8, 3, (2 * math.sqrt(2) - 1) / 7),  # square antiprism
    (9, 3, 1 / 3),
    (12, 3, 1 / math.sqrt(5)),  # icosahedron
    (10, 4, 1 / 6),
    (20, 10, 0.0),
    (100, 64, 0.0),
]


@pytest.mark.parametrize(("classes", "dimensions", "optimum"), _OPTIMA)
def test_with_too_few_dimensions_the_centres_are_as_far_apart_as_is_known(
    classes: int, dimensions: int, optimum: float
) -> None:
    centres = max_mahalanobis_centres(classes, dimensions)
    assert centres.shape == (classes, dimensions)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1)
    assert cosines(centres).max() == pytest.approx(optimum, abs=2e-5)


def test_a_search_is_a_function_of_its_seed() -> None:
    first, again = (max_mahalanobis_centres(8, 3, seed=3) for _ in range(2))
    assert (first == again).all()
    assert not np.allclose(first, max_mahalanobis_centres(8, 3, seed=4))


@pytest.mark.parametrize(("classes", "dimensions"), [(1, 4), (3, 1), (3, 0)])
def test_what_has_no_centres_is_refused(classes: int, dimensions: int) -> None:
    with pytest.raises(UsageError):
        max_mahalanobis_centres(classes, dimensions)


def test_cosine_logits_are_the_cosines_of_the_angles() -> None:
    turns = np.array([0.0, 0.3, 2.0])
    features = np.stack([np.cos(turns), np.sin(turns)], 1) * np.array([[1.0], [50.0], [0.01]])
    centres = max_mahalanobis_centres(3, 2, norm=7)
    angles = np.arctan2(centres[:, 1], centres[:, 0])
    expected = np.cos(turns[:, None] - angles)
    np.testing.assert_allclose(cosine_similarity(features, centres), expected, atol=1e-12)
    np.testing.assert_allclose(cosine_logits(features, centres, 5.0), 5 * expected, atol=1e-12)


def test_torch_and_numpy_have_the_same_cosines() -> None:
    random = np.random.default_rng(0)
    features, centres = random.standard_normal((5, 12)), max_mahalanobis_centres(10, 12)
    found = cosine_logits(torch.from_numpy(features), torch.from_numpy(centres), 3.0)
    np.testing.assert_allclose(found.numpy(), cosine_logits(features, centres, 3.0))


def test_a_vector_of_zeros_points_nowhere_and_has_finite_derivatives() -> None:
    features = torch.zeros(2, 4, requires_grad=True)
    similarity = cosine_similarity(features, torch.eye(4))
    assert (similarity == 0).all()
    (gradient,) = torch.autograd.grad(similarity.sum(), features)
    assert torch.isfinite(gradient).all()
    short = torch.tensor([[0.0, SHORTEST / 2]])
    torch.testing.assert_close(unit(short), torch.tensor([[0.0, 0.5]]))


def test_the_centres_need_no_torch() -> None:
    program = """
import sys
sys.modules["torch"] = None
from holdfast.centers import cosine_logits, max_mahalanobis_centres
centres = max_mahalanobis_centres(10, 16)
assert (cosine_logits(3 * centres, centres).argmax(1) == range(10)).all()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
