"""FAB: step by step against its authors' own code, and at its own parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pyautoattack.fab_pt import FABAttack_PT
from support.linear import Linear
from support.oracles import NumpyOracle, Recorder
from torch import Tensor

from holdfast.attacks import AttackResult, attack
from holdfast.attacks.fab import FABParameters, FABTParameters
from holdfast.attacks.torch_oracle import TorchOracle
from training.models import Network

Digits = tuple[Tensor, Tensor]
NORMS = {"linf": "Linf", "l2": "L2"}
EPSILON = {"linf": 0.1, "l2": 0.6}
KINDS: dict[str, Any] = {"fab": FABParameters, "fab-t": FABTParameters}


def norms(result: AttackResult, norm: str) -> np.ndarray:
    found: np.ndarray = np.asarray(result.linf if norm == "linf" else result.l2)
    return found


@pytest.fixture
def right(digits_network: Network, unseen_digits: Digits) -> Digits:
    """Forty images that the network gets right."""
    held = digits_network(unseen_digits[0]).argmax(1) == unseen_digits[1]
    return unseen_digits[0][held][:40], unseen_digits[1][held][:40]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["fab", "fab-t"])
def test_every_iterate_is_that_of_the_authors_code(
    digits_network: Network, right: Digits, norm: str, name: str
) -> None:
    ours = Recorder(TorchOracle(digits_network, 10))
    parameters = {"norm": norm, "steps": 20, "final_search": 0}
    parameters |= {"classes": 1} if name == "fab-t" else {}
    result = attack(ours, *right, KINDS[name].model_validate(parameters))
    theirs: list[Tensor] = []

    def model(x: Tensor) -> Tensor:
        if x.requires_grad:
            theirs.append(x.detach().clone())
        out: Tensor = digits_network(x)
        return out

    reference = FABAttack_PT(model, norm=NORMS[norm], n_iter=20)
    reference.target_class = 2
    found = reference.attack_single_run(*right, is_targeted=name == "fab-t")
    each_step = ours.gradients[:: 9 if name == "fab" else 1]
    assert len(each_step) == len(theirs) == 20
    apart = (torch.stack(each_step) - torch.stack(theirs)).abs().amax((0, 2, 3, 4))
    assert (apart < 1e-3).float().mean() >= 0.95
    assert (found - right[0]).abs().amax((1, 2, 3)).min() > 0, "all were found"
    np.testing.assert_allclose((result.images - found).abs().amax((1, 2, 3)).quantile(0.9), 0, atol=1e-3)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_images_that_fall_within_a_budget_are_those_of_the_authors_code(
    digits_network: Network, unseen_digits: Digits, norm: str
) -> None:
    images, labels = unseen_digits[0][:150], unseen_digits[1][:150]
    parameters = {"norm": norm, "epsilon": EPSILON[norm], "steps": 20, "classes": 4}
    ours = attack(
        TorchOracle(digits_network, 10),
        images,
        labels,
        FABTParameters.model_validate(parameters | {"final_search": 0}),
        batch_size=200,
    )
    reference = FABAttack_PT(
        digits_network, norm=NORMS[norm], n_iter=20, eps=EPSILON[norm], targeted=True, n_target_classes=4
    )
    adversarial = reference.perturb(images, labels)
    theirs = digits_network(adversarial).argmax(1) != labels
    assert 0.2 < theirs.float().mean() < 0.9
    assert (ours.success != theirs).float().mean() <= 0.0067
    stopped = attack(
        TorchOracle(digits_network, 10),
        images,
        labels,
        FABTParameters.model_validate(parameters | {"stop_at_success": True, "final_search": 0}),
        batch_size=200,
    )
    assert torch.equal(stopped.success, ours.success)
    assert stopped.backwards < 0.6 * ours.backwards, "what has fallen costs nothing more"


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_boundary_of_a_linear_model_is_met_to_the_last_percent(name: str, norm: str) -> None:
    model = Linear.random((3, 6, 6), 6)
    images = (0.35 + 0.3 * np.random.default_rng(0).random((200, 3, 6, 6))).astype(np.float32)
    labels = model.logits(images).argmax(1)
    smallest = model.smallest(images, labels, norm)
    far = smallest > (0.1 if norm == "l2" else 0.01)
    result = attack(model, images[far], labels[far], KINDS[name](norm=norm, steps=30))
    ratios = norms(result, norm) / smallest[far]
    assert ratios.min() > 1 - 1e-3
    assert ratios.max() < 1.01


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_final_search_only_ever_shortens(digits_network: Network, right: Digits, norm: str) -> None:
    oracle = TorchOracle(digits_network, 10)
    without, one, three = (
        norms(attack(oracle, *right, FABTParameters(norm=norm, steps=5, classes=2, final_search=n)), norm)
        for n in (0, 1, 3)
    )
    assert (one <= without).all()
    assert (three <= one).all()
    assert three.mean() < without.mean()


def test_restarts_only_ever_shorten(digits_network: Network, right: Digits) -> None:
    oracle = TorchOracle(digits_network, 10)
    parameters = FABTParameters(norm="l2", steps=6, classes=1, final_search=0)
    one, several = (
        attack(oracle, *right, parameters.model_copy(update={"restarts": restarts})).l2 for restarts in (1, 4)
    )
    assert (one > 0).all()
    assert (several <= one + 1e-6).all()
    assert (several < one - 1e-3).any()


@pytest.mark.parametrize("kind", KINDS.values())
def test_towards_a_target_the_boundary_is_that_of_the_target(kind: Any) -> None:
    model = Linear.random((3, 6, 6), 5)
    images = (0.35 + 0.3 * np.random.default_rng(0).random((60, 3, 6, 6))).astype(np.float32)
    labels = model.logits(images).argmax(1)
    targets = (labels + 1) % 5
    result = attack(model, images, labels, kind(steps=40), targets=targets)
    assert result.success.mean() > 0.9
    assert np.array_equal(model.logits(result.images[result.success]).argmax(1), targets[result.success])


@pytest.mark.parametrize("name", KINDS)
def test_numpy_and_torch_arrays_take_the_same_path(digits_network: Network, right: Digits, name: str) -> None:
    parameters = KINDS[name](steps=8, restarts=2)
    torchs = attack(TorchOracle(digits_network, 10), *right, parameters)
    numpys = attack(
        NumpyOracle(TorchOracle(digits_network, 10)), right[0].numpy(), right[1].numpy(), parameters
    )
    assert np.array_equal(numpys.success, torchs.success.numpy())
    np.testing.assert_allclose(numpys.linf, torchs.linf.numpy(), rtol=0.02)


def test_a_step_costs_a_gradient_for_each_class_or_a_single_one() -> None:
    model = Linear.random((3, 6, 6), 5)
    images = np.random.default_rng(0).random((10, 3, 6, 6), dtype=np.float32)
    labels = model.logits(images).argmax(1)
    every = attack(model, images, labels, FABParameters(steps=7))
    assert every.backwards == 10 * 7 * 4
    towards = attack(model, images, labels, FABTParameters(steps=7, classes=2))
    assert towards.backwards == 10 * 7 * 2
    assert (towards.queries <= FABTParameters(steps=7, classes=2).cost(5).forwards + 3).all()


def test_stopping_at_success_needs_to_know_what_success_is() -> None:
    with pytest.raises(ValueError, match="needs epsilon"):
        FABParameters(stop_at_success=True)
