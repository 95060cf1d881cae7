"""Fixed class centres as far from one another as can be, and what classifies by them (MMD, MMC, MAT).

The Max-Mahalanobis centres (Pang et al. 2018, "Max-Mahalanobis Linear Discriminant Analysis Networks"; MAT
eq. 3) are L vectors of one length in d dimensions whose largest pairwise cosine is as small as possible. An
image belongs to the class whose centre its feature vector points to most (MAT eq. 5). Cosines are written on
the array API: numpy and torch arrays alike, differentiable in torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from holdfast.errors import UsageError

#: Feature vectors, in numpy or torch.
Array = Any

#: Lengths below this count as this: a feature vector of zeros has cosine 0 to everything, and no NaN.
SHORTEST = 1e-6

#: The search for a spherical code: starts, sharpness of the maximum (β, ever sharper), steps at each.
_STARTS = 6
_SHARPNESS = tuple(10.0 * 3**stage for stage in range(9))
_STEPS = 120


def max_mahalanobis_centres(
    classes: int, dimensions: int, *, norm: float = 1.0, seed: int = 0
) -> NDArray[np.float64]:
    """L centres in d dimensions whose largest pairwise cosine is as small as possible (MAT eq. 3).

    - L <= d + 1: the regular simplex, every pairwise cosine −1 / (L − 1), by the recursion of Pang et al.
      2018, Algorithm 1. No arrangement is better. Only the first L − 1 coordinates are used.
    - d + 2 <= L <= 2 d: vectors along the axes, one way and the other; the largest cosine is 0, and Rankin
      (1955) proved that it cannot be less.
    - L > 2 d: a regular polygon in the plane; in more dimensions no formula is known, and the centres are
      sought numerically, as in the program of Pang et al.: the best of a few local optima, which is the best
      known arrangement where that is easy to find, and for 24 centres in 4 dimensions 0.017 above it.

    Args:
        classes: L, at least 2.
        dimensions: d, the length of a feature vector.
        norm: C, the length of each centre.
        seed: Of the search; what is found by a formula does not depend on it.

    Returns:
        (L, d).

    Raises:
        UsageError: There are too few classes, or too few dimensions for so many that differ.
    """
    if classes < 2 or dimensions < 1:
        raise UsageError(f"There are no centres of {classes} classes in {dimensions} dimensions.")
    if dimensions == 1 and classes > 2:
        raise UsageError(
            f"{classes} classes have no centres that differ in 1 dimension.",
            hint=f"Give features at least 2 dimensions, or {classes - 1} for the widest angles.",
        )
    if classes <= dimensions + 1:
        units = _simplex(classes, dimensions)
    elif classes <= 2 * dimensions:
        units = np.concatenate([np.eye(dimensions), -np.eye(dimensions)])[:classes]
    elif dimensions == 2:
        angles = 2 * np.pi * np.arange(classes) / classes
        units = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    else:
        units = _spherical_code(classes, dimensions, np.random.default_rng(seed))
    return norm * units


def cosine_similarity(vectors: Array, others: Array) -> Array:
    """cos(a_i, b_j) for vectors (n, d) and others (m, d): (n, m); 0 where one of the two is all zeros."""
    xp = array_namespace(vectors, others)
    return xp.matmul(unit(vectors), xp.permute_dims(unit(others), (1, 0)))


def cosine_logits(features: Array, centres: Array, scale: float = 1.0) -> Array:
    """``scale`` · cos(φ, μ_k) for features φ (n, d) and centres μ (L, d): logits (n, L) (MAT Sec. 3.3)."""
    return scale * cosine_similarity(features, centres)


def unit(vectors: Array) -> Array:
    """Vectors (n, d) at length 1, but for those shorter than :data:`SHORTEST`, which stay shorter than 1.

    Values and derivatives are finite everywhere, at zeros too.
    """
    xp = array_namespace(vectors)
    square = xp.sum(vectors * vectors, axis=-1, keepdims=True)
    # Of the square, not of the root: the root's slope is infinite at zero.
    return vectors / xp.sqrt(xp.clip(square, SHORTEST**2, None))


def _simplex(classes: int, dimensions: int) -> NDArray[np.float64]:
    """μ_1 = e_1; μ_kj makes μ_k · μ_j the cosine for j < k; μ_kk makes its length 1 (Pang et al., Alg. 1)."""
    cosine = -1.0 / (classes - 1)
    centres = np.zeros((classes, dimensions))
    centres[0, 0] = 1.0
    for k in range(1, classes):
        for j in range(k):
            centres[k, j] = (cosine - centres[k] @ centres[j]) / centres[j, j]
        if k < classes - 1:  # the last one has no coordinate of its own: its length is 1 already
            centres[k, k] = np.sqrt(1.0 - centres[k] @ centres[k])
    return centres


def _spherical_code(classes: int, dimensions: int, random: np.random.Generator) -> NDArray[np.float64]:
    """The best arrangement of several searches from random starts."""
    found = [_search(_normalised(random.standard_normal((classes, dimensions)))) for _ in range(_STARTS)]
    return min(found, key=_largest_cosine)


def _search(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Descend a smooth maximum of the pairwise cosines, log Σ exp(β cos) / β, by Adam, as β grows."""
    best = centres
    step, mean, square = 0, np.zeros_like(centres), np.zeros_like(centres)
    for sharpness in _SHARPNESS:
        for _ in range(_STEPS):
            step += 1
            cosines = centres @ centres.T
            np.fill_diagonal(cosines, -np.inf)
            weights = np.exp(sharpness * (cosines - cosines.max()))
            gradient = (weights / weights.sum()) @ centres
            gradient -= (gradient * centres).sum(1, keepdims=True) * centres  # along the sphere
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.99 * square + 0.01 * gradient**2
            size = min(0.1, 2.0 / sharpness)
            move = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.99**step)) + 1e-12)
            centres = _normalised(centres - size * move)
        best = min(best, centres, key=_largest_cosine)
    return best


def _normalised(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _largest_cosine(centres: NDArray[np.float64]) -> float:
    cosines = centres @ centres.T
    np.fill_diagonal(cosines, -np.inf)
    return float(cosines.max())
