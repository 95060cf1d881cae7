"""An attack that is to end does so before it asks the model again, however much is left of its step."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from support.attacks import QUICK, quick
from support.linear import Linear

from holdfast.attacking import remote
from holdfast.attacks import AutoAttackParameters, FABParameters, GradientAnswer, SPSAParameters, attack, find

SHAPE, CLASSES = (3, 5, 5), 5


class Stopped(Exception):  # noqa: N818
    """Nobody wants it any more."""


class Counting(Linear):
    """A linear model that counts its calls."""

    calls = 0
    pause = 0.0

    def logits(self, images: np.ndarray) -> np.ndarray:
        self.calls += 1
        time.sleep(self.pause)
        return super().logits(images)

    def gradient(self, images: np.ndarray, *arguments: Any) -> GradientAnswer:
        return super().gradient(images, *arguments)  # which asks for logits


def model() -> Counting:
    return Counting.random(SHAPE, CLASSES)  # type: ignore[return-value]


def batch(n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(1).random((n, *SHAPE), dtype=np.float32)
    return images, Linear.random(SHAPE, CLASSES).logits(images).argmax(1)


def calls_until_it_ends(parameters: Any, after: int, **options: Any) -> int:
    """Calls of the model by an attack that is to end when there have been so many."""
    asked = model()

    def check() -> None:
        if asked.calls >= after:
            raise Stopped

    with pytest.raises(Stopped):
        attack(asked, *batch(), parameters, check=check, **options)
    return asked.calls


@pytest.mark.parametrize("name", list(QUICK))
@pytest.mark.parametrize("after", [0, 1, 2])
def test_no_attack_asks_once_more(name: str, after: int) -> None:
    assert calls_until_it_ends(quick(name, epsilon=1e-4), after) == after


@pytest.mark.parametrize(
    ("parameters", "options"),
    [
        (FABParameters(steps=1), {}),  # one step, with a gradient for each other class
        (SPSAParameters(steps=1, samples=500, samples_per_call=2), {}),
        (quick("pgd", epsilon=1e-4), {"eot": 10_000}),
        (quick("square", epsilon=1e-4), {"eot": 10_000}),
        (AutoAttackParameters(version="rand", epsilon=1e-4), {}),
    ],
    ids=["fab", "spsa", "mean of gradients", "mean of scores", "mean of its own"],
)
def test_nor_does_it_end_its_step(parameters: Any, options: dict[str, Any]) -> None:
    seen: list[int] = []
    assert calls_until_it_ends(parameters, 4, progress=lambda done, total: seen.append(done), **options) == 4
    assert seen == [], "not a step was done"


def test_an_order_ends_when_its_time_is_over_and_not_with_its_step() -> None:
    slow = model()
    slow.pause = 0.01
    order = remote.RemoteOrder(attack="spsa", parameters={"samples": 100_000}, seconds=0.1)
    began = time.monotonic()
    assert remote.carry_out(slow, batch()[0], order)["stopped"] == [0, 1]
    assert time.monotonic() - began < 5
    assert find("spsa").parameters.model_validate(order.parameters).cost(CLASSES).forwards > 1_000_000
