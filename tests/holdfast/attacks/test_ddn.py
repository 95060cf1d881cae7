"""DDN: against foolbox and adv-lib, on grey levels, and where the gradient vanishes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.linear import Linear
from support.references import adv_lib, by_foolbox, by_foolbox_towards, foolbox
from torch import Tensor

from holdfast.attacks import GradientAnswer, attack
from holdfast.attacks.ddn import DDNParameters
from holdfast.attacks.torch_oracle import TorchOracle
from training.models import Network


@pytest.fixture
def known(digits_network: Network, unseen_digits: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Digits that the network gets right."""
    images, labels = (part[:30] for part in unseen_digits)
    right = digits_network(images).argmax(1) == labels
    return images[right], labels[right]


def norms(found: Tensor, images: Tensor) -> np.ndarray:
    return (found - images).flatten(1).norm(dim=1).numpy()


def held_against(found: Tensor, reference: Tensor, images: Tensor) -> None:
    mine, theirs = norms(found, images), norms(reference, images)
    reached = mine > 0  # of what they do not find, they make different things
    assert reached.mean() > 0.9
    mine, theirs = mine[reached], theirs[reached]
    assert np.median(mine) == pytest.approx(np.median(theirs), rel=0.03)
    # And image by image: rounding may send one or two of them another way.
    assert np.mean(np.abs(mine - theirs) < 0.03 * theirs) > 0.9


SETTINGS = [{"steps": 60}, {"steps": 40, "gamma": 0.1, "initial_norm": 0.4}]


@pytest.mark.parametrize("settings", SETTINGS)
def test_it_is_foolboxs(
    digits_network: Network, known: tuple[Tensor, Tensor], settings: dict[str, Any]
) -> None:
    parameters = DDNParameters(**settings)
    reference = foolbox.attacks.DDNAttack(
        init_epsilon=parameters.initial_norm, steps=parameters.steps, gamma=parameters.gamma
    )
    result = attack(TorchOracle(digits_network, 10), *known, parameters)
    held_against(result.images, by_foolbox(reference, digits_network, *known), known[0])


def test_towards_a_target_it_is_foolboxs(digits_network: Network, known: tuple[Tensor, Tensor]) -> None:
    images, labels = known
    targets = (labels + 3) % 10
    reference = foolbox.attacks.DDNAttack(steps=60)
    result = attack(TorchOracle(digits_network, 10), images, labels, DDNParameters(steps=60), targets=targets)
    assert torch.equal(result.success, digits_network(result.images).argmax(1) == targets)
    assert result.success.float().mean() > 0.9
    held_against(result.images, by_foolbox_towards(reference, digits_network, images, targets), images)


@pytest.mark.parametrize("levels", [None, 256])
def test_it_is_its_authors(digits_network: Network, known: tuple[Tensor, Tensor], levels: int | None) -> None:
    reference = adv_lib().ddn(digits_network, *known, steps=60, levels=levels)
    result = attack(TorchOracle(digits_network, 10), *known, DDNParameters(steps=60, levels=levels))
    held_against(result.images, reference, known[0])


def test_on_256_grey_levels_nothing_is_lost_by_rounding() -> None:
    model = Linear.random((3, 6, 6), 4)
    images = (np.random.default_rng(0).integers(60, 196, (30, 3, 6, 6)) / 255).astype(np.float32)
    labels = model.logits(images).argmax(1)
    result = attack(model, images, labels, DDNParameters(levels=256))
    np.testing.assert_allclose(result.images * 255, (result.images * 255).round(), atol=1e-3)
    assert result.success.all()
    assert result.survives_rounding.all()
    free = attack(model, images, labels, DDNParameters())
    assert free.l2.mean() < result.l2.mean()


def test_a_vanished_gradient_is_replaced_by_a_random_direction() -> None:
    class Blind(Linear):
        """Its gradient is zero but where the image has changed."""

        originals: np.ndarray

        def gradient(self, images: np.ndarray, *arguments: Any) -> GradientAnswer:
            answer = super().gradient(images, *arguments)
            moved = np.abs(images - self.originals).max((1, 2, 3), keepdims=True) > 0
            return GradientAnswer(answer.logits, answer.loss, answer.gradient * moved)

    model = Linear.random((3, 6, 6), 3)
    blind = Blind(model.weight, model.bias)
    images = (0.3 + 0.4 * np.random.default_rng(0).random((10, 3, 6, 6))).astype(np.float32)
    labels = model.logits(images).argmax(1)
    blind.originals = images
    result = attack(blind, images, labels, DDNParameters())
    assert result.success.all()
    sighted = attack(model, images, labels, DDNParameters())
    assert np.median(result.l2) < 1.1 * np.median(sighted.l2)


def test_a_gradient_too_small_to_square_still_leads() -> None:
    model = Linear.random((3, 6, 6), 3)

    class Faint(Linear):
        """A very sure model's cross-entropy: all of its gradient is below 1e-25."""

        def gradient(self, images: np.ndarray, *arguments: Any) -> GradientAnswer:
            answer = super().gradient(images, *arguments)
            return GradientAnswer(answer.logits, answer.loss, answer.gradient * np.float32(1e-26))

    images = (0.3 + 0.4 * np.random.default_rng(0).random((10, 3, 6, 6))).astype(np.float32)
    labels = model.logits(images).argmax(1)
    result = attack(Faint(model.weight, model.bias), images, labels, DDNParameters())
    np.testing.assert_allclose(result.l2, attack(model, images, labels, DDNParameters()).l2, rtol=1e-3)
