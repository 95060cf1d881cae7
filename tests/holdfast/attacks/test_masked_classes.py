"""Models that mask classes out, with logits of −∞: they are attacked as models without those classes are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.attacks import QUICK, quick
from support.linear import Linear
from torch import Tensor

from holdfast.attacks import AttackResult, GradientAnswer, Loss, attack, find
from holdfast.attacks.torch_oracle import TorchOracle

SHAPE, CLASSES = (3, 5, 5), 8
OPEN = [0, 2, 3, 5, 6]
WITH_GRADIENTS = [name for name in QUICK if find(name).access == "gradient"]
MODEL = Linear.random(SHAPE, CLASSES)


class Masked(TorchOracle):
    """The linear model by autograd, with no other class than the open ones."""

    def __init__(self) -> None:
        weight, bias = torch.from_numpy(MODEL.weight), torch.from_numpy(MODEL.bias)
        shut = torch.tensor([name not in OPEN for name in range(CLASSES)])

        def logits(images: Tensor) -> Tensor:
            return (images.flatten(1) @ weight.T + bias).masked_fill(shut, -torch.inf)

        super().__init__(logits, CLASSES)


class Lossless(Masked):
    """The same where every loss of such logits is NaN, though the gradient is right."""

    def gradient(self, *arguments: Any, **keywords: Any) -> GradientAnswer:
        answer = super().gradient(*arguments, **keywords)
        return GradientAnswer(answer.logits, torch.full_like(answer.loss, torch.nan), answer.gradient)


def run(oracle: TorchOracle, name: str, **changes: Any) -> AttackResult:
    images = torch.from_numpy(np.random.default_rng(1).random((30, *SHAPE), dtype=np.float32))
    return attack(oracle, images, oracle.logits(images).argmax(1), quick(name, **changes))


@pytest.mark.parametrize("name", list(QUICK))
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_as_many_images_fall_as_without_those_classes(name: str, norm: str) -> None:
    weight, bias = (torch.from_numpy(array[OPEN]) for array in (MODEL.weight, MODEL.bias))
    rest = TorchOracle(lambda images: images.flatten(1) @ weight.T + bias, len(OPEN))
    changes: dict[str, Any] = {"norm": norm, "epsilon": 0.03 if norm == "linf" else 0.15, "classes": 4}
    masked, whole = run(Masked(), name, **changes), run(rest, name, **changes)
    assert masked.success.sum() >= whole.success.sum() - 1
    assert masked.images.isfinite().all()
    assert [flag.name for flag in masked.flags] == [flag.name for flag in whole.flags]


@pytest.mark.parametrize("name", ["cw-l2", "ddn", "pgd", "fab", "fab-t"])
def test_an_oracle_without_a_loss_is_attacked_by_its_gradient(name: str) -> None:
    result = run(Lossless(), name, epsilon=0.5, steps=40)
    assert result.images.isfinite().all()
    assert result.unanswered == 0
    if name in ("cw-l2", "ddn", "pgd"):
        assert result.success.sum() == run(Masked(), name, epsilon=0.5, steps=40).success.sum() > 0


@pytest.mark.parametrize("loss", list(Loss), ids=lambda loss: loss.label)
def test_every_loss_and_its_gradient_are_numbers(loss: Loss) -> None:
    images = torch.from_numpy(np.random.default_rng(1).random((8, *SHAPE), dtype=np.float32))
    labels, targets = torch.full((8,), OPEN[0]), torch.full((8,), OPEN[1])
    answer = Masked().gradient(images, labels, loss, targets)
    assert answer.loss.isfinite().all()
    assert answer.gradient.isfinite().all()
    assert answer.gradient.abs().amax() > 0


def test_only_classes_that_are_not_the_label_are_aimed_at() -> None:
    """With the label among the classes of −∞, a run would be spent on the image as it is."""
    asked: list[int] = []

    class Aimed(Masked):
        def gradient(self, images: Tensor, labels: Tensor, *arguments: Any) -> GradientAnswer:
            asked.append(int((labels == arguments[1]).sum()))
            return super().gradient(images, labels, *arguments)

    run(Aimed(), "apgd-t", epsilon=1e-4, classes=CLASSES)
    assert asked
    assert not any(asked)
