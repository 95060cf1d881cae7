"""Feature Scattering against a plain reading of Algorithm 1."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from holdfast.attacks.noise import TorchNoise
from training.methods.feature_scattering import FeatureScattering, Parameters
from training.models import Network, build
from training.smoothing import torch_smoothing

EPSILON = 8 / 255


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build("small-cnn", classes=10, channels=3, size=(8, 8), mean=(0.5,) * 3, std=(0.25,) * 3)


def noise(seed: int) -> TorchNoise:
    return TorchNoise(torch.Generator().manual_seed(seed))


def plain_scatter(
    network: Network, images: Tensor, start: Tensor, *, iterations: int, unrolled: bool
) -> Tensor:
    """Algorithm 1 for one group and T = 1, in the kernel domain, written without the library's parts."""
    with torch.no_grad():
        clean = network(images)
    leaf = start.clone().requires_grad_()
    cost = (1 - torch.nn.functional.cosine_similarity(clean[:, None], network(leaf)[None], dim=-1)).clamp_min(
        0
    )
    kernel = torch.exp(-(cost if unrolled else cost.detach()).double() / 0.01)
    n = len(images)
    v = torch.ones(n, 1, dtype=torch.float64)
    for _ in range(iterations):
        u = 1 / n / (kernel @ v)
        v = 1 / n / (kernel.T @ u)
    plan = u * kernel * v.T
    (gradient,) = torch.autograd.grad((plan * cost).sum(), leaf)
    moved = start + EPSILON * gradient.sign()
    return torch.maximum(torch.minimum(moved, images + EPSILON), images - EPSILON).clamp(0, 1)


@pytest.mark.parametrize("plan_gradient", ["unrolled", "detached"])
def test_one_scattering_step_is_algorithm_1(network: Network, plan_gradient: str) -> None:
    method = FeatureScattering(Parameters.model_validate({"plan_gradient": plan_gradient}))
    images = torch.rand(24, 3, 8, 8)
    network.eval()
    scattered = method.scatter(network, images, noise(3))
    start = (images + noise(3).uniform(images, -EPSILON, EPSILON)).clamp(0, 1)
    expected = plain_scatter(network, images, start, iterations=3, unrolled=plan_gradient == "unrolled")
    # Signs of gradients near zero may differ between the two orders of summation.
    same = ((scattered - expected).abs() < 1e-5).float().mean()
    assert same > 0.995


def test_scattered_images_stay_in_the_ball_and_in_range(network: Network) -> None:
    images = torch.rand(70, 3, 8, 8)
    network.eval()
    scattered = FeatureScattering(Parameters(steps=3)).scatter(network, images, noise(0))
    assert (scattered - images).abs().max() <= EPSILON + 1e-6
    assert scattered.min() >= 0
    assert scattered.max() <= 1


def test_scattering_moves_the_features_further_than_noise_does(network: Network) -> None:
    method = FeatureScattering(Parameters())
    images = torch.rand(60, 3, 8, 8)
    network.eval()
    start = (images + noise(1).uniform(images, -EPSILON, EPSILON)).clamp(0, 1)
    scattered = method.scatter(network, images, noise(1))
    with torch.no_grad():
        clean, before, after = network(images), network(start), network(scattered)
        assert method.distance(clean, after) > 1.2 * method.distance(clean, before)


def test_groups_are_matched_apart(network: Network) -> None:
    method = FeatureScattering(Parameters(group=60))
    clean, moved = torch.randn(120, 10), torch.randn(120, 10)
    apart = method.distance(clean[:60], moved[:60]) + method.distance(clean[60:], moved[60:])
    torch.testing.assert_close(method.distance(clean, moved), apart / 2)


def test_training_leaves_the_network_in_train_mode_and_gives_every_weight_a_gradient(
    network: Network,
) -> None:
    network.train()
    loss = FeatureScattering(Parameters()).loss(network, torch.rand(8, 3, 8, 8), torch.arange(8), noise(0))
    loss.backward()
    assert network.training
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_smoothing_leaves_one_minus_delta_on_the_true_class() -> None:
    smoothing = torch_smoothing(0.5, classes=10)
    on_true_class = 1 - smoothing + smoothing / 10
    assert on_true_class == pytest.approx(0.5)
