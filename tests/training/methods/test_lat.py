"""Latent adversarial training against a network cut in two by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast.attacks.noise import TorchNoise
from holdfast.errors import UsageError
from training.methods.lat import LatentAdversarialTraining, Parameters, find_stage, latents_of
from training.methods.pgd_at import Parameters as PGDParameters
from training.methods.pgd_at import PGDAdversarialTraining
from training.models import Network, build
from training.models.plain import VGGBody

SHARE, STEP = 0.1, 0.04


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


def method(**changes: object) -> LatentAdversarialTraining:
    values = {"stage": 1, "latent_epsilon": SHARE, "latent_steps": 3, "latent_step_size": STEP, "steps": 2}
    return LatentAdversarialTraining(Parameters.model_validate({**values, **changes}))


def halves(network: Network) -> tuple[nn.Sequential, nn.Sequential]:
    """The small network cut after its first pooling, its fourth layer."""
    body = network.body
    assert isinstance(body, VGGBody)
    lower = nn.Sequential(network.normalise, *body.convolutions[:4])
    upper = nn.Sequential(*body.convolutions[4:], body.hidden, network.head)
    return lower, upper


def plain_latents(network: Network, images: Tensor, labels: Tensor) -> Tensor:
    """PGD on the latents, in their own units, with every bound written out."""
    lower, upper = halves(network)
    latents = lower(images).detach()
    low = latents.amin((0, 2, 3), keepdim=True)
    high = latents.amax((0, 2, 3), keepdim=True)
    reach = SHARE * (high - low)
    # The ball draws its start in units of the range.
    moved = latents + (high - low) * noise().uniform(latents, -SHARE, SHARE)
    moved = torch.minimum(torch.maximum(moved, low), high)
    for _ in range(3):
        leaf = moved.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(upper(leaf), labels), leaf)
        moved = moved + STEP * (high - low) * gradient.sign()
        moved = torch.minimum(torch.maximum(moved, latents - reach), latents + reach)
        moved = torch.minimum(torch.maximum(moved, low), high)
    return moved


def test_the_latent_loss_is_the_upper_halfs_on_attacked_latents(
    network: Network, batch: tuple[Tensor, Tensor]
) -> None:
    images, labels = batch
    reference = copy.deepcopy(network).eval()
    latents = plain_latents(reference, images, labels)
    expected = cross_entropy(halves(reference.train())[1](latents), labels)
    found = method(latent_weight=1.0).loss(network, images, labels, noise())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_without_the_latent_loss_it_is_pgd_adversarial_training(
    network: Network, batch: tuple[Tensor, Tensor]
) -> None:
    images, labels = batch
    network.eval()
    found = method(latent_weight=0.0, random_start=False).loss(network, images, labels, noise())
    plain = PGDAdversarialTraining(PGDParameters(steps=2, random_start=False))
    torch.testing.assert_close(found, plain.loss(network, images, labels, noise()))


def test_the_two_losses_are_weighed(network: Network, batch: tuple[Tensor, Tensor]) -> None:
    network.eval()  # so that no running statistics move between the calls
    both, latent, adversarial = (
        method(latent_weight=weight, random_start=False).loss(network, *batch, noise())
        for weight in (0.2, 1.0, 0.0)
    )
    torch.testing.assert_close(both, 0.2 * latent + 0.8 * adversarial)


def test_the_latent_loss_teaches_the_layers_above_alone(
    network: Network, batch: tuple[Tensor, Tensor]
) -> None:
    network.train()
    method(latent_weight=1.0).loss(network, *batch, noise()).backward()  # type: ignore[no-untyped-call]
    lower, upper = halves(network)
    assert all(p.grad is None or not p.grad.any() for p in lower.parameters())
    assert all(p.grad is not None and p.grad.any() for p in upper[-1].parameters())


@pytest.mark.parametrize("architecture", ["small-cnn", "wrn-10-1", "preact-resnet-18"])
@pytest.mark.parametrize("stage", [1, 2])
def test_attacked_latents_stay_near_and_within_their_channels_range(
    architecture: str, stage: int, batch: tuple[Tensor, Tensor]
) -> None:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"base": 4} if architecture == "preact-resnet-18" else {}
    network = build(
        architecture, classes=10, channels=1, size=(8, 8), mean=(0.5,), std=(0.25,), **arguments
    ).eval()
    images, labels = batch
    module = find_stage(network.body, stage)
    clean = latents_of(network, module, images)
    moved = method().attack_latents(network, module, images, labels, noise())
    low, high = clean.amin((0, 2, 3), keepdim=True), clean.amax((0, 2, 3), keepdim=True)
    assert moved.shape == clean.shape
    assert ((moved - clean).abs() <= SHARE * (high - low) + 1e-5).all()
    assert ((moved >= low - 1e-5) & (moved <= high + 1e-5)).all()


def test_the_latent_attack_raises_the_loss(network: Network, batch: tuple[Tensor, Tensor]) -> None:
    network.eval()
    images, labels = batch
    moved = method().attack_latents(network, find_stage(network.body, 1), images, labels, noise())
    upper = halves(network)[1]
    assert cross_entropy(upper(moved), labels) > cross_entropy(network(images), labels) + 0.05


def test_a_channel_that_never_changes_stays_as_it_is(network: Network, batch: tuple[Tensor, Tensor]) -> None:
    network.eval()
    norm = network.body.get_submodule("convolutions.1")
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        norm.weight[0] = norm.bias[0] = 0
    moved = method().attack_latents(network, find_stage(network.body, 1), *batch, noise())
    assert torch.isfinite(moved).all()
    assert not moved[:, 0].any()


def test_crafting_moves_no_running_statistics_and_leaves_no_hook(
    network: Network, batch: tuple[Tensor, Tensor]
) -> None:
    network.train()
    method().loss(network, *batch, noise())
    counts = [value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")]
    assert all(int(count) == 2 for count in counts)
    assert not find_stage(network.body, 1)._forward_hooks
    assert network.training


def test_stages_have_numbers_and_names() -> None:
    body = build("wrn-10-1", classes=2, channels=1, size=(8, 8), mean=(0.5,), std=(0.25,)).body
    assert find_stage(body, 2) is find_stage(body, "groups.1")


@pytest.mark.parametrize(("stage", "hint"), [(3, "1 to 2"), (0, "1 to 2"), ("nowhere", "convolutions")])
def test_a_stage_that_there_is_not_is_answered_with_those_there_are(
    network: Network, stage: int | str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        find_stage(network.body, stage)
    assert hint in caught.value.hint


def test_a_stage_that_the_network_does_not_pass_is_an_error(
    network: Network, batch: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(UsageError, match="does not pass through"):
        latents_of(network, nn.Identity(), batch[0])


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own, while it compiles
def test_a_compiled_network_is_cut_all_the_same(network: Network, batch: tuple[Tensor, Tensor]) -> None:
    twin = copy.deepcopy(network)
    twin.body.compile(backend="eager")
    losses = [
        [float(method().loss(each, *batch, noise()).detach()) for _ in range(3)] for each in (network, twin)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
