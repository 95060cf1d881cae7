"""Crafted on another model, or on means: an attack takes every step, unless it is told to stop at success."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.linear import Linear

from holdfast.attacks import (
    APGDParameters,
    AttackResult,
    AutoAttackParameters,
    PGDParameters,
    RaySParameters,
    attack,
)
from holdfast.attacks.parameters import AttackParameters

SHAPE, CLASSES = (3, 6, 6), 5
MODEL = Linear.random(SHAPE, CLASSES)
#: Not quite the same model.
NOISE = np.random.default_rng(2).normal(size=MODEL.weight.shape)
OTHER = Linear(MODEL.weight + 0.6 * NOISE, MODEL.bias + 0.6 * NOISE.sum(1) / -2)
ELSEWHERE: list[dict[str, Any]] = [{"source": OTHER}, {"eot": 3}]


def run(parameters: AttackParameters, n: int = 60, **options: Any) -> AttackResult:
    images = np.random.default_rng(1).random((n, *SHAPE), dtype=np.float32)
    labels = MODEL.logits(images).argmax(1)
    alike = OTHER.logits(images).argmax(1) == labels
    return attack(MODEL, images[alike], labels[alike], parameters, **options)


@pytest.mark.parametrize("options", ELSEWHERE, ids=["source", "means"])
@pytest.mark.parametrize("kind", [PGDParameters, APGDParameters])
def test_an_attack_in_python_takes_every_step_as_one_of_a_command_does(
    options: dict[str, Any], kind: type[Any]
) -> None:
    steps = {"epsilon": 0.05, "steps": 8}
    going_on = run(kind(**steps, stop_at_success=False), **options)
    assert np.array_equal(run(kind(**steps), **options).images, going_on.images)
    stopping = run(kind(**steps, stop_at_success=True), **options)
    assert stopping.queries.sum() < going_on.queries.sum()
    assert not np.array_equal(stopping.images, going_on.images)


def test_a_model_that_is_attacked_by_its_own_answers_is_left_alone_once_it_is_fooled() -> None:
    steps = {"epsilon": 0.05, "steps": 8}
    here, stopping = (
        run(PGDParameters.model_validate(steps | more)) for more in ({}, {"stop_at_success": True})
    )
    assert np.array_equal(here.images, stopping.images)


def test_an_attack_that_has_no_such_parameter_or_another_meaning_of_it_runs() -> None:
    assert run(RaySParameters(query_budget=50, epsilon=0.2), 9, source=OTHER).queries.max() > 50
    assert run(AutoAttackParameters(steps=2, query_budget=3), 9, source=OTHER).backwards > 0


@pytest.mark.parametrize("options", ELSEWHERE, ids=["source", "means"])
@pytest.mark.parametrize("version", ["standard", "plus"])
def test_autoattack_does_not_stop_at_what_only_just_fools_what_it_is_crafted_on(
    options: dict[str, Any], version: Any
) -> None:
    parameters = AutoAttackParameters(epsilon=0.05, steps=8, query_budget=5, version=version)
    restarts = 5 if version == "plus" else 1
    found = run(parameters, **options)
    first = run(APGDParameters(epsilon=0.05, steps=8, restarts=restarts, stop_at_success=False), **options)
    fell = found.fooled_by == "apgd-ce"
    assert fell.sum() > 5
    np.testing.assert_array_equal(found.images[fell], first.images[fell])


def test_so_more_of_its_images_fool_another_model() -> None:
    within: dict[str, Any] = {"norm": "l2", "epsilon": 0.12, "steps": 20}
    found = run(AutoAttackParameters(**within, query_budget=5), 300, source=OTHER)
    stopping = run(APGDParameters(**within, stop_at_success=True), 300, source=OTHER)
    fell = found.fooled_by == "apgd-ce"
    assert found.success[fell].mean() > stopping.success[fell].mean() + 0.05
