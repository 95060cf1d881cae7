"""SPSA: its estimate against the true gradient, what it shows the model, and a model without a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.linear import Linear
from support.masked import Quantised
from support.oracles import Recorder
from torch import Tensor

from holdfast.attacks import ImageNoise, Loss, PGDParameters, attack
from holdfast.attacks.problem import Problem, Tally
from holdfast.attacks.spsa import SPSAParameters, estimate
from holdfast.attacks.torch_oracle import TorchOracle
from training.models import Network

SHAPE = (3, 5, 5)


def problem(model: Any, images: np.ndarray, labels: np.ndarray, seed: int = 0) -> Problem:
    noise = ImageNoise.of(seed, images)
    return Problem(model, images, labels, None, model.logits(images), noise, Tally.of(len(images)))


def batch(n: int, edges: bool = False) -> tuple[Linear, np.ndarray, np.ndarray]:
    """A model of two classes, whose margin is linear, and images; of the edges, black and white ones."""
    model = Linear.random(SHAPE, 2)
    images = np.random.default_rng(1).random((n, *SHAPE), dtype=np.float32)
    if edges:
        images = images.round()
    return model, images, model.logits(images).argmax(1)


def test_the_estimate_is_the_gradient_but_for_its_noise() -> None:
    model, images, labels = batch(4)
    truth = model.gradient(images, labels, Loss.MARGIN).gradient
    found = estimate(
        problem(model, images, labels),
        images,
        np.arange(4),
        SPSAParameters(samples=4000, samples_per_call=800),
    )
    cosines = (found * truth).sum((1, 2, 3)) / np.linalg.norm(found.reshape(4, -1), axis=1)
    cosines /= np.linalg.norm(truth.reshape(4, -1), axis=1)
    assert cosines.min() > 0.98
    # The error of a mean over n random signs in d dimensions is about sqrt(d / n) of the gradient.
    errors = np.linalg.norm((found - truth).reshape(4, -1), axis=1) / np.linalg.norm(truth[0])
    assert errors.max() < 2 * (75 / 4000) ** 0.5


def test_black_and_white_do_not_bias_the_estimate() -> None:
    model, images, labels = batch(2, edges=True)
    truth = model.gradient(images, labels, Loss.MARGIN).gradient
    found = estimate(
        problem(model, images, labels),
        images,
        np.arange(2),
        SPSAParameters(samples=8000, samples_per_call=2000),
    )
    slope = (found * truth).sum((1, 2, 3)) / (truth * truth).sum((1, 2, 3))
    np.testing.assert_allclose(slope, 1, atol=0.03)


def test_the_size_of_a_call_changes_nothing_but_the_memory() -> None:
    model, images, labels = batch(3)
    whole, pieces = (
        estimate(
            problem(model, images, labels),
            images,
            np.arange(3),
            SPSAParameters(samples=50, samples_per_call=size),
        )
        for size in (200, 6)
    )
    np.testing.assert_allclose(whole, pieces, rtol=1e-3, atol=1e-3)


def test_the_model_only_sees_images_within_the_range() -> None:
    model, images, labels = batch(6, edges=True)
    seen = Recorder(model)
    attack(seen, images, labels, SPSAParameters(steps=3, samples=8, epsilon=0.2))
    assert min(asked.min() for asked in seen.forwards) >= 0
    assert max(asked.max() for asked in seen.forwards) <= 1
    assert not seen.gradients


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.03), ("l2", 0.2)])
def test_it_nears_what_pgd_reaches_with_the_gradient(norm: str, epsilon: float) -> None:
    model = Linear.random(SHAPE, 4)
    images = np.random.default_rng(1).random((60, *SHAPE), dtype=np.float32)
    labels = model.logits(images).argmax(1)
    common = {"norm": norm, "epsilon": epsilon, "steps": 20}
    white = PGDParameters.model_validate(common | {"loss": "cw"})
    black = SPSAParameters.model_validate(common | {"samples": 128, "learning_rate": epsilon / 4})
    shares = [attack(model, images, labels, parameters).success.mean() for parameters in (white, black)]
    assert 0.1 < shares[0] < 0.95
    assert shares[1] >= shares[0] - 0.05


def test_it_breaks_a_model_that_has_no_gradient(
    digits_network: Network, unseen_digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = (part[:20] for part in unseen_digits)
    oracle = TorchOracle(Quantised(digits_network), 10)
    blind = attack(oracle, images, labels, PGDParameters(epsilon=0.2, random_start=False, steps=3))
    assert [flag.name for flag in blind.flags] == ["zero_gradient"]
    parameters = SPSAParameters(epsilon=0.2, steps=12, samples=32, delta=0.1, learning_rate=0.05)
    seeing = attack(oracle, images, labels, parameters)
    assert seeing.success.float().mean() > blind.success.float().mean() + 0.5
    assert seeing.flags == [flag for flag in seeing.flags if flag.name == "lost_by_rounding"]


def test_signs_are_even_and_each_images_own() -> None:
    images = np.random.default_rng(0).random((3, *SHAPE), dtype=np.float32)
    signs = ImageNoise.of(0, images).signs(images, 400)
    assert signs.shape == (3, 400, *SHAPE)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert np.abs(signs.mean((1, 2, 3, 4))).max() < 0.02
    assert np.abs(signs.mean(1)).max() < 0.25
    assert abs((signs[0] * signs[1]).mean()) < 0.02


def test_signs_do_not_depend_on_how_many_are_drawn_at_once() -> None:
    images = np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32)
    at_once = ImageNoise.of(0, images).signs(images, 9)
    stream = ImageNoise.of(0, images)
    np.testing.assert_array_equal(
        np.concatenate([stream.signs(images, n) for n in (1, 5, 3)], axis=1), at_once
    )
