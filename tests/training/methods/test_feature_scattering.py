"""Feature Scattering against a plain reading of Algorithm 1."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.robustness import accuracy, make_trainer, train
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, log_softmax

from holdfast.attacks.noise import TorchNoise
from training.methods.feature_scattering import FeatureScattering, Parameters
from training.models import Network, build
from training.smoothing import torch_smoothing
from training.transport import ipot

EPSILON = 8 / 255


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build("small-cnn", classes=10, channels=3, size=(8, 8), mean=(0.5,) * 3, std=(0.25,) * 3)


def noise(seed: int) -> TorchNoise:
    return TorchNoise(torch.Generator().manual_seed(seed))


def start_of(images: Tensor, seed: int) -> Tensor:
    """The random start that ``noise(seed)`` gives."""
    return (images + noise(seed).uniform(images, -EPSILON, EPSILON)).clamp(0, 1)


def plain_step(start: Tensor, gradient: Tensor, images: Tensor) -> Tensor:
    """The update of Algorithm 1."""
    moved = start + EPSILON * gradient.sign()
    return torch.maximum(torch.minimum(moved, images + EPSILON), images - EPSILON).clamp(0, 1)


def plain_plan(cost: Tensor, iterations: int) -> Tensor:
    """Sinkhorn's plan in the kernel domain, written without the library's parts."""
    kernel = torch.exp(-cost.double() / 0.01)
    n = len(cost)
    u, v = torch.ones(n, 1, dtype=torch.float64), torch.ones(n, 1, dtype=torch.float64)
    for _ in range(iterations):
        u = 1 / n / (kernel @ v)
        v = 1 / n / (kernel.T @ u)
    return u * kernel * v.T


def plain_scatter(
    network: Network, images: Tensor, start: Tensor, plan_of: Callable[[Tensor], Tensor]
) -> Tensor:
    """Algorithm 1 for one group and T = 1, with the plan as a function of the cost."""
    with torch.no_grad():
        clean = network(images)
    leaf = start.clone().requires_grad_()
    cost = 1 - cosine_similarity(clean[:, None], network(leaf)[None], dim=-1)
    (gradient,) = torch.autograd.grad((plan_of(cost.clamp_min(0)) * cost).sum(), leaf)
    return plain_step(start, gradient, images)


PLANS: dict[str, tuple[dict[str, Any], Callable[[Tensor], Tensor]]] = {
    "the authors' program": ({}, lambda cost: plain_plan(cost, 3)),
    "detached": ({"plan_gradient": "detached"}, lambda cost: plain_plan(cost.detach(), 3)),
    "more iterations": ({"sinkhorn_iterations": 7}, lambda cost: plain_plan(cost, 7)),
    "identity": ({"matching": "identity"}, lambda cost: torch.eye(len(cost)) / len(cost)),
    "uniform": ({"matching": "uniform"}, lambda cost: torch.ones_like(cost) / cost.numel()),
    "ipot": (
        {"solver": "ipot", "ipot_outer": 4},
        lambda cost: ipot(cost.double(), beta=1.0, outer=4),
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_one_scattering_step_is_algorithm_1(network: Network, name: str) -> None:
    options, plan_of = PLANS[name]
    method = FeatureScattering(Parameters.model_validate(options))
    images = torch.rand(24, 3, 8, 8)
    network.eval()
    scattered = method.scatter(network, images, noise(3))
    expected = plain_scatter(network, images, start_of(images, 3), plan_of)
    # Signs of gradients near zero may differ between the two orders of summation.
    assert ((scattered - expected).abs() < 1e-5).float().mean() > 0.995


def test_the_matchings_scatter_differently(network: Network) -> None:
    images = torch.rand(24, 3, 8, 8)
    network.eval()
    scattered = [
        FeatureScattering(Parameters.model_validate(options)).scatter(network, images, noise(3))
        for options, _ in PLANS.values()
    ]
    for first, second in itertools.combinations(scattered, 2):
        assert not torch.equal(first, second)


def test_t_steps_are_as_many_of_algorithm_1(network: Network) -> None:
    images = torch.rand(24, 3, 8, 8)
    network.eval()
    expected = start_of(images, 3)
    for _ in range(2):
        expected = plain_scatter(network, images, expected, lambda cost: plain_plan(cost, 3))
    scattered = FeatureScattering(Parameters(steps=2)).scatter(network, images, noise(3))
    assert ((scattered - expected).abs() < 1e-5).float().mean() > 0.99


def test_the_random_perturbation_is_the_random_start(network: Network) -> None:
    images, labels = torch.rand(8, 3, 8, 8), torch.arange(8)
    method = FeatureScattering(Parameters(perturbation="random"))
    torch.testing.assert_close(method.perturb(network.eval(), images, labels, noise(3)), start_of(images, 3))


def test_the_supervised_perturbation_climbs_the_labels_loss(network: Network) -> None:
    images, labels = torch.rand(8, 3, 8, 8), torch.arange(8)
    network.eval()
    start = start_of(images, 3)
    leaf = start.clone().requires_grad_()
    cross_entropy(network(leaf), labels).backward()
    assert leaf.grad is not None
    perturbed = FeatureScattering(Parameters(perturbation="supervised")).perturb(
        network, images, labels, noise(3)
    )
    torch.testing.assert_close(perturbed, plain_step(start, leaf.grad, images))


@pytest.mark.parametrize("perturbation", ["feature-scatter", "supervised", "random"])
def test_the_loss_is_smoothed_cross_entropy_on_the_perturbed_images(
    network: Network, perturbation: str
) -> None:
    images, labels = torch.rand(8, 3, 8, 8), torch.arange(8)
    method = FeatureScattering(
        Parameters.model_validate({"perturbation": perturbation, "label_smoothing": 0.3})
    )
    reference = copy.deepcopy(network).eval()
    perturbed = method.perturb(reference, images, labels, noise(3))
    targets = torch.full((8, 10), 0.3 / 9)
    targets[torch.arange(8), labels] = 0.7
    expected = -(targets * log_softmax(reference.train()(perturbed), dim=1)).sum(1).mean()
    torch.testing.assert_close(method.loss(network.train(), images, labels, noise(3)), expected)
    counts = [v for k, v in network.state_dict().items() if k.endswith("num_batches_tracked")]
    assert all(int(count) == 1 for count in counts), "crafting moves no running statistics"


def test_scattered_images_stay_in_the_ball_and_in_range(network: Network) -> None:
    images = torch.rand(70, 3, 8, 8)
    network.eval()
    scattered = FeatureScattering(Parameters(steps=3)).scatter(network, images, noise(0))
    assert (scattered - images).abs().max() <= EPSILON + 1e-6
    assert scattered.min() >= 0
    assert scattered.max() <= 1


@pytest.mark.parametrize("images", [1, 2, 3, 60, 61, 128, 200])
@pytest.mark.parametrize("solver", ["sinkhorn", "ipot"])
def test_a_batch_of_any_size_is_scattered(network: Network, images: int, solver: str) -> None:
    batch = torch.rand(images, 3, 8, 8)
    network.eval()
    method = FeatureScattering(Parameters.model_validate({"solver": solver, "ipot_outer": 5}))
    scattered = method.scatter(network, batch, noise(0))
    assert torch.isfinite(scattered).all()
    moved = (scattered - start_of(batch, 0)).flatten(1).abs().amax(1)
    assert (moved > 0.5 * EPSILON).all()


def test_a_network_that_tells_nothing_apart_moves_nothing(network: Network) -> None:
    torch.nn.init.zeros_(network.head.weight)
    images = torch.rand(12, 3, 8, 8)
    scattered = FeatureScattering(Parameters()).scatter(network.eval(), images, noise(0))
    torch.testing.assert_close(scattered, start_of(images, 0))


def test_scattering_moves_the_features_further_than_noise_does(network: Network) -> None:
    method = FeatureScattering(Parameters())
    images = torch.rand(60, 3, 8, 8)
    network.eval()
    scattered = method.scatter(network, images, noise(1))
    with torch.no_grad():
        clean, before, after = network(images), network(start_of(images, 1)), network(scattered)
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


@pytest.mark.parametrize("smoothing", [-0.1, 0.51])
def test_smoothing_that_leaves_the_true_class_behind_is_refused(smoothing: float) -> None:
    with pytest.raises(ValidationError, match="label_smoothing"):
        Parameters(label_smoothing=smoothing)


def test_a_few_steps_on_digits_lower_the_loss(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "fs-digits", ["epochs=2"])
    losses = []
    for epoch in range(2):
        for images, labels in trainer.batches.epoch(epoch):
            losses.append(float(trainer.take_step(images, labels)))
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


@pytest.mark.slow
def test_on_digits_it_holds_40_points_better_under_pgd_than_standard_training(tmp_path: Path) -> None:
    standard = accuracy(train(tmp_path / "standard", "fs-digits", ["epochs=10", "method={name: standard}"]))
    scattered = accuracy(train(tmp_path / "scattered", "fs-digits", ["epochs=10"]))
    assert scattered.attacked > standard.attacked + 0.4
    assert scattered.clean > 0.95
