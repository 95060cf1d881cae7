"""Feature Scattering (Zhang & Wang, NeurIPS 2019, "Defense Against Adversarial Attacks Using Feature
Scattering-based Adversarial Training"). Algorithm 1, for each batch μ = Σ u_i δ(x_i):

    x'_i ~ B(x_i, ε)                                                        start at random in the ball
    repeat T times:
        x'_i <- P(x'_i + ε · sign(∇_{x'_i} D(μ, ν)))                        scatter the features (eq. 6)
    θ <- θ − γ · 1/n Σ ∇_θ L(x'_i, y_i; θ)                                  train on the scattered batch

D is the optimal transport distance between the two batches' features under the cosine cost (eqs. 4, 5). It
needs no labels, and it ties the images of a batch together.

What the text leaves open is settled by the authors' published program, each with a parameter of its own:
features are the logits; the transport problem is solved over 60 images (their batch size) by the two or three
Sinkhorn iterations that their loose stopping rule allows; the gradient flows through the plan; the network is
in eval mode while it is attacked. (Every tenth step their program also runs a clean batch in train mode for
its log, which moves the batch norms' running statistics; the paper does not mention it, we do not do it.)
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from holdfast.attacks.ball import LInfBall
from holdfast.attacks.noise import Noise
from holdfast.units import Budget
from training.methods.method import Method, MethodParameters
from training.models.network import Network, evaluating
from training.transport import cosine_cost, group_sizes, sinkhorn


class Parameters(MethodParameters):
    """The paper's values (Sec. 5) where it gives them, else those of the authors' program."""

    epsilon: Annotated[Budget, Field(description="Sec. 5: 8/255.")] = 8 / 255
    steps: Annotated[int, Field(ge=1, le=100, description="T of Algorithm 1; Sec. 5: 1.")] = 1
    step_size: Annotated[Budget | None, Field(description="Algorithm 1 steps by epsilon, the default.")] = (
        None
    )
    label_smoothing: Annotated[
        float, Field(ge=0, lt=1, description="Probability taken from the true class; Sec. 5: 0.5.")
    ] = 0.5
    regularisation: Annotated[float, Field(gt=0, description="Of Sinkhorn's entropy; Sec. 5: 0.01.")] = 0.01
    sinkhorn_iterations: Annotated[int, Field(ge=1, le=1000)] = 3
    plan_gradient: Annotated[
        Literal["unrolled", "detached"],
        Field(description="Whether the scattering differentiates through the transport plan."),
    ] = "unrolled"
    group: Annotated[int, Field(ge=2, description="Images matched with one another, at most.")] = 60


class FeatureScattering(Method[Parameters]):
    """Feature scattering by optimal transport, with Sinkhorn's algorithm."""

    Parameters = Parameters

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Smoothed cross-entropy on the scattered batch (eq. 7)."""
        with evaluating(network):
            scattered = self.scatter(network, images, noise)
        smoothing = torch_smoothing(self.parameters, network.classes)
        return cross_entropy(network(scattered), labels, label_smoothing=smoothing)

    def scatter(self, network: Network, images: Tensor, noise: Noise) -> Tensor:
        """Perturb the batch so that its features move as far from the clean ones as ε allows (eq. 6).

        Args:
            network: In eval mode.
            images: (n, c, h, w).
            noise: For the random start.

        Returns:
            (n, c, h, w), detached.
        """
        p = self.parameters
        region = LInfBall(p.epsilon)
        scattered: Tensor = region.random(images, noise)
        with torch.no_grad():
            clean = network(images)
        for _ in range(p.steps):
            leaf = scattered.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.distance(clean, network(leaf)), leaf)
            step_size = p.epsilon if p.step_size is None else p.step_size
            scattered = region.step(scattered, gradient, step_size, images)
        return scattered

    def distance(self, clean: Tensor, scattered: Tensor) -> Tensor:
        """D(μ, ν) = <T, C> (eq. 4), summed over the groups of the batch.

        Args:
            clean: Features of the clean images, (n, d).
            scattered: Features of the perturbed images, (n, d).
        """
        p = self.parameters
        sizes = group_sizes(len(clean), p.group)
        total = clean.new_zeros(())
        for first, second in zip(torch.split(clean, sizes), torch.split(scattered, sizes), strict=True):
            cost = cosine_cost(first, second)
            plan = sinkhorn(
                cost if p.plan_gradient == "unrolled" else cost.detach(),
                regularisation=p.regularisation,
                iterations=p.sinkhorn_iterations,
            )
            total = total + (plan * cost).sum()
        return total


def torch_smoothing(parameters: Parameters, classes: int) -> float:
    """The papers' smoothing δ in torch's terms.

    FS puts 1 − δ on the true class and δ / (K − 1) on each other; torch spreads its smoothing over all K
    classes, the true one too, so that δ there is δ · K / (K − 1).
    """
    return parameters.label_smoothing * classes / (classes - 1)


METHOD = FeatureScattering
