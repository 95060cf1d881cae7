"""Learning to defend by learning to attack: the two players' steps, each against its own formula."""

from __future__ import annotations

import copy

import pytest
import torch
from support.digits import digits, train_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast.attacks.noise import TorchNoise
from training.methods.l2l import LearningToLearn, Parameters, input_gradient
from training.models import Network, build
from training.models.attacker import ResidualAttacker

EPSILON = 0.1


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build("small-cnn", classes=10, channels=1, size=(8, 8), mean=(0.5,), std=(0.25,))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.rand(16, 1, 8, 8), torch.randint(0, 10, (16,))


def noise() -> TorchNoise:
    return TorchNoise(torch.Generator().manual_seed(5))


def method(network: Network, **changes: object) -> LearningToLearn:
    values = {"epsilon": EPSILON, "attacker_base": 4, **changes}
    made = LearningToLearn(Parameters.model_validate(values))
    torch.manual_seed(2)
    assert list(made.companions(network)) == ["attacker"]
    return made


def shown_gradient(network: Network, images: Tensor, labels: Tensor) -> Tensor:
    leaf = images.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(network(leaf), labels), leaf)
    return gradient / gradient.abs().max()


def plain_perturb(
    network: Network, attacker: nn.Module, images: Tensor, labels: Tensor, steps: int
) -> Tensor:
    """Grad L2L and 2-Step L2L, written out."""
    first = EPSILON * attacker(torch.cat([images, shown_gradient(network, images, labels)], 1))
    moved = (images + first).clamp(0, 1)
    if steps == 2:
        second = EPSILON * attacker(torch.cat([moved, shown_gradient(network, moved, labels)], 1))
        moved = (images + (first + second).clamp(-EPSILON, EPSILON)).clamp(0, 1)
    return torch.as_tensor(moved)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_attacker_climbs_the_classifiers_loss(
    network: Network, batch: tuple[Tensor, Tensor], steps: int
) -> None:
    made = method(network, steps=steps)
    attacker = copy.deepcopy(made.attacker.network)
    reference = copy.deepcopy(network).eval()
    expected = torch.autograd.grad(
        -cross_entropy(reference(plain_perturb(reference, attacker, *batch, steps)), batch[1]),
        list(attacker.parameters()),
    )
    made.loss(network, *batch, noise())
    # The step leaves its gradient in the attacker's weights, and the classifier's have none of it.
    found = [parameter.grad for parameter in made.attacker.network.parameters()]
    torch.testing.assert_close(found, list(expected), rtol=1e-3, atol=1e-6)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("steps", [1, 2])
def test_the_classifier_descends_its_loss_on_what_the_attacker_then_makes(
    network: Network, batch: tuple[Tensor, Tensor], steps: int
) -> None:
    made = method(network, steps=steps)
    reference = copy.deepcopy(network).eval()
    found = made.loss(network, *batch, noise())
    attacker = made.attacker.network.eval()  # its step is taken
    with torch.no_grad():
        adversarial = attacked_now(reference, attacker, *batch, steps)
    expected = cross_entropy(reference.train()(adversarial), batch[1])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def attacked_now(network: Network, attacker: nn.Module, images: Tensor, labels: Tensor, steps: int) -> Tensor:
    with torch.enable_grad():
        return plain_perturb(network, attacker, images, labels, steps).detach()


def test_the_attacker_learns_to_fool_a_classifier_that_stands_still() -> None:
    network = train_digits(epochs=2)
    images, labels = (torch.from_numpy(array[:64]) for array in digits())
    made = method(network, attacker_learning_rate=0.01)
    losses = [float(made.loss(network, images, labels, noise()).detach()) for _ in range(25)]
    clean = float(cross_entropy(network(images), labels).detach())
    assert losses[-1] > 2 * losses[0]
    assert losses[-1] > 2 * clean


def test_what_the_attacker_makes_stays_in_the_ball_and_in_range(
    network: Network, batch: tuple[Tensor, Tensor]
) -> None:
    network.eval()
    images, labels = batch
    moved = method(network, steps=3).perturb(network, images, labels)
    assert (moved - images).abs().max() <= EPSILON + 1e-6
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert (moved - images).abs().max() > 0


def test_the_naive_attacker_sees_images_alone(network: Network, batch: tuple[Tensor, Tensor]) -> None:
    network.eval()
    made = method(network, gradient=False)
    images, labels = batch
    moved = made.perturb(network, images, labels)
    assert torch.equal(moved, made.perturb(network, images, labels.flip(0)))
    expected = (images + EPSILON * made.attacker.network(images)).clamp(0, 1)
    torch.testing.assert_close(moved, expected)


def test_a_gradient_of_zero_is_shown_as_zero(network: Network, batch: tuple[Tensor, Tensor]) -> None:
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.zero_()
    assert not input_gradient(network.eval(), *batch).any()


def test_the_attacker_ends_in_units_of_the_budget() -> None:
    torch.manual_seed(0)
    attacker = ResidualAttacker(inputs=6, outputs=3, base=4)
    out = attacker(100 * torch.randn(2, 6, 9, 7))
    assert out.shape == (2, 3, 9, 7)
    assert out.abs().max() <= 1


def test_crafting_moves_the_classifiers_statistics_once_and_leaves_modes(
    network: Network, batch: tuple[Tensor, Tensor]
) -> None:
    network.train()
    made = method(network)
    made.loss(network, *batch, noise())
    counts = [value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")]
    assert all(int(count) == 1 for count in counts)
    assert network.training
    assert made.attacker.network.training
