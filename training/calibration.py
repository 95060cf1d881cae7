"""What is fitted on held-out images once a model is trained: a temperature, and the manifold's thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from holdfast.manifest import Calibration
from holdfast.probabilities import probabilities

#: Shares of clean images that may be called uncertain or worse, and suspect.
FALSE_POSITIVE_RATES = (0.05, 0.01)
#: Bins of the expected calibration error (Guo et al. 2017).
_BINS = 15


@dataclass(frozen=True)
class Thresholds:
    """Scores beyond which an image is no longer natural, and beyond which it is suspect."""

    uncertain: float
    suspect: float


def calibrate(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Fit a temperature on the first half of held-out images, and measure it on the second.

    Args:
        logits: (n, classes), n >= 2; the images in no order that matters.
        labels: (n,).
    """
    half = len(labels) // 2
    temperature = fit_temperature(logits[:half], labels[:half])
    rest, truth = logits[half:], labels[half:]
    return Calibration(
        temperature=temperature,
        error_before=calibration_error(probabilities(rest), truth),
        error_after=calibration_error(probabilities(rest, temperature), truth),
        images=half,
        test_images=len(truth),
    )


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of the least mean negative log-likelihood, between 1/1000 and 1000.

    Args:
        logits: (n, classes).
        labels: (n,).
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        chosen = probabilities(logits, float(np.exp(log_temperature)))[rows, labels]
        return float(-np.log(np.maximum(chosen, 1e-300)).mean())

    # Convex in 1/T, so with a single minimum in log T as well.
    found = minimize_scalar(
        loss, bounds=(np.log(1e-3), np.log(1e3)), method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(found.x))


def calibration_error(chances: np.ndarray, labels: np.ndarray) -> float:
    """The expected calibration error over 15 bins of equal width (Guo et al. 2017, eq. 3).

    Args:
        chances: (n, classes), probabilities.
        labels: (n,).
    """
    confidence, right = chances.max(1), chances.argmax(1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [
        abs(float((right[bins == b] - confidence[bins == b]).sum()))
        for b in range(_BINS)
        if (bins == b).any()
    ]
    return sum(gaps) / len(labels)


def choose_thresholds(scores: np.ndarray, sign: int) -> Thresholds:
    """The thresholds that clean images are beyond at :data:`FALSE_POSITIVE_RATES`.

    Args:
        scores: (n,), of clean held-out images.
        sign: 1 where a high score is suspicious, −1 where a low one is.
    """
    uncertain, suspect = (
        sign * float(np.quantile(sign * scores, 1 - rate, method="higher")) for rate in FALSE_POSITIVE_RATES
    )
    return Thresholds(uncertain, suspect)
