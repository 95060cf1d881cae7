"""Sinkhorn and the cosine cost against POT and by hand."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch

from training.transport import cosine_cost, group_sizes, sinkhorn


@pytest.mark.parametrize("regularisation", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(60, 60), (7, 12)])
def test_a_converged_plan_is_pots_plan(regularisation: float, shape: tuple[int, int]) -> None:
    cost = np.random.default_rng(0).random(shape)
    n, m = shape
    expected = ot.sinkhorn(
        np.full(n, 1 / n),
        np.full(m, 1 / m),
        cost,
        regularisation,
        "sinkhorn_log",
        numItermax=20_000,
        stopThr=1e-12,
    )
    plan = sinkhorn(torch.from_numpy(cost), regularisation=regularisation, iterations=5000)
    np.testing.assert_allclose(plan.numpy(), expected, atol=1e-6)


def test_after_few_iterations_the_columns_are_met_and_the_total_is_one() -> None:
    plan = sinkhorn(torch.rand(3, 60, 60, dtype=torch.float64), regularisation=0.01, iterations=3)
    torch.testing.assert_close(plan.sum(-2), torch.full((3, 60), 1 / 60, dtype=torch.float64))
    torch.testing.assert_close(plan.sum((-1, -2)), torch.ones(3, dtype=torch.float64))


def test_the_distance_is_bounded_below_by_the_exact_one() -> None:
    cost = torch.rand(40, 40, dtype=torch.float64)
    weights = np.full(40, 1 / 40)
    plan = sinkhorn(cost, regularisation=0.01, iterations=5000)
    exact = ot.emd2(weights, weights, cost.numpy())
    assert exact <= float((plan * cost).sum()) <= exact + 0.01 * np.log(40 * 40)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e3])
@pytest.mark.parametrize("size", [1, 2, 61])
def test_no_size_or_scale_of_cost_gives_nan(scale: float, size: int) -> None:
    cost = (torch.rand(size, size) * scale).requires_grad_()
    plan = sinkhorn(cost, regularisation=0.01, iterations=3)
    (gradient,) = torch.autograd.grad((plan * cost).sum(), cost)
    assert torch.isfinite(plan).all()
    assert torch.isfinite(gradient).all()


def test_cosine_cost_is_one_minus_the_cosine_and_never_negative() -> None:
    first, second = torch.randn(5, 10), torch.randn(6, 10)
    expected = 1 - torch.nn.functional.cosine_similarity(first[:, None], second[None], dim=-1)
    torch.testing.assert_close(cosine_cost(first, second), expected)
    assert (cosine_cost(first, first) >= 0).all()


def test_zero_features_have_a_finite_cost_and_gradient() -> None:
    features = torch.zeros(4, 10, requires_grad=True)
    cost = cosine_cost(torch.randn(4, 10), features)
    (gradient,) = torch.autograd.grad(cost.sum(), features)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("images", "sizes"), [(60, [60]), (120, [60, 60]), (128, [43, 43, 42]), (5, [5])])
def test_groups_are_even_and_never_above_the_largest(images: int, sizes: list[int]) -> None:
    assert group_sizes(images, 60) == sizes
