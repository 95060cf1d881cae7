"""MAT's losses in torch, one number for each image: what its training descends and its attackers ascend.

An attack that knows the defence maximises the training loss itself (MAT Sec. 4.4): FTC + α · SO + β · BIBO,
where BIBO, in training a maximum over the ball, is the cosine distance to the clean image's features, because
the attack is that maximisation. All are functions of feature vectors φ; differentiate through the network.
"""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.centers import SHORTEST, unit


def adaptive_losses(
    features: Tensor, labels: Tensor, centres: Tensor, clean: Tensor, *, alpha: float, beta: float
) -> Tensor:
    """FTC + α · SO + β · CD(φ(x), φ(x')): what MAT's adaptive PGD ascends (Sec. 4.4).

    Args:
        features: φ(x'), (n, d).
        labels: (n,), the true classes.
        centres: μ, (L, d), of any length.
        clean: φ(x), (n, d), of the images that x' were made from; detached, if they are not to be moved.
        alpha: α, as the model was trained with; 0 leaves SO out.
        beta: β, likewise.

    Returns:
        (n,).
    """
    losses = ftc(features, labels, centres)
    if alpha:
        losses = losses + alpha * so(features, labels, centres)
    return losses + beta * bibo(features, clean) if beta else losses


def ftc(features: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Feature To Center: CD(φ, μ_y) = 1 − cos(φ, μ_y) (eq. 4).

    Args:
        features: φ, (n, d).
        labels: (n,).
        centres: μ, (L, d), of any length.

    Returns:
        (n,), from 0 to 2.
    """
    return cosine_distance(features, centres[labels])


def so(features: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Second Order: ‖∇_φ FTC‖² = ‖μ̂_y − cos(φ, μ_y) φ̂‖² / ‖φ‖² (eq. 6).

    It is (1 − cos²) / ‖φ‖²: a network can lower it by pointing φ at its centre, or by making φ long.

    Args:
        features: φ, (n, d).
        labels: (n,).
        centres: μ, (L, d), of any length.

    Returns:
        (n,), at least 0.
    """
    direction, centre = unit(features), unit(centres[labels])
    cosine = (direction * centre).sum(1, keepdim=True)
    # The residual, not 1 − cos²: near the centre that difference is all rounding.
    residual = (centre - cosine * direction).square().sum(1)
    losses: Tensor = residual / features.square().sum(1).clamp_min(SHORTEST**2)
    return losses


def bibo(features: Tensor, clean: Tensor) -> Tensor:
    """Bounded Input, Bounded Output: CD(φ(x), φ(x')), the inside of eq. 8.

    Args:
        features: φ(x'), (n, d).
        clean: φ(x), (n, d).

    Returns:
        (n,), from 0 to 2. At x' = x it is 0 and so is its gradient: start elsewhere.
    """
    return cosine_distance(features, clean)


def cosine_distance(vectors: Tensor, others: Tensor) -> Tensor:
    """CD(a, b) = 1 − cos(a, b) for each pair of rows of (n, d) and (n, d): (n,) (Sec. 3.1).

    Computed as ‖â − b̂‖² / 2, which is the same but keeps its digits, and those of its gradient, where the two
    directions are close. To a vector of zeros, which has no direction, the distance is 1/2.
    """
    distances: Tensor = 0.5 * torch.square(unit(vectors) - unit(others)).sum(1)
    return distances
