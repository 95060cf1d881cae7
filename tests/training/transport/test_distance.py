"""The matching schemes and the distance of a batch in groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import ot
import pytest
import torch

from training.transport import (
    MatchingOptions,
    cosine_cost,
    make_plan,
    matching_distance,
    sinkhorn,
    stack_groups,
)


def options(**values: Any) -> MatchingOptions:
    return MatchingOptions.model_validate(values)


def test_uniform_matching_is_the_mean_cost_of_all_pairs() -> None:
    clean, moved = torch.randn(20, 10), torch.randn(20, 10)
    torch.testing.assert_close(
        matching_distance(clean, moved, options(matching="uniform")), cosine_cost(clean, moved).mean()
    )


def test_identity_matching_is_the_mean_cost_of_each_with_its_own() -> None:
    clean, moved = torch.randn(20, 10), torch.randn(20, 10)
    expected = (1 - torch.nn.functional.cosine_similarity(clean, moved)).mean()
    torch.testing.assert_close(matching_distance(clean, moved, options(matching="identity")), expected)


@pytest.mark.parametrize(
    ("solver", "within"),
    [({"sinkhorn_iterations": 1000}, 0.02), ({"solver": "ipot", "ipot_outer": 1000}, 2e-3)],
)
def test_matching_by_transport_costs_least(solver: dict[str, Any], within: float) -> None:
    torch.manual_seed(0)
    clean = torch.randn(30, 10)
    moved = clean[torch.randperm(30)] + 0.3 * torch.randn(30, 10)
    uniform = np.full(30, 1 / 30)
    exact = ot.emd2(uniform, uniform, cosine_cost(clean, moved).double().numpy())
    transport = float(matching_distance(clean, moved, options(**solver)))
    assert exact - 1e-5 <= transport <= exact + within
    for scheme in ("uniform", "identity"):
        assert transport < 0.5 * float(matching_distance(clean, moved, options(matching=scheme)))


@pytest.mark.parametrize("name", ["uniform", "identity", "ot"])
def test_every_plan_moves_all_mass_once(name: str) -> None:
    plan = make_plan(torch.rand(3, 12, 12, dtype=torch.float64), options(matching=name))
    assert plan.shape == (3, 12, 12)
    torch.testing.assert_close(plan.sum((-1, -2)), torch.ones(3, dtype=torch.float64))


def test_a_detached_plan_leaves_the_gradient_of_the_cost_alone() -> None:
    cost = torch.rand(12, 12, dtype=torch.float64, requires_grad=True)
    for solver in ("sinkhorn", "ipot"):
        plan = make_plan(cost, options(solver=solver, plan_gradient="detached"))
        assert not plan.requires_grad
        unrolled = make_plan(cost, options(solver=solver))
        torch.testing.assert_close(plan, unrolled)
        assert unrolled.requires_grad


def test_the_solver_has_its_own_options() -> None:
    cost = torch.rand(12, 12, dtype=torch.float64)
    chosen = options(regularisation=0.3, sinkhorn_iterations=50, sinkhorn_tolerance=0.01)
    expected = sinkhorn(cost, regularisation=0.3, iterations=50, tolerance=0.01)
    torch.testing.assert_close(make_plan(cost, chosen), expected)


@pytest.mark.parametrize(
    ("images", "sizes"),
    [(1, [1]), (5, [5]), (60, [60]), (61, [31, 30]), (120, [60, 60]), (128, [43, 43, 42]), (200, [50] * 4)],
)
def test_groups_are_even_in_order_and_never_above_the_largest(images: int, sizes: list[int]) -> None:
    features = torch.arange(images * 2.0).view(images, 2)
    stacks = stack_groups(features, 60)
    assert len(stacks) <= 2
    assert [len(group) for stack in stacks for group in stack] == sizes
    torch.testing.assert_close(torch.cat([stack.flatten(0, 1) for stack in stacks]), features)


def test_groups_are_matched_apart_and_each_image_weighs_the_same() -> None:
    torch.manual_seed(0)
    clean, moved, alone = torch.randn(61, 10), torch.randn(61, 10), options(group=61)
    apart = [matching_distance(clean[part], moved[part], alone) for part in (slice(31), slice(31, 61))]
    expected = (31 * apart[0] + 30 * apart[1]) / 61
    torch.testing.assert_close(matching_distance(clean, moved, options(group=60)), expected)


@pytest.mark.parametrize("images", [1, 2, 3, 60, 61, 128, 200])
@pytest.mark.parametrize("solver", ["sinkhorn", "ipot"])
def test_identical_features_are_at_no_distance_and_have_a_finite_gradient(images: int, solver: str) -> None:
    same = torch.full((images, 10), 0.3)
    moved = same.clone().requires_grad_()
    distance = matching_distance(same, moved, options(solver=solver))
    (gradient,) = torch.autograd.grad(distance, moved)
    assert float(distance.detach()) == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    "changes", [{}, {"sinkhorn_tolerance": 0.1, "sinkhorn_iterations": 100}, {"solver": "ipot"}]
)
def test_nothing_waits_for_a_value(changes: dict[str, Any]) -> None:
    # A tensor without data has no value to wait for: reading one would raise.
    clean = torch.empty(128, 10, device="meta")
    moved = torch.empty(128, 10, device="meta", requires_grad=True)
    distance = matching_distance(clean, moved, options(**changes))
    (gradient,) = torch.autograd.grad(distance, moved)
    assert gradient.shape == moved.shape
    with pytest.raises(RuntimeError):
        distance.item()
