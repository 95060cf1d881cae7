"""Auto-PGD: step by step against its authors' own code, and on linear models whose answer is known."""

from __future__ import annotations

from logging import getLogger
from typing import Any

import numpy as np
import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from support.oracles import NumpyOracle, Recorder
from torch import Tensor, nn

from holdfast.attacks import attack
from holdfast.attacks.apgd import APGDDLRParameters, APGDParameters, APGDTParameters
from holdfast.attacks.apgd_run import checkpoints
from holdfast.attacks.oracle import GradientAnswer
from holdfast.attacks.torch_oracle import TorchOracle
from training.models import Network

Digits = tuple[Tensor, Tensor]
EPSILON = {"linf": 0.1, "l2": 0.6}
NORMS = {"linf": "Linf", "l2": "L2"}


def share(success: Tensor) -> float:
    return success.float().mean().item()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_from_the_same_start_every_iterate_is_that_of_the_authors_code(
    digits_network: Network, unseen_digits: Digits, norm: str, loss: str
) -> None:
    right = digits_network(unseen_digits[0]).argmax(1) == unseen_digits[1]
    images, labels = unseen_digits[0][right], unseen_digits[1][right]
    ours = Recorder(TorchOracle(digits_network, 10))
    parameters = {"norm": norm, "epsilon": EPSILON[norm], "loss": loss, "stop_at_success": False}
    result = attack(ours, images, labels, APGDParameters.model_validate(parameters), batch_size=300)
    theirs: list[Tensor] = []

    def model(x: Tensor) -> Tensor:
        theirs.append(x.detach().clone())
        out: Tensor = digits_network(x)
        return out

    reference = APGDAttack(
        model, n_iter=100, norm=NORMS[norm], eps=EPSILON[norm], loss=loss, logger=getLogger()
    )
    reference.init_hyperparam(images)
    _, held, _, _ = reference.attack_single_run(images, labels, x_init=ours.gradients[0])
    iterates = torch.stack([*ours.gradients, ours.forwards[1]])
    assert iterates.shape[0] == len(theirs) == 101
    # A rounding that turns the sign of a gradient near zero, or a step size on the brink, is there to stay.
    # And the authors' code takes the loss before the first step for 0, which DLR's is not.
    apart = (iterates - torch.stack(theirs)).abs().amax((0, 2, 3, 4))
    assert share(apart < 1e-3) >= 0.92
    assert 0.2 < share(result.success) < 0.8
    assert share(result.success != held) >= 0.995


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_as_many_images_hold_as_under_the_authors_targeted_code(
    digits_network: Network, unseen_digits: Digits, norm: str
) -> None:
    images, labels = unseen_digits[0][:100], unseen_digits[1][:100]
    parameters = APGDTParameters.model_validate({"norm": norm, "epsilon": EPSILON[norm]})
    ours = attack(TorchOracle(digits_network, 10), images, labels, parameters, batch_size=300)
    reference = APGDAttack_targeted(
        digits_network, norm=NORMS[norm], eps=EPSILON[norm], seed=0, logger=getLogger()
    )
    theirs = digits_network(reference.perturb(images, labels)).argmax(1) != labels
    assert share(ours.success) == pytest.approx(share(theirs), abs=0.01)


def linear(classes: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, classes)).requires_grad_(False)


def noise(model: nn.Module, count: int = 150) -> Digits:
    images = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return images, model(images).argmax(1)


