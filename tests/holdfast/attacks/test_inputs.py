"""What attacks are given: refused where it cannot be meant, and taken as it is where it is only unusual."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.attacks import QUICK, quick
from support.linear import Linear

from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.fab import FABParameters
from holdfast.attacks.torch_oracle import TorchOracle

SHAPE, CLASSES = (3, 5, 5), 5


def batch(n: int = 6, shape: tuple[int, int, int] = SHAPE, classes: int = CLASSES) -> Any:
    """A linear model, images, and what it says of them."""
    model = Linear.random(shape, classes)
    images = np.random.default_rng(1).random((n, *shape), dtype=np.float32)
    return model, images, model.logits(images).argmax(1)


def refused(images: Any, labels: Any, words: str, **arguments: Any) -> None:
    with pytest.raises(ValueError, match=words):
        attack(batch()[0], images, labels, PGDParameters(steps=1), **arguments)


@pytest.mark.parametrize("kind", [np.uint8, np.float64, np.float16])
def test_images_that_are_not_float32_are_refused(kind: Any) -> None:
    _, images, labels = batch()
    refused(
        (255 * images).astype(kind), labels, r"images are float32 in \[0, 1\], not (uint8|float64|float16)"
    )


def test_torch_images_of_another_type_are_refused_too() -> None:
    model, images, labels = batch()
    oracle = TorchOracle(lambda x: x.flatten(1) @ torch.from_numpy(model.weight).T, CLASSES)
    with pytest.raises(ValueError, match=r"float32 in \[0, 1\], not torch.float64"):
        attack(oracle, torch.from_numpy(images).double(), torch.from_numpy(labels), PGDParameters())


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, np.nan, np.inf])
def test_images_outside_of_the_range_are_refused(value: float) -> None:
    _, images, labels = batch()
    images[2, 1, 3, 0] = value
    refused(images, labels, r"images are in \[0, 1\], not from")


def test_no_images_are_refused() -> None:
    _, images, labels = batch()
    refused(images[:0], labels[:0], "no images")


def test_labels_and_targets_that_are_no_classes_are_refused() -> None:
    _, images, labels = batch()
    refused(images, labels.astype(np.float32), "labels are integers, not float32")
    refused(images, labels - 5, "labels are classes 0 to 4, not -")
    refused(images, labels, "targets are classes 0 to 4, not 9 to 9", targets=np.full(6, 9))
    refused(images, labels, "targets have the shape", targets=labels[:2])


def test_a_model_of_one_class_is_refused() -> None:
    model, images, labels = batch()
    with pytest.raises(ValueError, match="a model of 1 class cannot be fooled"):
        attack(Linear(model.weight[:1], model.bias[:1]), images, 0 * labels, FABParameters())


@pytest.mark.parametrize("name", list(QUICK))
@pytest.mark.parametrize("kind", [np.uint8, np.int32])
def test_labels_of_narrow_types_mean_the_same(name: str, kind: Any) -> None:
    model, images, labels = batch()
    wide, narrow = (
        attack(model, images, given, quick(name, epsilon=0.1)) for given in (labels, labels.astype(kind))
    )
    assert np.array_equal(wide.images, narrow.images)


def test_torch_takes_no_narrow_labels_for_a_mask() -> None:
    model, images, labels = batch()
    oracle = TorchOracle(lambda x: x.flatten(1) @ torch.from_numpy(model.weight).T, CLASSES)
    images = torch.from_numpy(images)
    wide, narrow = (
        attack(oracle, images, torch.from_numpy(labels.astype(kind)), quick("fab-t"))
        for kind in (np.int64, np.uint8)
    )
    assert torch.equal(wide.images, narrow.images)


@pytest.mark.parametrize("name", list(QUICK))
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_few_classes_and_small_images_of_any_shape_are_attacked(name: str, norm: str, classes: int) -> None:
    for shape in ((1, 1, 1), (3, 1, 7), (1, 9, 2)):
        model, images, _ = batch(4, shape, classes)
        for given in (images, images.round()):  # inside, and at the corners of the range
            labels = model.logits(given).argmax(1)
            parameters = quick(name, epsilon=0.3, norm=norm)
            result = attack(model, given, labels, parameters)
            assert result.images.min() >= 0
            assert result.images.max() <= 1
            if parameters.budget is not None:
                reached = result.linf if parameters.budget[0] == "linf" else result.l2
                assert reached.max() <= 0.3 * (1 + 1e-5)


@pytest.mark.parametrize("name", list(QUICK))
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("epsilon", [1e-30, 3.0, 1000.0])
def test_budgets_smaller_than_rounding_and_larger_than_the_range_are_kept(
    name: str, norm: str, epsilon: float
) -> None:
    model, images, labels = batch()
    result = attack(model, images, labels, quick(name, epsilon=epsilon, norm=norm))
    assert np.isfinite(result.images).all()
    assert result.images.min() >= 0
    assert result.images.max() <= 1


@pytest.mark.parametrize("name", [name for name in QUICK if "target" in type(quick(name)).model_fields])
def test_an_image_whose_target_is_its_own_class_is_left_alone(name: str) -> None:
    model, images, labels = batch()
    wrong = (labels + 1) % CLASSES  # the model gets all of them wrong
    result = attack(model, images, wrong, quick(name, epsilon=0.3), targets=wrong)
    assert not result.success.any()
    assert np.array_equal(result.images, images)
    assert (result.queries == 1).all()
