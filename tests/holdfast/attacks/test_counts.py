"""What a result says was spent is what the model was asked, by every attack and however it is run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.attacks import QUICK, quick
from support.linear import Linear

from holdfast.attacks import GradientAnswer, attack
from holdfast.attacks.eot import EOTOracle
from holdfast.attacks.parameters import TWICE, announced

SHAPE, CLASSES = (3, 5, 5), 5


class Counting:
    """A linear model that counts the images it is asked about."""

    classes = CLASSES

    def __init__(self, seed: int = 0) -> None:
        self.inner = Linear.random(SHAPE, CLASSES, seed)
        self.forwards = self.backwards = 0

    def logits(self, images: np.ndarray) -> np.ndarray:
        self.forwards += len(images)
        return self.inner.logits(images)

    def gradient(self, images: np.ndarray, *arguments: Any) -> GradientAnswer:
        self.forwards += len(images)
        self.backwards += len(images)
        return self.inner.gradient(images, *arguments)


def batch(n: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Some images that the model gets right and some that it gets wrong."""
    images = np.random.default_rng(1).random((n, *SHAPE), dtype=np.float32)
    labels = Linear.random(SHAPE, CLASSES).logits(images).argmax(1)
    labels[::4] = (labels[::4] + 1) % CLASSES
    return images, labels


@pytest.mark.parametrize("name", list(QUICK))
@pytest.mark.parametrize("n", [3, 20])
def test_every_pass_is_counted_and_none_that_was_not_made(name: str, n: int) -> None:
    model = Counting()
    result = attack(model, *batch(n), quick(name, epsilon=0.02), batch_size=7)
    assert (result.forwards, result.backwards) == (model.forwards, model.backwards)
    assert result.forwards == result.queries.sum() + min(n, TWICE)


@pytest.mark.parametrize("name", list(QUICK))
def test_passes_of_the_model_that_an_image_is_crafted_on_count_too(name: str) -> None:
    model, source = Counting(), Counting(seed=1)
    result = attack(model, *batch(), quick(name, epsilon=0.02), source=source, batch_size=7)
    assert result.forwards == model.forwards + source.forwards
    assert result.backwards == source.backwards
    assert model.backwards == 0


@pytest.mark.parametrize("name", list(QUICK))
@pytest.mark.parametrize("transfer", [False, True])
@pytest.mark.parametrize("eot", [1, 3])
def test_no_image_costs_more_than_was_announced(name: str, transfer: bool, eot: int) -> None:
    model = Counting()
    images, labels = batch()
    parameters = quick(name, epsilon=0.001)  # within which few fall: most take every step
    source = Counting(seed=1) if transfer else None
    result = attack(model, images, labels, parameters, source=source, eot=eot)
    cost = announced(parameters, CLASSES, eot=eot, transfer=transfer)
    assert result.queries.max() <= cost.forwards
    assert result.backwards <= cost.backwards * len(images)


def test_an_attack_that_nothing_ends_early_costs_what_was_announced() -> None:
    parameters = quick("pgd", epsilon=0.001, stop_at_success=False)
    model = Counting()
    result = attack(model, *batch(), parameters)
    cost = announced(parameters, CLASSES)
    assert result.backwards == cost.backwards * len(result.queries) - 5 * int(result.success.sum())
    held = ~result.success
    assert (result.queries[held] == cost.forwards - 1).all(), "the result in 8 bits is asked of what fooled"


def test_a_model_whose_answers_cost_several_passes_is_charged_for_each() -> None:
    model = Counting()
    result = attack(EOTOracle(model, 3), *batch(), quick("pgd", epsilon=0.02))
    assert (result.forwards, result.backwards) == (model.forwards, model.backwards)
    assert result.forwards == result.queries.sum() + 3 * TWICE


def test_what_is_wrong_before_is_not_crafted_on_another_model() -> None:
    images, labels = batch()
    wrong = Linear.random(SHAPE, CLASSES).logits(images).argmax(1) != labels
    parameters = quick("pgd", epsilon=0.02, stop_at_success=True)
    result = attack(Counting(), images, labels, parameters, source=Counting(seed=1))
    assert (result.queries[wrong] == 1).all()
    assert (result.queries[~wrong] > 3).all()
