"""The ground cost between two batches of features (FS eq. 5)."""

from __future__ import annotations

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
