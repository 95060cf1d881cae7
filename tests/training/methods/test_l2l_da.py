"""Learning to generate diverse attacks: the recursion and the two players' losses, each written out again."""

from __future__ import annotations

import copy

import pytest
import torch
from support.digits import digits, train_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from holdfast.attacks.noise import TorchNoise
from training.methods.l2l_da import (
    LearningDiverseAttacks,
    Parameters,
    channel_unit_gradient,
    mode_seeking,
)
from training.models import Network, build

EPSILON, STEPS, SHARE, DIVERSITY = 0.1, 3, 0.5, 0.3


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build("small-cnn", classes=10, channels=1, size=(8, 8), mean=(0.5,), std=(0.25,))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.rand(8, 1, 8, 8), torch.randint(0, 10, (8,))


def noise(seed: int = 5) -> TorchNoise:
    return TorchNoise(torch.Generator().manual_seed(seed))


def method(network: Network, **changes: object) -> LearningDiverseAttacks:
    values = {
        "epsilon": EPSILON,
        "steps": STEPS,
        "step_share": SHARE,
        "diversity": DIVERSITY,
        "generator_width": 4,
        "generator_levels": 2,
        "generator_clip": 1e6,
        **changes,
    }
    made = LearningDiverseAttacks(Parameters.model_validate(values))
    torch.manual_seed(2)
    assert list(made.companions(network)) == ["generator"]
    return made


def plain_trajectory(
    network: Network, generator: nn.Module, images: Tensor, labels: Tensor, latents: Tensor
) -> list[Tensor]:
    """The recursion over δ, with the gradient's norm taken channel by channel."""
    code = torch.cat([latents, one_hot(labels, 10).float()], 1)
    delta, current, made = torch.zeros_like(images), images, []
    for _ in range(STEPS):
        leaf = current.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(network(leaf), labels), leaf)
        gradient = gradient / gradient.norm(dim=(2, 3), keepdim=True)
        out = torch.tanh(generator(torch.cat([images, gradient, delta / EPSILON], 1), code))
        delta = (delta + EPSILON * SHARE * out).clamp(-EPSILON, EPSILON)
        current = (images + delta).clamp(0, 1)
        made.append(current)
    return made


def plain_diversity(images: Tensor, latents: Tensor) -> Tensor:
    n = len(images) // 2
    ratios = [
        (images[i] - images[n + i]).abs().mean() / (latents[i] - latents[n + i]).abs().mean()
        for i in range(n)
    ]
    return torch.stack(ratios).mean()


def test_the_generator_ascends_loss_and_diversity_through_all_its_steps(
    network: Network, batch: tuple[Tensor, Tensor]
) -> None:
    images, labels = batch
    made = method(network)
    generator = copy.deepcopy(made.generator.network)
    reference = copy.deepcopy(network).eval()
    latents = noise().normal(images.new_empty(16, 8))
    twice = labels.repeat(2)
    trajectory = plain_trajectory(reference, generator, images.repeat(2, 1, 1, 1), twice, latents)
    rewards = [
        cross_entropy(reference(moved), twice) + DIVERSITY * plain_diversity(moved, latents)
        for moved in trajectory
    ]
    expected = torch.autograd.grad(-torch.stack(rewards).sum(), list(generator.parameters()))
    found_loss = made.loss(network, images, labels, noise())
    found = [parameter.grad for parameter in made.generator.network.parameters()]
    torch.testing.assert_close(found, list(expected), rtol=2e-3, atol=1e-5)
    assert all(parameter.grad is None for parameter in network.parameters())

    # The classifier then learns from the clean batch and from both of the generator's last.
    everything = torch.cat([images, trajectory[-1].detach()])
    expected_loss = cross_entropy(reference.train()(everything), labels.repeat(3))
    torch.testing.assert_close(found_loss, expected_loss, rtol=1e-4, atol=1e-5)


def test_the_generators_gradient_is_clipped(network: Network, batch: tuple[Tensor, Tensor]) -> None:
    made = method(network, generator_clip=1e-3)
    made.loss(network, *batch, noise())
    gradients = [p.grad.flatten() for p in made.generator.network.parameters() if p.grad is not None]
    assert torch.cat(gradients).norm() <= 1e-3 * 1.001


def test_diversity_is_the_ratio_of_distances_of_images_and_of_latents() -> None:
    torch.manual_seed(0)
    images, latents = torch.rand(10, 3, 4, 4), torch.randn(10, 8)
    torch.testing.assert_close(mode_seeking(images, latents), plain_diversity(images, latents))
    same = torch.cat([images[:5], images[:5]])
    assert float(mode_seeking(same, latents)) == 0


def test_gradients_have_length_one_in_every_channel_however_small_they_are(
    network: Network, batch: tuple[Tensor, Tensor]
) -> None:
    network.eval()
    images, labels = batch
    shown = channel_unit_gradient(network, images, labels)
    torch.testing.assert_close(shown.norm(dim=(2, 3)), torch.ones(8, 1))
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(network(leaf), labels), leaf)
    torch.testing.assert_close(shown, gradient / gradient.norm(dim=(2, 3), keepdim=True))
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.mul_(1e-25)
    torch.testing.assert_close(
        channel_unit_gradient(network, images, labels).norm(dim=(2, 3)), torch.ones(8, 1)
    )


def test_perturbations_are_refined_within_the_ball(network: Network, batch: tuple[Tensor, Tensor]) -> None:
    network.eval()
    images, labels = batch
    trajectory = method(network).refine(network, images, labels, torch.randn(8, 8))
    assert len(trajectory) == STEPS
    assert (trajectory[0] - images).abs().max() <= SHARE * EPSILON + 1e-6
    for moved in trajectory:
        assert (moved - images).abs().max() <= EPSILON + 1e-6
        assert moved.min() >= 0
        assert moved.max() <= 1


def test_the_generator_learns_to_fool_a_classifier_that_stands_still() -> None:
    network = train_digits(epochs=2)
    images, labels = (torch.from_numpy(array[:64]) for array in digits())
    made = method(network, generator_learning_rate=0.05)
    losses = [float(made.loss(network, images, labels, noise()).detach()) for _ in range(20)]
    assert losses[-1] > 1.3 * losses[0]


def test_diversity_pays(network: Network, batch: tuple[Tensor, Tensor]) -> None:
    network.eval()
    images, labels = batch
    spread = {}
    for weight in (0.0, 30.0):
        made = method(network, diversity=weight, generator_learning_rate=0.02)
        for turn in range(15):
            made.loss(network, images, labels, noise(turn))
        latents = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
        moved = made.refine(network, images.repeat(2, 1, 1, 1), labels.repeat(2), latents)[-1]
        spread[weight] = float(mode_seeking(moved.detach(), latents))
    assert spread[30.0] > 1.5 * spread[0.0]


def test_crafting_moves_the_classifiers_statistics_once_and_leaves_modes(
    network: Network, batch: tuple[Tensor, Tensor]
) -> None:
    network.train()
    made = method(network)
    made.loss(network, *batch, noise())
    counts = [value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")]
    assert all(int(count) == 1 for count in counts)
    assert network.training
    assert made.generator.network.training
