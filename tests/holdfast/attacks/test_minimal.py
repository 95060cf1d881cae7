"""Every attack that looks for the smallest perturbation, on linear models, where it has a closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.linear import Linear

from holdfast.attacks import AttackResult, attack, catalogue
from holdfast.attacks.parameters import MinimalParameters

#: Where the defaults are more than models as small as these need.
FEWER: dict[str, dict[str, Any]] = {"cw-l2": {"steps": 150}, "rays": {"query_budget": 4000}}
NAMES = [name for name, kind in catalogue().items() if kind.minimises]
CASES = [((1, 4, 4), 1), ((3, 6, 6), 5), ((3, 12, 12), 20)]


def make(shape: tuple[int, int, int], n: int, classes: int) -> tuple[Linear, np.ndarray, np.ndarray]:
    """A model and images so far within [0, 1] that its edges play no part, 0.1 or more from any boundary."""
    model = Linear.random(shape, classes, seed=n)
    images = (0.35 + 0.3 * np.random.default_rng(n).random((400, *shape))).astype(np.float32)
    labels = model.logits(images).argmax(1)
    far = np.flatnonzero(model.smallest(images, labels, "l2") > 0.1)[:n]
    assert len(far) == n
    return model, images[far], labels[far]


def parameters_of(name: str, **changes: Any) -> MinimalParameters:
    found = catalogue()[name].parameters.model_validate(FEWER.get(name, {}) | changes)
    assert isinstance(found, MinimalParameters)
    return found


def reached(result: AttackResult, parameters: MinimalParameters) -> np.ndarray:
    norms: np.ndarray = result.l2 if parameters.norm == "l2" else result.linf
    return norms


@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize(("shape", "n"), CASES)
@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_perturbation_is_found_on_linear_models(
    name: str, shape: tuple[int, int, int], n: int, classes: int
) -> None:
    model, images, labels = make(shape, n, classes)
    parameters = parameters_of(name)
    result = attack(model, images, labels, parameters)
    assert result.success.all()
    ratios = reached(result, parameters) / model.smallest(images, labels, parameters.norm)
    assert ratios.min() >= 1 - 1e-3, "nothing can be nearer than the nearest"
    # With two classes there is one boundary; with more, an image may settle at the second nearest.
    assert (ratios.max() if classes == 2 else np.median(ratios)) <= 1.25


@pytest.mark.parametrize("name", NAMES)
def test_with_a_budget_only_what_is_within_it_counts(name: str) -> None:
    model, images, labels = make((3, 6, 6), 16, 2)
    free = parameters_of(name)
    needed = model.smallest(images, labels, free.norm)
    bounded = parameters_of(name, epsilon=float(np.median(needed)))
    result = attack(model, images, labels, bounded)
    norms = reached(result, bounded)
    assert norms.max() <= bounded.epsilon * (1 + 1e-5)
    assert not result.success[needed > bounded.epsilon].any()
    assert result.success[needed * 1.1 < bounded.epsilon].all()
    np.testing.assert_array_equal(result.images[~result.success], images[~result.success])


@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_is_found_the_image_comes_back_as_it_was(name: str) -> None:
    class Constant(Linear):
        """Says the same of every image, and leads nowhere."""

        def logits(self, images: np.ndarray) -> np.ndarray:
            return np.broadcast_to(self.bias, (len(images), self.classes)).copy()

    model = Constant(np.zeros((3, 48)), np.array([1.0, 0.0, -1.0]))
    images = np.random.default_rng(0).random((4, 3, 4, 4), dtype=np.float32)
    result = attack(model, images, np.zeros(4, dtype=np.int64), parameters_of(name))
    assert not result.success.any()
    np.testing.assert_array_equal(result.images, images)
