"""The flag of vanished gradients is about images, not about steps: who holds longest does not count most."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.linear import Linear

from holdfast.attacks import AttackResult, AutoAttackParameters, GradientAnswer, Loss, PGDParameters, attack

SHAPE, CLASSES = (3, 5, 5), 5
MODEL = Linear.random(SHAPE, CLASSES)


class Masked(Linear):
    """Has no gradient wherever ``hides`` says so of images, labels and loss."""

    hides: Any

    def gradient(self, images: np.ndarray, labels: np.ndarray, loss: Any, *rest: Any) -> GradientAnswer:
        answer = super().gradient(images, labels, loss, *rest)
        hidden = self.hides(images, labels, loss)[:, None, None, None]
        return GradientAnswer(answer.logits, answer.loss, np.where(hidden, 0, answer.gradient))


def run(hides: Any, parameters: Any, n: int = 30, **options: Any) -> AttackResult:
    images = np.random.default_rng(1).random((n, *SHAPE), dtype=np.float32)
    model = Masked(MODEL.weight, MODEL.bias)
    model.hides = hides
    return attack(model, images, model.logits(images).argmax(1), parameters, **options)


def raised(result: AttackResult) -> list[str]:
    return [flag.name for flag in result.flags if flag.name == "zero_gradient"]


def test_an_image_whose_gradient_vanishes_now_and_then_is_attacked_all_the_same() -> None:
    calls = iter(range(100))
    result = run(
        lambda images, *_: np.full(len(images), next(calls) % 3 == 0),
        PGDParameters(epsilon=1e-4, steps=9, stop_at_success=False),
    )
    assert (result.gradients, result.zero_gradients) == (30, 0)
    assert raised(result) == []


@pytest.mark.parametrize("batch_size", [7, 30])
def test_an_image_that_holds_in_every_step_counts_once(batch_size: int) -> None:
    images = np.random.default_rng(1).random((30, *SHAPE), dtype=np.float32)
    dark = images[4].mean()

    def fourth(seen: np.ndarray, *_: Any) -> np.ndarray:
        hidden: np.ndarray = np.abs(seen.mean(axis=(1, 2, 3)) - dark) < 1e-6
        return hidden

    parameters = PGDParameters(epsilon=1, step_size=0.3, steps=50, random_start=False)
    result = run(fourth, parameters, batch_size=batch_size)
    assert result.success.sum() == 29
    assert (result.gradients, result.zero_gradients) == (30, 1)
    (flag,) = [flag for flag in result.flags if flag.name == "zero_gradient"]
    assert flag.meaning.startswith("zero gradient on 3% of the images, ")


def test_an_ensembles_attacks_are_counted_each_by_itself() -> None:
    result = run(
        lambda images, labels, loss: np.full(len(images), loss is Loss.CROSS_ENTROPY),
        AutoAttackParameters(epsilon=1e-4, steps=8, query_budget=5),
    )
    assert not result.success.any()
    assert (result.gradients, result.zero_gradients) == (3 * 30, 30)
    assert raised(result) == ["zero_gradient"]
