"""IPOT against a plain reading of its algorithm, POT's solvers, and all permutations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import ot
import pytest
import torch
from torch import Tensor

from training.transport import ipot, sinkhorn

Array = npt.NDArray[np.float64]


def random_cost(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def algorithm_1(cost: Array, beta: float, outer: int, inner: int) -> Array:
    """Xie et al., Algorithm 1, in the kernel domain as it is printed."""
    n, m = cost.shape
    b, kernel, plan = np.full(m, 1 / m), np.exp(-cost / beta), np.ones((n, m))
    a = np.zeros(n)
    for _ in range(outer):
        q = kernel * plan
        for _ in range(inner):
            a = 1 / n / (q @ b)
            b = 1 / m / (q.T @ a)
        plan = a[:, None] * q * b[None]
    return plan


@pytest.mark.parametrize("shape", [(60, 60), (7, 12)])
@pytest.mark.parametrize(("beta", "outer", "inner"), [(1.0, 50, 1), (0.5, 10, 3), (0.1, 20, 1)])
def test_it_is_the_papers_algorithm(shape: tuple[int, int], beta: float, outer: int, inner: int) -> None:
    cost = random_cost(*shape)
    expected = algorithm_1(cost.numpy(), beta, outer, inner)
    plan = ipot(cost, beta=beta, outer=outer, inner=inner)
    np.testing.assert_allclose(plan.numpy(), expected, atol=1e-12)
    single = ipot(cost.float(), beta=beta, outer=outer, inner=inner)
    assert float((single * cost).sum()) == pytest.approx(float((expected * cost.numpy()).sum()), abs=1e-4)


def test_each_step_is_the_proximal_point_that_pot_finds() -> None:
    cost, beta, uniform = random_cost(10, 10).numpy(), 0.3, np.full(10, 1 / 10)
    plan = np.full((10, 10), 1 / 100)
    for _ in range(4):
        # <T, C> + β KL(T, T_k) = <T, C − β log T_k> + β Σ T log T, an entropic problem.
        plan = ot.sinkhorn(
            uniform,
            uniform,
            cost - beta * np.log(plan),
            beta,
            "sinkhorn_log",
            numItermax=20_000,
            stopThr=1e-13,
        )
    ours = ipot(torch.from_numpy(cost), beta=beta, outer=4, inner=500)
    np.testing.assert_allclose(ours.numpy(), plan, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_it_goes_on_to_the_exact_distance_where_sinkhorn_stays_above(seed: int) -> None:
    cost, uniform = random_cost(30, 30, seed=seed), np.full(30, 1 / 30)
    exact = ot.emd2(uniform, uniform, cost.numpy())
    plan = ipot(cost, beta=0.1, outer=2000)
    assert float((plan * cost).sum()) == pytest.approx(exact, abs=1e-4)
    entropic = sinkhorn(cost, regularisation=0.1, iterations=2000)
    assert float((entropic * cost).sum()) > exact + 1e-2


def test_its_plan_of_a_few_points_is_the_best_permutation() -> None:
    cost = random_cost(5, 5)
    best = min(itertools.permutations(range(5)), key=lambda order: float(cost[range(5), list(order)].sum()))
    plan = ipot(cost, beta=0.05, outer=500)
    expected = torch.zeros(5, 5, dtype=torch.float64)
    expected[range(5), list(best)] = 1 / 5
    torch.testing.assert_close(plan, expected, atol=1e-4, rtol=0)


def test_its_plan_meets_both_marginals() -> None:
    plan = ipot(random_cost(3, 60, 60), beta=1.0, outer=50)
    uniform = torch.full((3, 60), 1 / 60, dtype=torch.float64)
    torch.testing.assert_close(plan.sum(-2), uniform)
    torch.testing.assert_close(plan.sum(-1), uniform, rtol=1e-2, atol=0)
    converged = ipot(random_cost(3, 60, 60), beta=1.0, outer=50, inner=200)
    torch.testing.assert_close(converged.sum(-1), uniform, rtol=1e-4, atol=0)


def test_its_gradient_is_that_of_finite_differences() -> None:
    def distance(cost: Tensor) -> Tensor:
        return (ipot(cost, beta=0.5, outer=4, inner=2) * cost).sum()

    assert torch.autograd.gradcheck(distance, random_cost(4, 5).requires_grad_())


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e-3, 1.0, 1e2, 1e4])
@pytest.mark.parametrize("size", [1, 2, 3, 60, 61, 128, 200])
def test_no_size_or_scale_of_cost_gives_nan(size: int, scale: float) -> None:
    cost = (random_cost(size, size).float() * scale).requires_grad_()
    plan = ipot(cost, beta=1.0, outer=10)
    (gradient,) = torch.autograd.grad((plan * cost).sum(), cost)
    assert torch.isfinite(plan).all()
    assert torch.isfinite(gradient).all()
    assert math.isclose(float(plan.detach().sum()), 1, rel_tol=1e-1 if scale == 1e4 else 1e-2)
