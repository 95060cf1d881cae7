"""IPOT: the exact transport plan by inexact proximal points (Xie et al. 2018, arXiv 1802.04307)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def ipot(cost: Tensor, *, beta: float, outer: int, inner: int = 1) -> Tensor:
    """The transport plan between uniform weights, by steps that stay near one another (Algorithm 1).

    T_{k+1} = argmin_T <T, C> + β · KL(T, T_k): where Sinkhorn's plan stays blurred by its entropy, this goes
    on to the unregularised one, at any β. Each step is solved by ``inner`` pairs of updates; the paper finds
    one enough. In the log domain, because the entries of a plan that turns exact vanish, and with them the
    sums that the algorithm divides by.

    Args:
        cost: (..., n, m), not negative.
        beta: β, how much a step may leave the last plan behind; the larger, the slower and the steadier.
        outer: Proximal steps, at least one.
        inner: Pairs of row and column updates in a step, at least one.

    Returns:
        The plan T, (..., n, m); its entries sum to 1, and its columns' sums are met exactly.
    """
    n, m = cost.shape[-2:]
    log_row, log_column = -math.log(n), -math.log(m)
    log_plan = torch.zeros_like(cost)
    row = torch.zeros_like(cost[..., :, :1])
    column = torch.full_like(cost[..., :1, :], log_column)
    for _ in range(outer):
        scores = log_plan - cost / beta
        for _ in range(inner):
            row = log_row - torch.logsumexp(scores + column, dim=-1, keepdim=True)
            column = log_column - torch.logsumexp(scores + row, dim=-2, keepdim=True)
        log_plan = scores + row + column
    return torch.exp(log_plan)
