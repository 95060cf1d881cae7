"""PGD adversarial training and standard training."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from holdfast.attacks.noise import TorchNoise
from holdfast.errors import UsageError
from training import methods
from training.methods.pgd_at import Parameters, PGDAdversarialTraining
from training.methods.standard import Parameters as StandardParameters
from training.methods.standard import Standard
from training.models import build


def noise() -> TorchNoise:
    return TorchNoise(torch.Generator().manual_seed(5))


def test_the_loss_is_cross_entropy_on_madrys_pgd_examples() -> None:
    torch.manual_seed(0)
    network = build("small-cnn", classes=10, channels=1, size=(8, 8), mean=(0.5,), std=(0.25,))
    images, labels = torch.rand(16, 1, 8, 8), torch.randint(0, 10, (16,))
    method = PGDAdversarialTraining(Parameters(epsilon=0.1, step_size=0.03, steps=3))

    # A copy: the running statistics that the attack sees must be those from before the step.
    reference = copy.deepcopy(network).eval()
    adversarial = (images + noise().uniform(images, -0.1, 0.1)).clamp(0, 1)
    for _ in range(3):
        leaf = adversarial.clone().requires_grad_()
        cross_entropy(reference(leaf), labels, reduction="sum").backward()
        assert leaf.grad is not None
        adversarial = adversarial + 0.03 * leaf.grad.sign()
        adversarial = (images + (adversarial - images).clamp(-0.1, 0.1)).clamp(0, 1)
    expected = cross_entropy(reference.train()(adversarial), labels)
    torch.testing.assert_close(method.loss(network, images, labels, noise()), expected)


def test_the_attack_moves_no_running_statistics() -> None:
    network = build("small-cnn", classes=10, channels=1, size=(8, 8), mean=(0.5,), std=(0.25,)).train()
    images, labels = torch.rand(8, 1, 8, 8), torch.arange(8)
    PGDAdversarialTraining(Parameters(steps=4)).loss(network, images, labels, noise())
    updates = [value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")]
    assert all(int(count) == 1 for count in updates)


def test_standard_training_is_cross_entropy_on_clean_images() -> None:
    network = build("small-cnn", classes=10, channels=1, size=(8, 8), mean=(0.5,), std=(0.25,)).eval()
    images, labels = torch.rand(4, 1, 8, 8), torch.arange(4)
    loss = Standard(StandardParameters()).loss(network, images, labels, noise())
    torch.testing.assert_close(loss, cross_entropy(network(images), labels))


def test_every_method_file_is_found_by_its_name() -> None:
    assert {"standard", "pgd-at", "feature-scattering"} <= set(methods.names())
    assert all(methods.find(name).Parameters() is not None for name in methods.names())


def test_an_unknown_method_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        methods.find("pgd_at")
    assert "feature-scattering" in caught.value.hint
