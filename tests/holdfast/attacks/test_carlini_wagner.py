"""C&W L2: against foolbox and adv-lib, and its chain rule against autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.linear import Linear
from support.references import adv_lib, by_foolbox, by_foolbox_towards, foolbox
from torch import Tensor

from holdfast.attacks import attack
from holdfast.attacks.carlini_wagner import (
    CarliniWagnerParameters,
    after_tanh,
    before_tanh,
    descent_gradient,
)
from holdfast.attacks.torch_oracle import TorchOracle
from training.models import Network

SETTINGS: list[dict[str, Any]] = [
    {"steps": 40, "searches": 4, "initial_c": 0.1, "learning_rate": 0.05},
    {"steps": 40, "searches": 3, "initial_c": 2.0, "learning_rate": 0.1, "confidence": 2.0},
]


@pytest.fixture
def known(digits_network: Network, unseen_digits: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Digits that the network gets right."""
    images, labels = (part[:24] for part in unseen_digits)
    right = digits_network(images).argmax(1) == labels
    return images[right], labels[right]


def ours(network: Network, images: Tensor, labels: Tensor, **settings: Any) -> Tensor:
    parameters = CarliniWagnerParameters(abort_early=False, **settings)
    found: Tensor = attack(TorchOracle(network, 10), images, labels, parameters).images
    return found


def norms(found: Tensor, images: Tensor) -> np.ndarray:
    return (found - images).flatten(1).norm(dim=1).numpy()


def held_against(found: Tensor, reference: Tensor, images: Tensor) -> None:
    mine, theirs = norms(found, images), norms(reference, images)
    reached = mine > 0  # of what they do not find, foolbox makes black, and others nothing
    assert reached.mean() > 0.9
    mine, theirs = mine[reached], theirs[reached]
    assert np.median(mine) == pytest.approx(np.median(theirs), rel=0.03)
    # And image by image: rounding may send one or two of them another way.
    assert np.mean(np.abs(mine - theirs) < 0.03 * theirs) > 0.9


@pytest.mark.parametrize("settings", SETTINGS)
def test_it_is_foolboxs(
    digits_network: Network, known: tuple[Tensor, Tensor], settings: dict[str, Any]
) -> None:
    reference = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=settings["searches"],
        steps=settings["steps"],
        stepsize=settings["learning_rate"],
        confidence=settings.get("confidence", 0),
        initial_const=settings["initial_c"],
        abort_early=False,
    )
    found = ours(digits_network, *known, **settings)
    held_against(found, by_foolbox(reference, digits_network, *known), known[0])


def test_towards_a_target_it_is_foolboxs(digits_network: Network, known: tuple[Tensor, Tensor]) -> None:
    images, labels = known
    targets = (labels + 3) % 10
    reference = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=3, steps=40, stepsize=0.1, initial_const=2.0, abort_early=False
    )
    parameters = CarliniWagnerParameters(
        searches=3, steps=40, learning_rate=0.1, initial_c=2.0, abort_early=False
    )
    result = attack(TorchOracle(digits_network, 10), images, labels, parameters, targets=targets)
    assert result.success.float().mean() > 0.9
    assert torch.equal(result.success, digits_network(result.images).argmax(1) == targets)
    held_against(result.images, by_foolbox_towards(reference, digits_network, images, targets), images)


@pytest.mark.parametrize("settings", SETTINGS)
def test_it_is_adv_libs(
    digits_network: Network, known: tuple[Tensor, Tensor], settings: dict[str, Any]
) -> None:
    reference = adv_lib().carlini_wagner_l2(
        digits_network,
        *known,
        confidence=settings.get("confidence", 0),
        learning_rate=settings["learning_rate"],
        initial_const=settings["initial_c"],
        binary_search_steps=settings["searches"],
        max_iterations=settings["steps"],
        abort_early=False,
    )
    held_against(ours(digits_network, *known, **settings), reference, known[0])


def test_its_chain_rule_is_autograds() -> None:
    draw = np.random.default_rng(0)
    images = torch.from_numpy(draw.random((6, 1, 4, 4)))
    weight = torch.from_numpy(draw.normal(size=(3, 16)))
    c = torch.tensor([0.1, 1.0, 5.0, 0.1, 1.0, 5.0])
    w = (before_tanh(images) + 0.3 * torch.from_numpy(draw.normal(size=images.shape))).requires_grad_()

    def margin(x: Tensor) -> Tensor:
        z = x.flatten(1).tanh() @ weight.T
        return z[:, 1:].amax(1) - z[:, 0]

    x = after_tanh(w)
    kappa = margin(x).detach().median()
    objective = ((x - images) ** 2).sum((1, 2, 3)) + c * (kappa - margin(x)).clamp(min=0)
    (expected,) = torch.autograd.grad(objective.sum(), w, retain_graph=True)
    leaf = x.detach().requires_grad_()
    (of_margin,) = torch.autograd.grad(margin(leaf).sum(), leaf)
    short = margin(x) < kappa
    assert 0 < short.sum() < 6
    weights = torch.where(short, c, torch.zeros(6))[:, None, None, None].double()
    got = descent_gradient(leaf.detach(), (leaf - images).detach(), of_margin, weights)
    torch.testing.assert_close(got, expected)


def test_black_and_white_survive_the_change_of_variables() -> None:
    images = np.linspace(0, 1, 48, dtype=np.float32).reshape(1, 3, 4, 4)
    w = before_tanh(images)
    assert np.isfinite(w).all()
    np.testing.assert_allclose(after_tanh(w), images, atol=1e-6)


def test_confidence_is_the_lead_of_the_wrong_class(
    digits_network: Network, known: tuple[Tensor, Tensor]
) -> None:
    images, labels = known
    found = ours(digits_network, images, labels, **SETTINGS[1])
    logits = digits_network(found)
    changed = logits.argmax(1) != labels
    assert changed.float().mean() > 0.9
    lead = logits.amax(1) - logits.gather(1, labels[:, None])[:, 0]
    assert lead[changed].min() >= 2.0 - 1e-4


def test_giving_up_early_saves_passes_and_costs_little() -> None:
    model = Linear.random((3, 6, 6), 4)
    images = (0.3 + 0.4 * np.random.default_rng(0).random((30, 3, 6, 6))).astype(np.float32)
    labels = model.logits(images).argmax(1)
    whole, early = (
        attack(model, images, labels, CarliniWagnerParameters(steps=100, searches=6, abort_early=abort))
        for abort in (False, True)
    )
    assert early.backwards < 0.8 * whole.backwards
    assert np.median(early.l2) < 1.05 * np.median(whole.l2)
