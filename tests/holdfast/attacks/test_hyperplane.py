"""The way to a hyperplane within [0, 1]: against solvers that know nothing of our reasoning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyautoattack.fab_projections import projection_l2, projection_linf
from scipy.optimize import linprog, minimize

from holdfast.attacks.hyperplane import to_hyperplane

SHAPE = (1, 2, 3)
NORMS = ["linf", "l2"]


def length(change: np.ndarray, norm: str) -> np.ndarray:
    flat = change.reshape(len(change), -1)
    found: np.ndarray = np.abs(flat).max(1) if norm == "linf" else np.linalg.norm(flat, axis=1)
    return found


def along(slope: np.ndarray, change: np.ndarray) -> np.ndarray:
    found: np.ndarray = (slope.astype(np.float64) * change).sum((1, 2, 3))
    return found


def solve(image: np.ndarray, slope: np.ndarray, gap: float, norm: str) -> float:
    """The least norm, by a linear program in L∞ and by sequential quadratic programming in L2."""
    x, w = image.ravel().astype(float), slope.ravel().astype(float)
    bounds = list(zip(-x, 1 - x, strict=True))
    if norm == "linf":
        size = len(x)
        eye, one = np.eye(size), np.ones((size, 1))
        answer = linprog(
            [0] * size + [1],
            A_ub=np.block([[eye, -one], [-eye, -one]]),
            b_ub=np.zeros(2 * size),
            A_eq=[[*w, 0]],
            b_eq=[gap],
            bounds=[*bounds, (0, None)],
        )
        return float(answer.fun)
    answer = minimize(
        lambda d: d @ d,
        np.zeros(len(x)),
        jac=lambda d: 2 * d,
        bounds=bounds,
        constraints={"type": "eq", "fun": lambda d: w @ d - gap, "jac": lambda d: w},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    return float(np.sqrt(answer.fun))


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_shorter_reaches_the_hyperplane(norm: str) -> None:
    draw = np.random.default_rng(0)
    images = draw.random((40, *SHAPE), dtype=np.float32)
    images[::3] = images[::3].round()
    slopes = draw.normal(size=(40, *SHAPE)).astype(np.float32)
    slopes[::4, :, 0] = 0
    up = np.where(slopes > 0, 1 - images, -images)
    gaps = (along(slopes, up) * draw.uniform(0.02, 0.95, 40)).astype(np.float32)  # all within reach
    found = to_hyperplane(images, slopes, gaps, norm)
    np.testing.assert_allclose(along(slopes, found), gaps, atol=1e-5)
    least = [solve(*each, norm) for each in zip(images, slopes, gaps, strict=True)]
    np.testing.assert_allclose(length(found, norm), least, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@given(
    images=arrays(np.float32, (4, *SHAPE), elements=st.floats(0, 1, width=32)),
    slopes=arrays(np.float32, (4, *SHAPE), elements=st.floats(-100, 100, width=32)),
    gaps=arrays(np.float32, (4,), elements=st.floats(-100, 100, width=32)),
)
@settings(max_examples=150, deadline=None)
def test_the_result_is_in_the_range_and_as_near_to_the_hyperplane_as_any_image(
    norm: str, images: np.ndarray, slopes: np.ndarray, gaps: np.ndarray
) -> None:
    found = to_hyperplane(images, slopes, gaps, norm)
    assert found.dtype == np.float32
    assert (images + found).min() >= -1e-6
    assert (images + found).max() <= 1 + 1e-6
    helpful = slopes * np.sign(gaps)[:, None, None, None] > 0
    most = np.abs(along(slopes, np.where(helpful, 1 - images, -images)))
    wanted = np.sign(gaps) * np.minimum(np.abs(gaps), most)
    np.testing.assert_allclose(along(slopes, found), wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [(3, 4, 4), (3, 32, 32)])
def test_it_is_no_longer_than_what_the_authors_code_finds(norm: str, size: tuple[int, int, int]) -> None:
    draw = np.random.default_rng(1)
    images = draw.random((16, *size), dtype=np.float32)
    slopes = draw.standard_cauchy(size=(16, *size)).astype(np.float32)
    gaps = (draw.normal(size=16) * 10).astype(np.float32)
    found = to_hyperplane(images, slopes, gaps, norm)
    flat = [torch.from_numpy(array.reshape(16, -1)) for array in (images, slopes)]
    theirs = {"linf": projection_linf, "l2": projection_l2}[norm](
        *flat, torch.from_numpy(gaps + (slopes * images).sum((1, 2, 3)))
    )
    reference = theirs.numpy().reshape(found.shape)
    np.testing.assert_allclose(along(slopes, found), gaps, rtol=1e-4)
    assert (length(found, norm) <= length(reference, norm) * (1 + 1e-3) + 1e-6).all()


@pytest.mark.parametrize("norm", NORMS)
def test_torch_and_numpy_give_the_same(norm: str) -> None:
    draw = np.random.default_rng(2)
    images, slopes = draw.random((5, *SHAPE), dtype=np.float32), draw.random((5, *SHAPE), dtype=np.float32)
    gaps = draw.normal(size=5).astype(np.float32)
    torchs = to_hyperplane(*(torch.from_numpy(array) for array in (images, slopes, gaps)), norm)
    np.testing.assert_allclose(torchs.numpy(), to_hyperplane(images, slopes, gaps, norm), atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [0.0, 1e-25, 1e-12, 1e12, 1e36])
def test_slopes_of_any_size_are_worked_with(norm: str, scale: float) -> None:
    draw = np.random.default_rng(3)
    images = draw.random((5, *SHAPE), dtype=np.float32)
    slopes = draw.normal(size=(5, *SHAPE)).astype(np.float32)
    gaps = (draw.normal(size=5) * 0.1).astype(np.float32)
    usual = to_hyperplane(images, slopes, gaps, norm)
    scaled = to_hyperplane(images, slopes * np.float32(scale), gaps * np.float32(scale), norm)
    np.testing.assert_allclose(scaled, usual if scale else 0 * usual, atol=1e-4)
