"""Optimal transport between two batches of features: the cost, the plan, the distance (FS, Sec. 3.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize


def cosine_cost(first: Tensor, second: Tensor) -> Tensor:
    """c(x_i, x'_j) = 1 − cos(f_i, f'_j) (FS eq. 5), never negative.

    Args:
        first: (..., n, d).
        second: (..., m, d).

    Returns:
        (..., n, m).
    """
    cosine = normalize(first, dim=-1, eps=1e-6) @ normalize(second, dim=-1, eps=1e-6).transpose(-1, -2)
    return (1 - cosine).clamp_min(0)


def sinkhorn(cost: Tensor, *, regularisation: float, iterations: int) -> Tensor:
    """The entropic transport plan between uniform weights (Cuturi 2013), in the log domain.

    The number of iterations is fixed: nothing waits for the host to test for convergence, and gradients flow
    through every iteration. A few iterations leave the rows' sums off; the columns' are met exactly.

    Args:
        cost: (..., n, m), not negative.
        regularisation: Weight of the entropy; the smaller, the nearer to the exact plan, and the slower.
        iterations: Pairs of row and column updates, at least one.

    Returns:
        The plan T, (..., n, m); its entries sum to 1.
    """
    n, m = cost.shape[-2:]
    scores = -cost / regularisation
    log_row, log_column = -math.log(n), -math.log(m)
    column = torch.zeros_like(scores[..., :1, :])
    row = torch.zeros_like(scores[..., :, :1])
    for _ in range(iterations):
        row = log_row - torch.logsumexp(scores + column, dim=-1, keepdim=True)
        column = log_column - torch.logsumexp(scores + row, dim=-2, keepdim=True)
    return torch.exp(scores + row + column)


def group_sizes(images: int, largest: int) -> list[int]:
    """Split a batch into groups of nearly equal size, none above ``largest``.

    >>> group_sizes(128, 60), group_sizes(120, 60)
    ([43, 43, 42], [60, 60])
    """
    groups = math.ceil(images / largest)
    return [images // groups + (index < images % groups) for index in range(groups)]
