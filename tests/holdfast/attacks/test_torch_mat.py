"""MAT's losses against autograd and plain readings of the paper's equations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from holdfast.attacks.torch_mat import adaptive_losses, bibo, cosine_distance, ftc, so
from holdfast.centers import max_mahalanobis_centres

CENTRES = 5 * torch.from_numpy(max_mahalanobis_centres(10, 16))


def drawn(seed: int = 0, images: int = 20) -> tuple[Tensor, Tensor]:
    """Features in double precision, and labels."""
    generator = torch.Generator().manual_seed(seed)
    features = 3 * torch.randn(images, 16, dtype=torch.float64, generator=generator)
    return features, torch.randint(0, 10, (images,), generator=generator)


def plain_ftc(features: Tensor, labels: Tensor) -> Tensor:
    """Eq. 4 as the paper writes it: 1 − (φ · μ) / (‖φ‖ ‖μ‖)."""
    own = CENTRES[labels]
    return 1 - (features * own).sum(1) / (features.norm(dim=1) * own.norm(dim=1))


def test_ftc_is_equation_4() -> None:
    features, labels = drawn()
    torch.testing.assert_close(ftc(features, labels, CENTRES), plain_ftc(features, labels))


def test_so_is_the_squared_norm_of_the_gradient_that_autograd_finds_of_ftc() -> None:
    features, labels = drawn()
    leaf = features.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(plain_ftc(leaf, labels).sum(), leaf)
    torch.testing.assert_close(so(features, labels, CENTRES), gradient.square().sum(1))


def test_so_is_sine_squared_over_length_squared_so_that_long_features_have_little() -> None:
    features, labels = drawn()
    cosine = 1 - plain_ftc(features, labels)
    expected = (1 - cosine**2) / features.square().sum(1)
    torch.testing.assert_close(so(features, labels, CENTRES), expected)
    torch.testing.assert_close(so(10 * features, labels, CENTRES), expected / 100)
    torch.testing.assert_close(ftc(10 * features, labels, CENTRES), ftc(features, labels, CENTRES))


def test_the_length_of_the_centres_cancels() -> None:
    features, labels = drawn()
    for loss in (ftc, so):
        torch.testing.assert_close(loss(features, labels, CENTRES), loss(features, labels, 7 * CENTRES))


@pytest.mark.parametrize("degrees", [0, 1e-4, 30, 90, 180])
def test_the_cosine_distance_of_two_directions_is_one_minus_the_cosine_of_their_angle(degrees: float) -> None:
    angle = math.radians(degrees)
    one, other = torch.tensor([[2.0, 0.0]]), 5 * torch.tensor([[math.cos(angle), math.sin(angle)]])
    expected = 2 * math.sin(angle / 2) ** 2
    assert cosine_distance(one, other).item() == pytest.approx(expected, rel=1e-3, abs=1e-15)


def test_bibo_and_its_gradient_are_exactly_zero_at_the_clean_image() -> None:
    clean = drawn()[0].float()
    leaf = clean.clone().requires_grad_()
    losses = bibo(leaf, clean)
    (gradient,) = torch.autograd.grad(losses.sum(), leaf)
    assert (losses == 0).all()
    assert (gradient == 0).all()


def test_bibo_has_the_gradient_of_its_definition_where_directions_are_close() -> None:
    """1 − cos in float32 has lost its digits where the angle is a thousandth; the gradient must not have."""
    clean = drawn()[0]
    moved = clean + 1e-3 * drawn(1)[0]
    leaf = moved.clone().requires_grad_()
    cosine = (leaf * clean).sum(1) / (leaf.norm(dim=1) * clean.norm(dim=1))
    (expected,) = torch.autograd.grad((1 - cosine).sum(), leaf)
    short = moved.float().requires_grad_()
    (found,) = torch.autograd.grad(bibo(short, clean.float()).sum(), short)
    torch.testing.assert_close(found.double(), expected, rtol=2e-3, atol=1e-3 * expected.abs().max().item())


def test_the_adaptive_attack_ascends_the_training_loss_with_bibo_from_the_inside() -> None:
    moved, labels = drawn()
    clean = drawn(1)[0]
    parts = [ftc(moved, labels, CENTRES), so(moved, labels, CENTRES), bibo(moved, clean)]
    found = adaptive_losses(moved, labels, CENTRES, clean, alpha=0.3, beta=2.0)
    torch.testing.assert_close(found, parts[0] + 0.3 * parts[1] + 2.0 * parts[2])
    assert found.shape == labels.shape
    torch.testing.assert_close(adaptive_losses(moved, labels, CENTRES, clean, alpha=0, beta=0), parts[0])


def test_each_image_has_a_loss_of_its_own() -> None:
    moved, labels = drawn()
    clean = drawn(1)[0]
    whole = adaptive_losses(moved, labels, CENTRES, clean, alpha=1, beta=1)
    alone = adaptive_losses(moved[3:4], labels[3:4], CENTRES, clean[3:4], alpha=1, beta=1)
    torch.testing.assert_close(whole[3:4], alone)


@pytest.mark.parametrize("place", ["zero", "tiny", "huge", "on the centre", "opposite"])
def test_losses_and_gradients_are_finite_wherever_the_features_are(place: str) -> None:
    centres = CENTRES.float()
    labels = torch.arange(10)
    features = {
        "zero": torch.zeros(10, 16),
        "tiny": 1e-20 * centres.flip(0),
        "huge": 1e15 * centres.flip(0),
        "on the centre": 3.3 * centres,
        "opposite": -0.7 * centres,
    }[place].requires_grad_()
    clean = torch.zeros(10, 16) if place == "zero" else 1.7 * features.detach()
    losses = adaptive_losses(features, labels, centres, clean, alpha=1, beta=1)
    (gradient,) = torch.autograd.grad(losses.sum(), features)
    assert torch.isfinite(losses).all()
    assert torch.isfinite(gradient).all()