def falls(model: nn.Sequential, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """The largest margin (n,) that an L∞ adversary reaches on a linear model: each pixel goes all the way."""
    layer: Any = model[1]
    margins = []
    for target in range(layer.out_features):
        slope = layer.weight[target] - layer.weight[labels]
        up = (images.flatten(1) + epsilon).clamp(0, 1) - images.flatten(1)
        down = (images.flatten(1) - epsilon).clamp(0, 1) - images.flatten(1)
        gain = torch.maximum(slope * up, slope * down).sum(1)
        logits = model(images)
        reached = logits[:, target] - logits.gather(1, labels[:, None])[:, 0] + gain
        margins.append(torch.where(labels == target, -torch.inf, reached))
    return torch.stack(margins).amax(0)


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
@pytest.mark.parametrize("loss", ["dlr", "cw"])
def test_towards_each_class_a_linear_model_falls_wherever_it_can(classes: int, loss: str) -> None:
    model = linear(classes)
    images, labels = noise(model)
    best = falls(model, images, labels, 0.04)
    parameters = APGDTParameters.model_validate({"epsilon": 0.04, "loss": loss, "steps": 30})
    found = attack(TorchOracle(model, classes), images, labels, parameters, batch_size=200)
    clear = best.abs() > 1e-3
    assert torch.equal(found.success[clear], best[clear] > 0)
    assert 0.1 < share(found.success) < 0.95


@pytest.mark.parametrize(("classes", "kind"), [(2, APGDDLRParameters), (3, APGDTParameters)])
def test_with_too_few_classes_for_dlr_the_margin_takes_its_place(classes: int, kind: Any) -> None:
    model = linear(classes)
    images, labels = noise(model)
    ratio = attack(TorchOracle(model, classes), images, labels, kind(epsilon=0.04))
    margin = attack(TorchOracle(model, classes), images, labels, kind(epsilon=0.04, loss="cw"))
    assert torch.equal(ratio.images, margin.images)
    assert ratio.success.any()


def test_a_class_that_is_aimed_at_is_the_only_one_that_counts() -> None:
    model = linear(5)
    images, labels = noise(model)
    targets = (labels + 1) % 5
    for kind in (APGDParameters, APGDTParameters):
        found = attack(TorchOracle(model, 5), images, labels, kind(epsilon=0.2), targets=targets)
        assert torch.equal(found.success, model(found.images).argmax(1) == targets)
        assert share(found.success) > 0.5


@pytest.mark.parametrize("kind", [APGDParameters, APGDTParameters])
def test_numpy_and_torch_arrays_take_the_same_path(
    digits_network: Network, unseen_digits: Digits, kind: Any
) -> None:
    images, labels = unseen_digits[0][:60], unseen_digits[1][:60]
    parameters = kind(epsilon=0.1, steps=20)
    torchs = attack(TorchOracle(digits_network, 10), images, labels, parameters)
    numpys = attack(NumpyOracle(TorchOracle(digits_network, 10)), images.numpy(), labels.numpy(), parameters)
    assert np.array_equal(numpys.success, torchs.success.numpy())
    np.testing.assert_allclose(numpys.images, torchs.images.numpy(), atol=1e-5)


def test_one_gradient_is_taken_in_each_step_and_of_the_last_image_only_the_class_is_asked() -> None:
    model = linear(5)
    images, labels = noise(model)
    found = attack(TorchOracle(model, 5), images, labels, APGDParameters(epsilon=1e-4, steps=7, restarts=2))
    held = ~found.success.numpy()
    assert held.mean() > 0.9
    assert (found.queries[held] == 2 + 2 * (7 + 1)).all(), "the clean image and the result, and two runs"
    assert found.backwards == pytest.approx(2 * 7 * held.sum(), rel=0.1)


def test_an_image_that_goes_on_after_it_fooled_the_model_ends_further_across_the_boundary() -> None:
    model = linear(5)
    images, labels = noise(model)
    stopped = attack(TorchOracle(model, 5), images, labels, APGDParameters(epsilon=0.05))
    went_on = attack(
        TorchOracle(model, 5), images, labels, APGDParameters(epsilon=0.05, stop_at_success=False)
    )
    assert torch.equal(stopped.success, went_on.success)

    def loss(result: Any) -> Tensor:
        return nn.functional.cross_entropy(result.logits, labels, reduction="none")

    assert (loss(went_on) >= loss(stopped) - 1e-4).all()
    assert (loss(went_on) > loss(stopped) + 0.01).any()


def test_the_mean_of_several_gradients_finds_what_one_of_a_random_model_hides() -> None:
    model = linear(5)
    images, labels = noise(model)

    class Shaken(TorchOracle):
        """Its gradient is mostly noise."""

        def gradient(self, *arguments: Any, **keywords: Any) -> GradientAnswer:
            answer = super().gradient(*arguments, **keywords)
            shake = torch.randn(answer.gradient.shape, generator=generator) * 0.5
            return GradientAnswer(answer.logits, answer.loss, answer.gradient + shake)

    generator = torch.Generator().manual_seed(0)
    one, many = (
        attack(Shaken(model, 5), images, labels, APGDParameters(epsilon=0.03, steps=10), eot=eot)
        for eot in (1, 40)
    )
    assert many.success.sum() > one.success.sum()


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 20, 50, 100, 1000])
def test_checkpoints_follow_the_paper(steps: int) -> None:
    found = checkpoints(steps)
    assert found == sorted(set(found))
    assert all(1 <= step <= steps for step in found)
    if steps == 100:
        assert found == [22, 41, 57, 70, 80, 87, 93, 99]
