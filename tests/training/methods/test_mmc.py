"""MMC against a plain reading of its equations and of its adversarial training."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from support.robustness import make_trainer
from torch import Tensor
from torch.nn.functional import cross_entropy

from holdfast.attacks.noise import TorchNoise
from holdfast.errors import UsageError
from training.methods.mmc import MMC, Parameters, distance_logits, mmc
from training.models import Network, build, centres_of

EPSILON = 0.1
FACTS: dict[str, Any] = {"classes": 10, "channels": 1, "size": (8, 8), "mean": (0.5,), "std": (0.25,)}


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build("small-cnn", head="cosine", embedding=16, **FACTS)


def noise() -> TorchNoise:
    return TorchNoise(torch.Generator().manual_seed(5))


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(16, 1, 8, 8, generator=generator), torch.randint(0, 10, (16,), generator=generator)


def method(**parameters: object) -> MMC:
    return MMC(Parameters.model_validate({"epsilon": EPSILON, "step_size": 0.03, "steps": 3} | parameters))


def centres(network: Network) -> Tensor:
    return 10 * centres_of(network, "This test")


def plain_loss(network: Network, images: Tensor, labels: Tensor) -> Tensor:
    """½ ‖φ − μ_y‖², image by image."""
    features = network.features(images)
    terms = [0.5 * torch.dist(phi, centres(network)[y]) ** 2 for phi, y in zip(features, labels, strict=True)]
    return torch.stack(terms).mean()


def test_without_adversarial_training_the_loss_is_half_the_squared_distance(network: Network) -> None:
    images, labels = batch()
    reference = copy.deepcopy(network)
    expected = plain_loss(reference, images, labels)
    torch.testing.assert_close(method().loss(network, images, labels, noise()), expected)


def test_the_class_of_the_nearest_centre_is_that_of_the_largest_cosine(network: Network) -> None:
    network.eval()
    images, _ = batch()
    logits = distance_logits(network.features(images), centres(network))
    expected = -(torch.cdist(network.features(images), centres(network)) ** 2)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-3)
    assert (logits.argmax(1) == network(images).argmax(1)).all()


def plain_attack(network: Network, images: Tensor, labels: Tensor, *, targeted: bool, loss: str) -> Tensor:
    """Three steps of PGD from a random start, as the authors' program makes its examples."""
    stream = noise()
    moved = (images + stream.uniform(images, -EPSILON, EPSILON)).clamp(0, 1)
    aims = stream.uniform(labels.float(), 0, 10).long() if targeted else labels
    for _ in range(3):
        leaf = moved.clone().requires_grad_()
        squares = ((network.features(leaf)[:, None] - centres(network)[None]) ** 2).sum(2)
        if loss == "mmc":
            value = 0.5 * squares.gather(1, aims[:, None]).sum()
        else:
            value = cross_entropy(-squares, aims, reduction="sum")
        (gradient,) = torch.autograd.grad(value, leaf)
        moved = moved + (-0.03 if targeted else 0.03) * gradient.sign()
        moved = (images + (moved - images).clamp(-EPSILON, EPSILON)).clamp(0, 1)
    return moved


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("loss", ["cross-entropy", "mmc"])
def test_adversarial_training_is_the_authors_programs(
    network: Network, share: float, targeted: bool, loss: str
) -> None:
    images, labels = batch()
    reference = copy.deepcopy(network).eval()
    adversarial = plain_attack(reference, images, labels, targeted=targeted, loss=loss)
    reference.train()
    expected = share * plain_loss(reference, adversarial, labels)
    if share < 1:
        expected = expected + (1 - share) * plain_loss(reference, images, labels)
    trained = method(adversarial=share, targeted=targeted, attack_loss=loss)
    found = trained.loss(network, images, labels, noise())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_the_untargeted_attack_raises_the_loss_and_the_targeted_one_nears_its_centre(
    network: Network,
) -> None:
    network.eval()
    images, labels = batch()
    away = method(attack_loss="mmc", steps=10).attack(network, images, labels, noise())
    own = centres(network)
    before, after = (mmc(network.features(x), labels, own) for x in (images, away))
    assert (after > before).all()
    stream = noise()
    start = (images + stream.uniform(images, -EPSILON, EPSILON)).clamp(0, 1)
    aims = stream.uniform(labels.float(), 0, 10).long()
    toward = method(attack_loss="mmc", targeted=True, steps=10).attack(network, images, labels, noise())
    assert (mmc(network.features(toward), aims, own) < mmc(network.features(start), aims, own)).all()
    assert (toward - images).abs().max() <= EPSILON + 1e-6


def test_crafting_moves_no_running_statistics(network: Network) -> None:
    network.train()
    method(adversarial=1.0).loss(network, *batch(), noise())
    counts = [value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")]
    assert all(int(count) == 1 for count in counts)
    assert network.training


def test_a_network_with_a_linear_head_is_answered_with_the_setting() -> None:
    plain = build("small-cnn", **FACTS)
    with pytest.raises(UsageError) as caught:
        method().loss(plain, *batch(), noise())
    assert "model.head=cosine" in caught.value.hint


def test_on_digits_features_come_to_their_centres(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "mmc-digits", ["epochs=2", "method.adversarial=0"])
    losses = []
    for epoch in range(2):
        for images, labels in trainer.batches.epoch(epoch):
            losses.append(float(trainer.take_step(images, labels)))
    # It begins at C² / 2, the length of the centres: features of nothing.
    assert losses[0] == pytest.approx(50, rel=0.3)
    assert sum(losses[-5:]) < 0.3 * sum(losses[:5])
