"""RayS: what it asks and how often; the radius that it finds is held to the closed form in test_minimal."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from support.linear import Linear
from support.masked import Quantised
from torch import Tensor

from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.rays import RaySParameters
from holdfast.attacks.torch_oracle import TorchOracle
from training.models import Network

SHAPE = (3, 6, 6)


def batch(n: int = 20, classes: int = 4) -> tuple[Linear, np.ndarray, np.ndarray]:
    model = Linear.random(SHAPE, classes)
    images = (0.3 + 0.4 * np.random.default_rng(1).random((n, *SHAPE))).astype(np.float32)
    return model, images, model.logits(images).argmax(1)


class Decisions:
    """A model that tells the class that it predicts, and nothing else."""

    def __init__(self, model: Linear) -> None:
        self.model = model
        self.classes = model.classes

    def logits(self, images: np.ndarray) -> np.ndarray:
        return np.eye(self.classes, dtype=np.float32)[self.model.logits(images).argmax(1)]

    def gradient(self, *arguments: Any) -> Any:
        raise AssertionError("a hard-label attack asks for no gradient")


def test_the_predicted_class_is_all_that_it_looks_at() -> None:
    model, images, labels = batch()
    parameters = RaySParameters(query_budget=500)
    scores, decisions = (attack(o, images, labels, parameters) for o in (model, Decisions(model)))
    np.testing.assert_array_equal(scores.images, decisions.images)
    assert decisions.success.all()


def test_it_breaks_a_model_that_has_no_gradient(
    digits_network: Network, unseen_digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = (part[:20] for part in unseen_digits)
    oracle = TorchOracle(Quantised(digits_network), 10)
    blind = attack(oracle, images, labels, PGDParameters(epsilon=0.2, random_start=False, steps=3))
    assert [flag.name for flag in blind.flags] == ["zero_gradient"]
    seeing = attack(oracle, images, labels, RaySParameters(epsilon=0.2, query_budget=400, tolerance=0.001))
    assert seeing.success.float().mean() > blind.success.float().mean() + 0.5


def test_more_queries_never_find_a_larger_radius() -> None:
    model, images, labels = batch()
    radii = [
        attack(model, images, labels, RaySParameters(query_budget=queries)).linf
        for queries in (50, 200, 800, 3200)
    ]
    for fewer, more in itertools.pairwise(radii):
        assert (more <= fewer + 1e-6).all()
    assert radii[3].mean() < 0.7 * radii[0].mean()


def test_the_query_budget_is_kept_to_the_last_query() -> None:
    model, images, labels = batch()
    for budget in (1, 7, 100):
        result = attack(model, images, labels, RaySParameters(query_budget=budget))
        assert result.queries.max() <= budget + 3
        assert result.backwards == 0


def test_an_image_costs_no_more_once_it_is_fooled_within_its_budget() -> None:
    model, images, labels = batch()
    radius = attack(model, images, labels, RaySParameters(query_budget=2000)).linf
    epsilon = float(np.median(radius)) * 1.2
    result = attack(model, images, labels, RaySParameters(query_budget=2000, epsilon=epsilon))
    whole = attack(
        model, images, labels, RaySParameters(query_budget=2000, epsilon=epsilon, stop_at_success=False)
    )
    np.testing.assert_array_equal(result.success, whole.success)
    np.testing.assert_array_equal(result.success, radius <= epsilon)
    won = result.success
    assert result.queries[won].mean() < 0.6 * whole.queries[won].mean()
    assert (whole.linf[won] <= result.linf[won] + 1e-6).all()


def test_an_image_that_no_flip_brings_nearer_is_done() -> None:
    model, images, labels = batch(classes=2)
    result = attack(model, images, labels, RaySParameters(query_budget=100_000))
    assert result.queries.max() < 5_000


def test_a_target_is_reached_where_it_is_given() -> None:
    model, images, labels = batch()
    targets = (labels + 1) % 4
    result = attack(model, images, labels, RaySParameters(query_budget=2000), targets=targets)
    assert result.success.mean() > 0.7
    reached = model.logits(result.images).argmax(1) == targets
    np.testing.assert_array_equal(result.success, reached)
    untargeted = attack(model, images, labels, RaySParameters(query_budget=2000))
    assert np.median(result.linf[result.success]) > np.median(untargeted.linf)
