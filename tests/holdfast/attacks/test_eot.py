"""Expectation over transformation: what the mean is of, what it costs, and what it is good for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.linear import Linear

from holdfast.attacks import GradientAnswer, Loss, PGDParameters, attack
from holdfast.attacks.autoattack import AutoAttackParameters
from holdfast.attacks.eot import EOTOracle
from holdfast.attacks.oracle import passes, questions
from holdfast.attacks.parameters import TWICE, Cost, announced

SHAPE, CLASSES = (3, 8, 8), 5


class Random:
    """A linear model whose weights get noise anew for every call, much larger than themselves."""

    classes = CLASSES

    def __init__(self, scale: float = 4.0, seed: int = 0) -> None:
        self.still = Linear.random(SHAPE, CLASSES)
        self.draw = np.random.default_rng(seed)
        self.scale = scale
        self.forwards = self.backwards = 0

    def model(self) -> Linear:
        noise = self.draw.normal(size=self.still.weight.shape) * self.scale
        # Orthogonal to grey: the clean images' logits hardly move, their gradients do.
        noise -= noise.mean(1, keepdims=True)
        return Linear(self.still.weight + noise, self.still.bias)

    def logits(self, images: np.ndarray) -> np.ndarray:
        self.forwards += len(images)
        return self.model().logits(images)

    def gradient(self, images: np.ndarray, *arguments: Any) -> GradientAnswer:
        self.forwards += len(images)
        self.backwards += len(images)
        return self.model().gradient(images, *arguments)


def batch(n: int = 30) -> tuple[np.ndarray, np.ndarray]:
    images = (0.5 + 0.02 * np.random.default_rng(1).normal(size=(n, *SHAPE))).astype(np.float32)
    return images, Linear.random(SHAPE, CLASSES).logits(images).argmax(1)


def test_logits_losses_and_gradients_are_means_over_so_many_answers() -> None:
    images, labels = batch(3)
    singles = Random()
    expected = [singles.gradient(images, labels, Loss.MARGIN) for _ in range(5)]
    mean = EOTOracle(Random(), 5).gradient(images, labels, Loss.MARGIN)
    for name in ("logits", "loss", "gradient"):
        np.testing.assert_allclose(
            getattr(mean, name),
            np.mean([getattr(answer, name) for answer in expected], 0),
            rtol=1e-4,
            atol=1e-4,
        )
    logits = Random()
    np.testing.assert_allclose(
        EOTOracle(Random(), 5).logits(images),
        np.mean([logits.logits(images) for _ in range(5)], 0),
        rtol=1e-4,
    )


def test_the_mean_of_a_model_that_does_not_draw_is_the_model() -> None:
    images, labels = batch(3)
    model = Linear.random(SHAPE, CLASSES)
    np.testing.assert_allclose(EOTOracle(model, 7).logits(images), model.logits(images), rtol=1e-5)
    parameters = PGDParameters(epsilon=0.02, steps=4, stop_at_success=False)
    plain = attack(model, images, labels, parameters)
    averaged = attack(model, images, labels, parameters, eot=3)
    np.testing.assert_allclose(averaged.images, plain.images, atol=1e-6)


def test_every_pass_of_every_sample_is_counted() -> None:
    images, labels = batch()
    model = Random()
    parameters = PGDParameters(epsilon=1e-4, steps=4, restarts=2)
    result = attack(model, images, labels, parameters, eot=6)
    assert (result.forwards, result.backwards) == (model.forwards, model.backwards)
    assert result.queries.sum() + TWICE == result.forwards
    cost = announced(parameters, CLASSES, eot=6)
    assert result.queries.max() <= cost.forwards
    assert result.backwards <= cost.backwards * len(images)


def test_means_of_means_cost_their_product() -> None:
    mean = EOTOracle(EOTOracle(Random(), 3), 4)
    assert (questions(mean), passes(mean), passes(mean, Loss.MARGIN)) == (12, Cost(12), Cost(12, 12))
    assert (questions(Random()), passes(Random()), passes(Random(), Loss.MARGIN)) == (1, Cost(1), Cost(1, 1))


def test_a_gradient_hidden_in_noise_is_found_by_averaging() -> None:
    images, labels = batch(100)
    parameters = PGDParameters(epsilon=0.006, steps=4, stop_at_success=False)
    # Judged on the model without its noise, so that luck is no success.
    still = Linear.random(SHAPE, CLASSES)

    def share(eot: int) -> float:
        crafted = attack(Random(), images, labels, parameters, eot=eot).images
        return float((still.logits(crafted).argmax(1) != labels).mean())

    assert share(32) > share(1) + 0.4


def test_the_flag_of_a_random_model_says_what_was_averaged() -> None:
    images, labels = batch(10)
    for eot, words in ((1, "over many samples"), (8, "mean of 8 answers")):
        (flag,) = [
            flag
            for flag in attack(Random(), images, labels, PGDParameters(steps=1), eot=eot).flags
            if flag.name == "randomised"
        ]
        assert words in flag.meaning


def test_a_model_that_takes_gradients_at_inference_still_says_so() -> None:
    class Dynamic(Random):
        dynamic = True

    assert EOTOracle(Dynamic(), 2).dynamic
    assert not EOTOracle(Random(), 2).dynamic


def test_an_attack_that_takes_means_by_itself_takes_no_means_of_means() -> None:
    images, labels = batch(2)
    parameters = AutoAttackParameters(version="rand", steps=1)
    with pytest.raises(ValueError, match="autoattack takes the mean of 20 answers by itself"):
        attack(Random(), images, labels, parameters, eot=2)
    (flag,) = [
        flag for flag in attack(Random(), images, labels, parameters).flags if flag.name == "randomised"
    ]
    assert "mean of 20 answers" in flag.meaning


@pytest.mark.parametrize("samples", [0, -1])
def test_no_samples_are_refused(samples: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        attack(Random(), *batch(2), PGDParameters(), eot=samples)


class Wavering(Linear):
    """A linear model whose logits waver: near the boundary, it is fooled half of the time."""

    draw = np.random.default_rng(0)

    def logits(self, images: np.ndarray) -> np.ndarray:
        found = super().logits(images)
        return found + self.draw.normal(size=found.shape).astype(np.float32)


def test_an_image_that_just_fools_the_mean_fools_fewer_single_answers() -> None:
    images, labels = batch(40)
    still = Linear.random(SHAPE, CLASSES)
    model = Wavering(8 * still.weight, 8 * still.bias)

    def fooled(stop_at_success: bool) -> float:
        parameters = PGDParameters(
            epsilon=0.02, steps=20, step_size=0.001, random_start=False, stop_at_success=stop_at_success
        )
        moved = attack(model, images, labels, parameters, eot=20).images
        return float(np.mean([model.logits(moved).argmax(1) != labels for _ in range(50)]))

    assert fooled(False) > fooled(True) + 0.1


def test_autoattack_does_not_stop_at_what_just_fools_the_mean() -> None:
    members = AutoAttackParameters(version="rand").members
    assert [member.model_dump()["stop_at_success"] for member in members] == [False, False]
