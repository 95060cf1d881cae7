"""MAT against a plain reading of its equations, and what its parts do to a network."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from support.robustness import accuracy, held_out, make_trainer, train
from torch import Tensor
from torch.nn.functional import cosine_similarity

from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.noise import TorchNoise
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.errors import UsageError
from training.methods.mat import MAT, Parameters
from training.models import Network, as_linear, build, centres_of

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


def method(**parameters: object) -> MAT:
    return MAT(Parameters.model_validate({"epsilon": EPSILON, "step_size": 0.03, "steps": 3} | parameters))


def plain_attack(network: Network, images: Tensor) -> Tensor:
    """Eq. 8 by three steps of PGD, as TRADES does it, written without the library's parts."""
    moved = images + 0.001 * noise().normal(images)
    clean = network.features(images).detach()
    for _ in range(3):
        leaf = moved.clone().requires_grad_()
        distance = (1 - cosine_similarity(network.features(leaf), clean)).sum()
        (gradient,) = torch.autograd.grad(distance, leaf)
        moved = moved + 0.03 * gradient.sign()
        moved = (images + (moved - images).clamp(-EPSILON, EPSILON)).clamp(0, 1)
    return moved


@pytest.mark.parametrize("forwards", ["separate", "joint"])
@pytest.mark.parametrize(("alpha", "beta"), [(0, 0), (0, 2.0), (0.3, 0), (0.3, 2.0)])
def test_the_loss_is_equation_9_in_all_four_combinations(
    network: Network, alpha: float, beta: float, forwards: str
) -> None:
    images, labels = batch()
    # A copy: the running statistics that the attack sees must be those from before the step.
    reference = copy.deepcopy(network).eval()
    adversarial = plain_attack(reference, images)
    reference.train()
    if beta and forwards == "joint":
        clean, moved = reference.features(torch.cat([images, adversarial])).chunk(2)
    else:
        clean, moved = reference.features(images), reference.features(adversarial)
    own = centres_of(network, "This test")[labels]
    leaf = clean.detach().requires_grad_()
    (slope,) = torch.autograd.grad((1 - cosine_similarity(leaf, own)).sum(), leaf)
    expected = (1 - cosine_similarity(clean, own)).mean() + alpha * slope.square().sum(1).mean()
    expected = expected + beta * (1 - cosine_similarity(clean, moved)).mean()

    found = method(alpha=alpha, beta=beta, forwards=forwards).loss(network, images, labels, noise())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_flows_through_the_closed_form_and_through_both_features(network: Network) -> None:
    network.eval()
    images, labels = batch()
    found = method(alpha=0.3, beta=2.0).loss(network, images, labels, noise())
    adversarial = plain_attack(network, images)
    clean, moved = network.features(images), network.features(adversarial)
    own = centres_of(network, "This test")[labels]
    distance = 1 - cosine_similarity(clean, own)
    # With create_graph the norm of the gradient is differentiated as autograd would, by a second backward.
    (slope,) = torch.autograd.grad(distance.sum(), clean, create_graph=True)
    expected = distance.mean() + 0.3 * slope.square().sum(1).mean()
    expected = expected + 2 * (1 - cosine_similarity(clean, moved)).mean()
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    for one, other in zip(
        torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_the_attack_leaves_the_clean_features_and_stays_in_the_ball(network: Network) -> None:
    network.eval()
    images, _ = batch()
    adversarial = method(steps=5).attack(network, images, noise())
    assert (adversarial - images).abs().max() <= EPSILON + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    with torch.no_grad():
        clean = network.features(images)
        near = 1 - cosine_similarity(clean, network.features(images + 0.001 * noise().normal(images)))
        far = 1 - cosine_similarity(clean, network.features(adversarial))
        signs = EPSILON * noise().normal(images).sign()
        random = 1 - cosine_similarity(clean, network.features((images + signs).clamp(0, 1)))
    assert far.mean() > 100 * near.mean()
    assert (far > random).float().mean() > 0.9


def test_the_attack_moves_no_running_statistics_and_without_bibo_there_is_none(network: Network) -> None:
    images, labels = batch()
    for beta, passes in ((2.0, 2), (0.0, 1)):
        fresh = copy.deepcopy(network).train()
        method(beta=beta).loss(fresh, images, labels, noise())
        counts = [v for key, v in fresh.state_dict().items() if key.endswith("num_batches_tracked")]
        assert all(int(count) == passes for count in counts)
        assert fresh.training


def test_a_network_with_a_linear_head_is_answered_with_the_setting() -> None:
    plain = build("small-cnn", **FACTS)
    with pytest.raises(UsageError) as caught:
        method().loss(plain, *batch(), noise())
    assert "model.head=cosine" in caught.value.hint


@dataclass(frozen=True)
class Seen:
    """The losses on one batch, in eval mode, and the middle of its ‖φ‖."""

    ftc: float
    so: float
    bibo: float
    length: float


def course(directory: Path, alpha: float, beta: float) -> tuple[Seen, Seen]:
    """What is seen after the first and after the last step of two epochs on digits."""
    changes = ["epochs=2", f"method.alpha={alpha}", f"method.beta={beta}"]
    trainer = make_trainer(directory, "mat-digits", changes)
    judge = method(alpha=1, beta=1, epsilon=0.15, step_size=0.05)
    images, labels = next(trainer.batches.epoch(99))

    def look() -> Seen:
        network = copy.deepcopy(trainer.network).eval()
        terms = judge.terms(network, images, labels, noise())
        assert terms.so is not None
        assert terms.bibo is not None
        length = network.features(images).norm(dim=1).median()
        return Seen(terms.ftc.item(), terms.so.item(), terms.bibo.item(), length.item())

    trainer.take_step(*next(trainer.batches.epoch(0)))
    first = look()
    for epoch in range(2):
        for batch_of_run in trainer.batches.epoch(epoch):
            trainer.take_step(*batch_of_run)
    return first, look()


def test_on_digits_the_losses_fall_and_bibo_keeps_features_where_they_are(tmp_path: Path) -> None:
    first, last = course(tmp_path / "whole", alpha=0.01, beta=1)
    assert last.ftc < 0.85 * first.ftc
    assert last.so < 0.1 * first.so
    _, without = course(tmp_path / "without", alpha=0, beta=0)
    assert last.bibo < 0.7 * without.bibo


def test_so_that_outweighs_ftc_is_lowered_by_long_features_that_point_nowhere(tmp_path: Path) -> None:
    first, last = course(tmp_path / "much", alpha=0.3, beta=0)
    assert last.so < 0.01 * first.so
    assert last.length > 20 * first.length
    assert last.ftc > 0.75 * first.ftc
    _, none = course(tmp_path / "none", alpha=0, beta=0)
    assert none.ftc < 0.2 * first.ftc


def held(network: Network, loss: str) -> float:
    """The share of digits that PGD of 40 steps within 0.15 leaves rightly classified."""
    images, labels = held_out(256)
    parameters = PGDParameters(epsilon=0.15, steps=40, step_size=0.015, loss=loss)
    result = attack(TorchOracle(network, network.classes), images, labels, parameters, batch_size=256)
    return 1 - float(torch.as_tensor(result.success).float().mean())


@pytest.mark.slow
def test_on_digits_mat_with_bibo_holds_under_pgd_and_under_margin_pgd(tmp_path: Path) -> None:
    standard = train(tmp_path / "standard", "standard-digits", ["epochs=10"])
    trained = train(tmp_path / "mat", "mat-digits", ["epochs=10"])
    assert accuracy(trained).clean > 0.93
    for loss in ("ce", "cw"):
        assert held(trained, loss) > held(standard, loss) + 0.3
    # What an attacker sees of the paper's linear form is the same robustness: nothing is masked.
    assert abs(held(as_linear(trained, 10), "ce") - held(trained, "cw")) < 0.1


@pytest.mark.slow
def test_so_without_bibo_blunts_the_attack_on_the_papers_logits_and_nothing_else(tmp_path: Path) -> None:
    """The paper attacks the softmax of h = W φ, which SO hardens by making φ long; the margin tells."""
    changes = ["method.beta=0", "model.arguments={}", "optimiser.weight_decay=0"]
    plain = train(tmp_path / "plain", "mat-digits", [*changes, "method.alpha=0"])
    masked = train(tmp_path / "masked", "mat-digits", [*changes, "method.alpha=1"])
    seen = {network: held(as_linear(network, 10), "ce") for network in (plain, masked)}
    worst = {network: min(held(network, "ce"), held(network, "cw")) for network in (plain, masked)}
    assert seen[masked] > seen[plain] + 0.08
    assert worst[masked] < worst[plain] + 0.05
    assert seen[masked] > worst[masked] + 0.15
