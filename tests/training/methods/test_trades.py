"""TRADES against a plain reading of its Algorithm 1."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from holdfast.attacks.noise import TorchNoise
from training.methods.trades import TRADES, Parameters, divergence
from training.models import Network, build

EPSILON = 0.1


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build("small-cnn", classes=10, channels=1, size=(8, 8), mean=(0.5,), std=(0.25,))


def noise() -> TorchNoise:
    return TorchNoise(torch.Generator().manual_seed(5))


def kl(clean: Tensor, moved: Tensor) -> Tensor:
    """Σ p log(p / p'), as the definition has it, in double precision."""
    p, q = clean.double().softmax(1), moved.double().softmax(1)
    return (p * (p / q).log()).sum()


def plain_attack(network: Network, images: Tensor, *, steps: int, step_size: float) -> Tensor:
    """Lines 4 to 8 of Algorithm 1, written without the library's parts."""
    moved = images + 0.001 * noise().normal(images)
    for _ in range(steps):
        leaf = moved.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(kl(network(images).detach(), network(leaf)), leaf)
        moved = moved + step_size * gradient.sign()
        moved = (images + (moved - images).clamp(-EPSILON, EPSILON)).clamp(0, 1)
    return moved


def test_the_divergence_is_kullback_and_leiblers() -> None:
    torch.manual_seed(0)
    clean, moved = torch.randn(5, 10, dtype=torch.float64), torch.randn(5, 10, dtype=torch.float64)
    torch.testing.assert_close(divergence(clean, moved), kl(clean, moved))
    assert divergence(clean, clean).abs() < 1e-6
    assert torch.isfinite(divergence(1e4 * clean, 1e4 * moved))


@pytest.mark.parametrize("forwards", ["separate", "joint"])
def test_the_loss_is_algorithm_1(network: Network, forwards: str) -> None:
    images, labels = torch.rand(16, 1, 8, 8), torch.randint(0, 10, (16,))
    method = TRADES(
        Parameters.model_validate({"epsilon": EPSILON, "step_size": 0.03, "steps": 3, "forwards": forwards})
    )
    # A copy: the running statistics that the attack sees must be those from before the step.
    reference = copy.deepcopy(network).eval()
    adversarial = plain_attack(reference, images, steps=3, step_size=0.03)
    reference.train()
    if forwards == "joint":
        logits = reference(torch.cat([images, adversarial]))
        clean, moved = logits[:16], logits[16:]
    else:
        clean, moved = reference(images), reference(adversarial)
    expected = cross_entropy(clean, labels) + 6 * kl(clean, moved) / 16
    torch.testing.assert_close(
        method.loss(network, images, labels, noise()).double(), expected, rtol=1e-4, atol=1e-5
    )


def test_beta_trades_the_divergence_against_the_clean_loss(network: Network) -> None:
    network.eval()  # so that no running statistics move between the calls
    images, labels = torch.rand(8, 1, 8, 8), torch.arange(8)
    loss = {
        beta: TRADES(Parameters(beta=beta)).loss(network, images, labels, noise()) for beta in (0.0, 1.0, 3.0)
    }
    torch.testing.assert_close(loss[0.0], cross_entropy(network(images), labels))
    torch.testing.assert_close(loss[3.0] - loss[0.0], 3 * (loss[1.0] - loss[0.0]))
    assert loss[1.0] > loss[0.0]


def test_the_gradient_flows_through_both_predictions(network: Network) -> None:
    """The authors detach neither p(x) nor p(x'): with a detached p(x), KL alone gives another gradient."""
    network.eval()
    images, labels = torch.rand(8, 1, 8, 8), torch.arange(8)
    method = TRADES(Parameters(beta=1.0))
    adversarial = method.attack(network, images, noise())
    clean, moved = network(images), network(adversarial)
    weight = network.head.weight
    (found,) = torch.autograd.grad(method.loss(network, images, labels, noise()), weight)
    (whole,) = torch.autograd.grad(
        cross_entropy(clean, labels) + kl(clean, moved) / 8, weight, retain_graph=True
    )
    (half,) = torch.autograd.grad(cross_entropy(clean, labels) + kl(clean.detach(), moved) / 8, weight)
    torch.testing.assert_close(found, whole, rtol=1e-3, atol=1e-6)
    assert (found - half).abs().max() > 1e-4


def test_the_attack_leaves_the_small_start_and_stays_in_the_ball(network: Network) -> None:
    network.eval()
    images = torch.rand(16, 1, 8, 8)
    method = TRADES(Parameters(epsilon=EPSILON, step_size=0.05, steps=5))
    adversarial = method.attack(network, images, noise())
    assert (adversarial - images).abs().max() <= EPSILON + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    with torch.no_grad():
        clean = network(images)
        near = divergence(clean, network(images + 0.001 * noise().normal(images)))
        assert divergence(clean, network(adversarial)) > 100 * near


def test_the_attack_moves_no_running_statistics(network: Network) -> None:
    network.train()
    TRADES(Parameters(steps=4)).loss(network, torch.rand(8, 1, 8, 8), torch.arange(8), noise())
    counts = [value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")]
    assert all(int(count) == 2 for count in counts)
    assert network.training
