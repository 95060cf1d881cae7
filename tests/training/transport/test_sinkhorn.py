"""Sinkhorn's algorithm against POT, against finite differences and by hand."""

from __future__ import annotations

import math

import numpy as np
import ot
import pytest
import torch
from torch import Tensor

from training.transport import cosine_cost, sinkhorn


def random_cost(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def cost_of_logits(images: int, classes: int = 10, seed: int = 0) -> Tensor:
    """Of clean logits that cluster by class, and the same a little moved."""
    generator = torch.Generator().manual_seed(seed)
    centres = 3 * torch.eye(classes)[torch.arange(images) % classes]
    clean = centres + torch.randn(images, classes, generator=generator)
    return cosine_cost(clean, clean + 0.3 * torch.randn(images, classes, generator=generator))


@pytest.mark.parametrize("regularisation", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(60, 60), (7, 12)])
def test_a_converged_plan_is_pots_plan(regularisation: float, shape: tuple[int, int]) -> None:
    cost = random_cost(*shape)
    n, m = shape
    expected = ot.sinkhorn(
        np.full(n, 1 / n),
        np.full(m, 1 / m),
        cost.numpy(),
        regularisation,
        "sinkhorn_log",
        numItermax=20_000,
        stopThr=1e-12,
    )
    plan = sinkhorn(cost, regularisation=regularisation, iterations=5000)
    np.testing.assert_allclose(plan.numpy(), expected, atol=1e-6)
    # In the precision that networks are trained in the distance is still POT's.
    single = sinkhorn(cost.float(), regularisation=regularisation, iterations=5000)
    assert float((single * cost).sum()) == pytest.approx(float((expected * cost.numpy()).sum()), abs=1e-4)


def test_a_converged_plan_meets_both_marginals() -> None:
    plan = sinkhorn(random_cost(3, 60, 60), regularisation=0.01, iterations=5000)
    torch.testing.assert_close(plan.sum(-1), torch.full((3, 60), 1 / 60, dtype=torch.float64))
    torch.testing.assert_close(plan.sum(-2), torch.full((3, 60), 1 / 60, dtype=torch.float64))


def test_after_few_iterations_the_columns_are_met_and_the_total_is_one() -> None:
    plan = sinkhorn(random_cost(3, 60, 60), regularisation=0.01, iterations=3)
    torch.testing.assert_close(plan.sum(-2), torch.full((3, 60), 1 / 60, dtype=torch.float64))
    torch.testing.assert_close(plan.sum((-1, -2)), torch.ones(3, dtype=torch.float64))


def test_the_distance_is_bounded_below_by_the_exact_one() -> None:
    cost = random_cost(40, 40)
    weights = np.full(40, 1 / 40)
    plan = sinkhorn(cost, regularisation=0.01, iterations=5000)
    exact = ot.emd2(weights, weights, cost.numpy())
    assert exact <= float((plan * cost).sum()) <= exact + 0.01 * np.log(40 * 40)


def test_the_gradient_through_the_iterations_is_that_of_finite_differences() -> None:
    def distance(cost: Tensor) -> Tensor:
        return (sinkhorn(cost, regularisation=0.2, iterations=3) * cost).sum()

    assert torch.autograd.gradcheck(distance, random_cost(4, 5).requires_grad_())


def stopped(cost: Tensor, regularisation: float, tolerance: float) -> tuple[Tensor, int]:
    """One problem in the kernel domain, by a loop that stops; the plan, and the iterations it took."""
    n, m = cost.shape
    kernel = torch.exp(-cost / regularisation)
    u, before = cost.new_zeros(n, 1), cost.new_zeros(n, 1)
    v = cost.new_ones(m, 1)
    for iteration in range(1, 1000):
        u = 1 / n / (kernel @ v)
        v = 1 / m / (kernel.T @ u)
        potential = regularisation * u.log()
        if (potential - before).abs().sum() < tolerance:
            return u * kernel * v.T, iteration
        before = potential
    raise AssertionError("it does not settle")


@pytest.mark.parametrize("tolerance", [0.1, 1e-4])
def test_with_a_tolerance_each_problem_is_left_where_it_settles(tolerance: float) -> None:
    costs = torch.stack([scale * random_cost(12, 12, seed=seed) for seed, scale in enumerate((0.01, 0.3, 1))])
    plans = sinkhorn(costs, regularisation=0.05, iterations=400, tolerance=tolerance)
    alone = [stopped(cost, 0.05, tolerance) for cost in costs]
    torch.testing.assert_close(plans, torch.stack([plan for plan, _ in alone]))
    assert len({iterations for _, iterations in alone}) > 1, "they should settle at different times"


def test_the_gradient_with_a_tolerance_is_that_of_stopping() -> None:
    cost = random_cost(12, 12).requires_grad_()
    _, iterations = stopped(cost.detach(), 0.05, 0.1)
    assert 1 < iterations < 50
    (early,) = torch.autograd.grad(
        (sinkhorn(cost, regularisation=0.05, iterations=50, tolerance=0.1) * cost).sum(), cost
    )
    (fixed,) = torch.autograd.grad(
        (sinkhorn(cost, regularisation=0.05, iterations=iterations) * cost).sum(), cost
    )
    torch.testing.assert_close(early, fixed)


@pytest.mark.parametrize("images", [60, 128])
@pytest.mark.parametrize("seed", range(3))
def test_the_authors_tolerance_stops_after_two_or_three_iterations(images: int, seed: int) -> None:
    cost = cost_of_logits(images, seed=seed).double()
    early = sinkhorn(cost, regularisation=0.01, iterations=100, tolerance=0.1)
    fixed = [sinkhorn(cost, regularisation=0.01, iterations=iterations) for iterations in (2, 3)]
    assert any(torch.allclose(early, plan, rtol=1e-9, atol=0) for plan in fixed)


def test_more_iterations_than_the_tolerance_allows_are_not_taken() -> None:
    cost = random_cost(20, 20)
    capped = sinkhorn(cost, regularisation=0.01, iterations=2, tolerance=1e-9)
    torch.testing.assert_close(capped, sinkhorn(cost, regularisation=0.01, iterations=2))


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e-3, 1.0, 1e2, 1e4])
@pytest.mark.parametrize("size", [1, 2, 3, 60, 61, 128, 200])
@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_no_size_or_scale_of_cost_gives_nan(tolerance: float, size: int, scale: float) -> None:
    cost = (random_cost(size, size).float() * scale).requires_grad_()
    plan = sinkhorn(cost, regularisation=0.01, iterations=5, tolerance=tolerance)
    (gradient,) = torch.autograd.grad((plan * cost).sum(), cost)
    assert torch.isfinite(plan).all()
    assert torch.isfinite(gradient).all()
    # At 1e4 the potentials are some 1e6, of which float32 keeps a tenth.
    assert math.isclose(float(plan.detach().sum()), 1, rel_tol=0.2 if scale == 1e4 else 1e-2)
