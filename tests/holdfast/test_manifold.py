"""IMT and IMT+ against their equations: by finite differences, by probabilities, by a Hessian written out."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from holdfast.manifold import (
    Transformed,
    move,
    step_sizes,
    transform,
    transform_for_attack,
    transform_traceably,
)

EPSILON = 0.05


class Judge(nn.Module):
    """A smooth function of images (n, 2, 3, 3), so that it has second derivatives too."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(18, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)[:, 0]
        return logits


def images(count: int = 5, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.2 + 0.6 * torch.rand(count, 2, 3, 3, generator=generator, dtype=torch.float64)


def numeric_gradient(function: Callable[[Tensor], Tensor], x: Tensor, width: float = 1e-6) -> Tensor:
    """Central differences, one value at a time, of a function of one image (1, ...) to a number (1,)."""
    gradient = torch.zeros_like(x)
    for place in range(x.numel()):
        nudge = torch.zeros_like(x).flatten()
        nudge[place] = width
        nudge = nudge.view_as(x)
        gradient.view(-1)[place] = ((function(x + nudge) - function(x - nudge)) / (2 * width)).item()
    return gradient


def test_the_step_is_eq_26_with_the_gradient_by_finite_differences() -> None:
    judge, x = Judge(), images(2)
    found = transform(judge, x, epsilon=EPSILON)
    for i in range(len(x)):
        with torch.no_grad():
            slope = numeric_gradient(lambda image: judge(image).sigmoid().log(), x[i : i + 1])
        torch.testing.assert_close(found.images[i : i + 1], x[i : i + 1] - EPSILON * slope.sign())


def test_the_score_falls_and_the_answer_says_what_it_was() -> None:
    judge, x = Judge(), images()
    found = transform(judge, x, epsilon=EPSILON)
    torch.testing.assert_close(found.logit, judge(x).detach())
    assert (judge(found.images) < judge(x)).all()
    torch.testing.assert_close(found.step, torch.full_like(found.step, EPSILON))
    assert not found.images.requires_grad


def test_a_discriminator_that_is_sure_still_gives_a_direction() -> None:
    judge, x = Judge(), images().float()
    judge = judge.float()

    def sure(z: Tensor) -> Tensor:
        return judge(z) + 200

    # The gradient of the log of the probability itself has vanished in float32.
    leaf = x.clone().requires_grad_()
    assert not torch.autograd.grad(sure(leaf).sigmoid().log().sum(), leaf)[0].any()
    moved = transform(sure, x, epsilon=EPSILON).images
    torch.testing.assert_close(moved, transform(judge, x, epsilon=EPSILON).images)


def test_what_is_moved_stays_an_image() -> None:
    judge, x = Judge(), images().round()
    found = transform(judge, x, epsilon=EPSILON)
    assert found.images.min() == 0
    assert found.images.max() == 1
    stuck = found.images == x
    assert stuck.any()
    assert not stuck.all()


def test_where_the_gradient_is_exactly_zero_nothing_moves() -> None:
    x = images()
    found = transform(lambda z: z[:, 0].sum((1, 2)), x, epsilon=EPSILON)
    torch.testing.assert_close(found.images[:, 1], x[:, 1], rtol=0, atol=0)
    torch.testing.assert_close(found.images[:, 0], x[:, 0] - EPSILON)


@pytest.mark.parametrize(
    ("score", "expected"),
    [(0.0, 1.0), (0.29, 1.0), (0.31, 0.5), (0.5, 0.5), (0.69, 0.5), (0.71, 1.0), (1.0, 1.0)],
)
def test_imt_plus_takes_half_the_step_between_its_thresholds(score: float, expected: float) -> None:
    logit = torch.tensor([math.log(score / (1 - score)) if 0 < score < 1 else (score - 0.5) * 1000])
    step = step_sizes(logit, epsilon=EPSILON, halved=(0.3, 0.7))
    assert step.item() == pytest.approx(expected * EPSILON)
    assert step_sizes(logit, epsilon=EPSILON).item() == pytest.approx(EPSILON)


def test_both_thresholds_belong_to_the_halved_range() -> None:
    logit = torch.tensor([0.0])
    for halved in [(0.5, 0.7), (0.3, 0.5), (0.5, 0.5)]:
        assert step_sizes(logit, epsilon=EPSILON, halved=halved).item() == pytest.approx(EPSILON / 2)


def test_each_image_of_a_batch_is_halved_by_its_own_score() -> None:
    judge, x = Judge(), images(8)
    with torch.no_grad():
        scores = judge(x).sigmoid()
    low, high = scores.sort().values[[2, 5]].tolist()
    found = transform(judge, x, epsilon=EPSILON, halved=(low, high))
    within = (scores >= low) & (scores <= high)
    assert 0 < within.sum() < len(x)
    torch.testing.assert_close(found.step, torch.where(within, EPSILON / 2, EPSILON).to(found.step))
    far = (found.images - x).abs().amax((1, 2, 3))
    torch.testing.assert_close(far, found.step)


def test_an_image_is_moved_alike_whatever_its_batch() -> None:
    judge, x = Judge(), images(6)
    together = transform(judge, x, epsilon=EPSILON, halved=(0.45, 0.55))
    for i in range(len(x)):
        alone = transform(judge, x[i : i + 1], epsilon=EPSILON, halved=(0.45, 0.55))
        torch.testing.assert_close(alone.images[0], together.images[i])
        torch.testing.assert_close(alone.step[0], together.step[i])


@pytest.mark.parametrize("way", [transform, transform_traceably])
def test_it_works_where_the_caller_records_no_gradients(way: Callable[..., Transformed]) -> None:
    judge, x = Judge().eval(), images()
    expected = way(judge, x, epsilon=EPSILON).images.detach()
    with torch.no_grad():
        torch.testing.assert_close(way(judge, x, epsilon=EPSILON).images, expected)
    with torch.inference_mode():
        inside = x * 1
        assert inside.is_inference()
        torch.testing.assert_close(transform(judge, inside, epsilon=EPSILON).images, expected)


@pytest.mark.parametrize("halved", [None, (0.45, 0.55)])
def test_every_form_gives_the_same_values(halved: tuple[float, float] | None) -> None:
    judge, x = Judge(), images()
    expected = transform(judge, x, epsilon=EPSILON, halved=halved)
    leaf = x.clone().requires_grad_()
    forms = [
        transform_traceably(judge, x, epsilon=EPSILON, halved=halved),
        transform_for_attack(judge, leaf, epsilon=EPSILON, halved=halved),
        transform_for_attack(judge, leaf, epsilon=EPSILON, halved=halved, through="end-to-end"),
    ]
    for found in forms:
        torch.testing.assert_close(found.images, expected.images)
        torch.testing.assert_close(found.logit, expected.logit)
        torch.testing.assert_close(found.step, expected.step)


def test_bpda_is_the_identity_backward() -> None:
    judge, x = Judge(), images().requires_grad_()
    weights = torch.randn_like(x)
    moved = transform_for_attack(judge, x, epsilon=EPSILON).images
    (gradient,) = torch.autograd.grad((weights * moved).sum(), x)
    torch.testing.assert_close(gradient, weights)


def test_end_to_end_goes_through_the_manifold_gradient_by_its_hessian() -> None:
    judge, x = Judge(), images(1).requires_grad_()
    moved = transform_for_attack(judge, x, epsilon=EPSILON, through="end-to-end").images
    weights = torch.randn(18, dtype=torch.float64)
    (found,) = torch.autograd.grad((weights * moved.flatten()).sum(), x)
    with torch.no_grad():
        point = x.detach()
        slope = numeric_gradient(judge, point)
        width = 1e-4
        hessian = torch.zeros(18, 18, dtype=torch.float64)
        for place in range(18):
            nudge = torch.zeros(18, dtype=torch.float64)
            nudge[place] = width
            above, below = point + nudge.view_as(point), point - nudge.view_as(point)
            difference = numeric_gradient(judge, above, 1e-5) - numeric_gradient(judge, below, 1e-5)
            hessian[place] = difference.flatten() / (2 * width)
    # x_t = x − ε · sign(g), and the sign's derivative counts as 1 / mean|g|.
    expected = weights - EPSILON * hessian.T @ weights / slope.abs().mean()
    torch.testing.assert_close(found.flatten(), expected, rtol=1e-4, atol=1e-6)
    assert (expected - weights).abs().max() > 1e-3, "the second derivative matters here"


def test_through_relu_networks_end_to_end_is_bpda_where_nothing_is_clipped() -> None:
    # A network of ReLUs is linear around almost every image: the manifold gradient has no derivative there.
    torch.manual_seed(0)
    judge = nn.Sequential(nn.Flatten(), nn.Linear(18, 8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0)).double()
    x = images().requires_grad_()
    weights = torch.randn_like(x)
    moved = transform_for_attack(judge, x, epsilon=EPSILON, through="end-to-end").images
    (gradient,) = torch.autograd.grad((weights * moved).sum(), x)
    torch.testing.assert_close(gradient, weights)


def test_the_step_needs_nothing_but_a_logit_and_its_gradient() -> None:
    x = images()
    gradient = torch.randn_like(x)
    found = move(x, torch.zeros(len(x), dtype=x.dtype), gradient, epsilon=EPSILON, halved=(0.3, 0.7))
    torch.testing.assert_close(found.images, x - EPSILON / 2 * gradient.sign())
