"""Temperature and thresholds, against models whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.probabilities import probabilities
from training.calibration import (
    FALSE_POSITIVE_RATES,
    calibrate,
    calibration_error,
    choose_thresholds,
    fit_temperature,
)


def honest(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the chance that each label really has."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(scale=2, size=(n, 5))
    chances = probabilities(logits)
    labels = (draw.random((n, 1)) > chances.cumsum(1)).sum(1).clip(0, 4)
    return logits, labels


@pytest.mark.parametrize("factor", [0.02, 0.3, 1.0, 7.0])
def test_the_temperature_undoes_the_factor_that_made_the_model_too_sure(factor: float) -> None:
    logits, labels = honest(20_000)
    assert fit_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.03)


def test_calibration_lowers_the_error_on_images_that_it_was_not_fitted_on() -> None:
    logits, labels = honest(8_000)
    found = calibrate(logits * 5, labels)
    assert found.error_before > 0.1
    assert found.error_after < 0.02
    assert (found.images, found.test_images) == (4_000, 4_000)


def test_the_error_is_the_mean_gap_between_confidence_and_accuracy() -> None:
    # Ten answers of 0.95, nine right; ten of 0.55, all right: (10 · 0.05 + 10 · 0.45) / 20.
    chances = np.array([[0.95, 0.05]] * 10 + [[0.55, 0.45]] * 10)
    labels = np.array([0] * 9 + [1] + [0] * 10)
    assert calibration_error(chances, labels) == pytest.approx(0.25)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_thresholds_hold_their_false_positive_rates(sign: int) -> None:
    scores = np.random.default_rng(0).random(2_000)
    found = choose_thresholds(scores, sign)
    for threshold, rate in zip((found.uncertain, found.suspect), FALSE_POSITIVE_RATES, strict=True):
        beyond = (sign * scores > sign * threshold).mean()
        assert rate - 0.002 <= beyond <= rate
    assert sign * found.suspect >= sign * found.uncertain


def test_temperature_changes_no_answer() -> None:
    logits, _ = honest(100)
    assert np.array_equal(probabilities(logits, 3).argmax(1), logits.argmax(1))
    np.testing.assert_allclose(probabilities(logits, 0.1).sum(1), 1)
