"""Adam (Kingma & Ba 2015, Algorithm 1), on the array API: for attacks that optimise an image by it."""

from __future__ import annotations

import numpy as np

from holdfast.attacks.arrays import namespace, take
from holdfast.attacks.oracle import Array

_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8


class Adam:
    """The optimiser's state for a batch; no image sees another's.

    Args:
        like: An array of the shape and kind of what is optimised, (n, …).
        learning_rate: α.
    """

    def __init__(self, like: Array, learning_rate: float) -> None:
        xp = namespace(like)
        self._rate = learning_rate
        self._mean = xp.zeros_like(like)
        self._square = xp.zeros_like(like)
        self._steps = 0

    def step(self, gradient: Array) -> Array:
        """The step against ``gradient`` (n, …): what to subtract to descend, to add to ascend."""
        self._steps += 1
        self._mean *= _BETA1
        self._mean += (1 - _BETA1) * gradient
        self._square *= _BETA2
        self._square += (1 - _BETA2) * (gradient * gradient)
        denominator = (self._square / (1 - _BETA2**self._steps)) ** 0.5
        denominator += _TINY
        return self._mean * (self._rate / (1 - _BETA1**self._steps)) / denominator

    def keep(self, rows: np.ndarray) -> None:
        """Go on with some of the images only."""
        self._mean, self._square = take(self._mean, rows), take(self._square, rows)
