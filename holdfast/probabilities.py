"""From logits to probabilities, the same wherever a model answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def probabilities(
    logits: NDArray[np.float32] | NDArray[np.float64], temperature: float = 1.0
) -> NDArray[np.float64]:
    """softmax(logits / temperature) (Guo et al. 2017, On Calibration of Modern Neural Networks).

    Args:
        logits: (..., classes).
        temperature: Positive; above 1 it makes the model less sure, below 1 surer.

    Returns:
        Shape of ``logits``, each row summing to 1.
    """
    shifted = logits.astype(np.float64) / temperature
    shifted -= shifted.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))
