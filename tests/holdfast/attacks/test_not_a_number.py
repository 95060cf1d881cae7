"""Models that answer NaN: it is no other class, spreads into no image, and is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.attacks import QUICK, quick
from support.linear import Linear

from holdfast.attacks import GradientAnswer, attack, find
from holdfast.attacks.ball import ball
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.errors import HoldfastError

SHAPE, CLASSES = (3, 5, 5), 5
WITH_GRADIENTS = [name for name in QUICK if find(name).access == "gradient"]


class Breaking(Linear):
    """Answers NaN to all images that are not among those it knows."""

    known: np.ndarray

    def logits(self, images: np.ndarray) -> np.ndarray:
        logits = super().logits(images)
        strange = ~np.array([any(np.array_equal(image, known) for known in self.known) for image in images])
        logits[strange] = np.nan
        return logits

    def gradient(self, images: np.ndarray, *arguments: Any) -> GradientAnswer:
        answer = super().gradient(images, *arguments)
        strange = np.isnan(answer.logits).any(1)
        answer.gradient[strange], answer.loss[strange] = np.nan, np.nan
        return answer


class Holed(Linear):
    """The gradient of one channel is no number."""

    hole = np.nan

    def gradient(self, images: np.ndarray, *arguments: Any) -> GradientAnswer:
        answer = super().gradient(images, *arguments)
        answer.gradient[:, 0] = self.hole
        return answer


def batch(kind: type[Linear]) -> Any:
    model = kind.random(SHAPE, CLASSES)
    images = np.random.default_rng(1).random((12, *SHAPE), dtype=np.float32)
    return model, images, Linear.random(SHAPE, CLASSES).logits(images).argmax(1)


def raised(result: Any) -> list[str]:
    return [flag.name for flag in result.flags]


@pytest.mark.parametrize("name", list(QUICK))
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("targeted", [False, True])
def test_no_attack_takes_nan_for_success(name: str, norm: str, targeted: bool) -> None:
    model, images, labels = batch(Breaking)
    model.known = images
    targets = np.zeros_like(labels) if targeted else None  # the class that argmax finds among NaN
    result = attack(model, images, labels, quick(name, epsilon=0.2, norm=norm), targets=targets)
    assert not result.success.any()
    assert np.isfinite(result.images).all()
    assert result.unanswered > 0
    assert "not_a_number" in raised(result)


@pytest.mark.parametrize("name", list(QUICK))
def test_a_model_that_answers_every_image_raises_no_flag(name: str) -> None:
    result = attack(*batch(Linear), quick(name, epsilon=0.2))
    assert result.unanswered == 0
    assert "not_a_number" not in raised(result)


@pytest.mark.parametrize("name", WITH_GRADIENTS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_a_gradient_with_holes_is_followed_where_it_has_none(name: str, norm: str, hole: float) -> None:
    model, images, labels = batch(Holed)
    model.hole = hole
    result = attack(model, images, labels, quick(name, epsilon=0.5, norm=norm))
    assert np.isfinite(result.images).all()
    assert np.isfinite(result.logits).all()
    assert result.success.any()
    assert result.zero_gradients == result.gradients > 0
    assert "zero_gradient" in raised(result)


@pytest.mark.parametrize("name", ["pgd", "rays"])
def test_clean_images_without_an_answer_are_refused_whoever_gives_it(name: str) -> None:
    model, images, labels = batch(Breaking)
    model.known = images[:9]
    with pytest.raises(HoldfastError, match="answers 3 of 12 clean images with NaN"):
        attack(model, images, labels, quick(name))
    with pytest.raises(HoldfastError, match="clean images with NaN"):
        attack(batch(Linear)[0], images, labels, quick(name), source=model)


def test_torch_arrays_are_no_exception() -> None:
    model, images, labels = batch(Linear)
    weight = torch.from_numpy(model.weight)
    known = torch.from_numpy(images)

    def breaking(x: torch.Tensor) -> torch.Tensor:
        near = (x[:, None] - known[None]).abs().amax((2, 3, 4)).amin(1) < 1e-6
        logits: torch.Tensor = x.flatten(1) @ weight.T
        return torch.where(near[:, None], logits, torch.nan)

    labels = breaking(known).argmax(1)
    result = attack(TorchOracle(breaking, CLASSES), known, labels, quick("apgd-ce", epsilon=0.2))
    assert not result.success.any()
    assert result.images.isfinite().all()
    assert "not_a_number" in raised(result)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-6, 1.0, 1e20])
def test_a_step_in_l2_is_as_long_whatever_the_gradients_size(scale: float) -> None:
    draw = np.random.default_rng(0)
    gradient = draw.normal(size=(4, *SHAPE)).astype(np.float32)
    centre = np.full((4, *SHAPE), 0.5, dtype=np.float32)
    moved = ball("l2", 0.3).step(centre, gradient * np.float32(scale), 0.2, centre)
    np.testing.assert_allclose(np.linalg.norm((moved - centre).reshape(4, -1), axis=1), 0.2, rtol=1e-4)
    np.testing.assert_allclose(moved, ball("l2", 0.3).step(centre, gradient, 0.2, centre), atol=1e-6)
    still = ball("l2", 0.3).step(centre, 0 * gradient, 0.2, centre)
    assert np.array_equal(still, centre)
