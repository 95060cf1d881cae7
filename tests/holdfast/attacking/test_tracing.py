"""The way of an attack is what it tries of the first image itself, and nothing that is asked around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.attacks import QUICK, quick
from support.linear import Linear

from holdfast.attacking.execution import execute
from holdfast.attacking.tracing import Trace
from holdfast.attacks import GradientAnswer, SPSAParameters, find
from holdfast.attacks.parameters import CHECKS

SHAPE, CLASSES = (3, 5, 5), 5
BLACK_BOXES = [name for name in QUICK if find(name).access != "gradient"]


class Two(Linear):
    """A linear model that says of the margin that it is ten times as large."""

    def gradient(self, images: np.ndarray, labels: np.ndarray, loss: Any, *rest: Any) -> GradientAnswer:
        answer = super().gradient(images, labels, loss, *rest)
        size = 10 if loss.label == "cw" else 1
        return GradientAnswer(answer.logits, size * answer.loss, size * answer.gradient)


def images(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random((count, *SHAPE), dtype=np.float32)


def traced(parameters: Any, count: int = 3, most: int = 10_000, **options: Any) -> tuple[Trace, Any]:
    found = execute(Two.random(SHAPE, CLASSES), images(count), None, parameters, trace=most, **options)
    assert found.trace is not None
    return found.trace, found.result


@pytest.mark.parametrize("name", BLACK_BOXES)
def test_a_black_box_shows_what_it_asks_and_not_what_the_engine_does(name: str) -> None:
    trace, result = traced(quick(name, epsilon=1e-4))
    around = CHECKS.forwards if result.success[0] else CHECKS.forwards - 1
    assert trace.queries == result.queries[0] - around
    clean = images()[0]
    assert not any(np.array_equal(iterate.image, clean) for iterate in trace.iterates[-2:])
    assert all(iterate.loss is None for iterate in trace.iterates)


def test_every_image_of_an_estimate_counts() -> None:
    trace, _ = traced(SPSAParameters(steps=2, samples=6, samples_per_call=4, epsilon=1e-4))
    assert trace.queries == len(trace.iterates) == 2 * 2 * 6 + 1
    model = Linear.random(SHAPE, CLASSES)
    for iterate in trace.iterates:
        np.testing.assert_allclose(iterate.logits, model.logits(iterate.image[None])[0], atol=1e-5)
    few, _ = traced(SPSAParameters(steps=2, samples=6, samples_per_call=4, epsilon=1e-4), most=4)
    assert (few.queries, few.every, [iterate.query for iterate in few.iterates]) == (25, 8, [0, 8, 16, 24])


def test_a_sum_of_losses_is_one_step_with_the_sum() -> None:
    steps = {"steps": 4, "epsilon": 1e-4, "random_start": False}
    single, _ = traced(quick("pgd", loss="cw", **steps, restarts=1))
    both, _ = traced(quick("pgd", loss="ce+0.5*cw", **steps, restarts=1))
    other, _ = traced(quick("pgd", loss="ce", **steps, restarts=1))
    assert (single.queries, both.queries) == (4, 4)
    first = [trace.iterates[0].loss or 0.0 for trace in (other, single, both)]
    assert first[2] == pytest.approx(first[0] + 0.5 * first[1], rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_it_is_the_first_image_whichever_fall_before_it(batch_size: int) -> None:
    parameters = quick("square", epsilon=0.03)
    alone, _ = traced(parameters, count=1)
    among, result = traced(parameters, count=5, batch_size=batch_size)
    assert 0 < result.success.sum() < 5
    assert among.queries == alone.queries
    for ours, theirs in zip(among.iterates, alone.iterates, strict=True):
        np.testing.assert_allclose(ours.image, theirs.image, atol=1e-6)


def test_of_an_image_that_is_left_alone_there_is_no_way() -> None:
    labels = Linear.random(SHAPE, CLASSES).logits(images()).argmax(1)
    found = execute(Two.random(SHAPE, CLASSES), images(), (labels + 1) % CLASSES, quick("square"), trace=5)
    assert found.trace == Trace(0, 1, [])
