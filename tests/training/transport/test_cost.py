"""The cosine cost by hand."""

from __future__ import annotations

import torch

from training.transport import cosine_cost


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
