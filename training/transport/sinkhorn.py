"""Sinkhorn's algorithm: the transport plan with an entropy's help (Cuturi 2013)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinkhorn(cost: Tensor, *, regularisation: float, iterations: int, tolerance: float = 0.0) -> Tensor:
    """The entropic transport plan between uniform weights (Cuturi 2013), in the log domain.

    min_T <T, C> − r · H(T), by turns for the rows' and the columns' potentials.

    The number of iterations is fixed, and gradients flow through every one of them. With a tolerance, a
    problem whose potentials have settled stays as it is while the iterations run out: the result is that of
    stopping there, and nothing waits for the device to say whether it may stop. A few iterations leave the
    rows' sums off; the columns' are met exactly.

    Args:
        cost: (..., n, m), not negative.
        regularisation: r, the weight of the entropy; the smaller, the nearer to the exact plan.
        iterations: Pairs of row and column updates, at least one; with a tolerance, at most so many.
        tolerance: Iterate until Σ_i |u_i − u_i before| is below this, u being the rows' potentials in units
            of the cost; each problem by itself. At 0 nothing is tested.

    Returns:
        The plan T, (..., n, m); its entries sum to 1.
    """
    n, m = cost.shape[-2:]
    scores = -cost / regularisation
    log_row, log_column = -math.log(n), -math.log(m)
    column = torch.zeros_like(scores[..., :1, :])
    row = torch.zeros_like(scores[..., :, :1])
    settled = torch.zeros_like(scores[..., :1, :1], dtype=torch.bool)
    for _ in range(iterations):
        next_row = log_row - torch.logsumexp(scores + column, dim=-1, keepdim=True)
        next_column = log_column - torch.logsumexp(scores + next_row, dim=-2, keepdim=True)
        if tolerance:
            moved = regularisation * (next_row - row).detach().abs().sum(dim=-2, keepdim=True)
            next_row = torch.where(settled, row, next_row)
            next_column = torch.where(settled, column, next_column)
            settled = settled | (moved < tolerance)
        row, column = next_row, next_column
    return torch.exp(scores + row + column)
