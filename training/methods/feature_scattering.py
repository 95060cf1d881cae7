"""Feature Scattering (Zhang & Wang, NeurIPS 2019, "Defense Against Adversarial Attacks Using Feature
Scattering-based Adversarial Training"). Algorithm 1, for each batch μ = Σ u_i δ(x_i):

    x'_i ~ B(x_i, ε)                                                        start at random in the ball
    repeat T times:
        x'_i <- P(x'_i + ε · sign(∇_{x'_i} D(μ, ν)))                        scatter the features (eq. 6)
    θ <- θ − γ · 1/n Σ ∇_θ L(x'_i, y_i; θ)                                  train on the scattered batch

D is the optimal transport distance between the two batches' features under the cosine cost (eqs. 4, 5). It
needs no labels, and it ties the images of a batch together. How the batches are matched (Tables 3b and 4) is
``training/transport/matching.py``; the perturbations that the paper compares with (Table 3a) are here.

What the text leaves open is settled by the authors' published program, each with a parameter of its own:
features are the logits; the transport problem is solved over 60 images (their batch size) by the two or three
Sinkhorn iterations that their loose stopping rule allows; the gradient flows through the plan; the network is
in eval mode while it is attacked. (Every tenth step their program also runs a clean batch in train mode for
its log, which moves the batch norms' running statistics; the paper does not mention it, we do not do it.)

Under ``torchrun`` each process matches its own share of a batch, so that N processes solve N small problems;
with ``gather`` they solve the one problem that a single process would with the whole batch.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from holdfast.attacks.ball import LInfBall
from holdfast.attacks.noise import Noise
from holdfast.attacks.pgd import ascend
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.units import Budget
from training.methods.method import Method, MethodParameters, Paper
from training.models.network import Network, evaluating
from training.smoothing import torch_smoothing
from training.transport import MatchingOptions, matching_distance


class Parameters(MatchingOptions, MethodParameters):
    """The paper's values (Sec. 5) where it gives them, else those of the authors' program."""

    epsilon: Annotated[Budget, Field(description="Sec. 5: 8/255.")] = 8 / 255
    perturbation: Annotated[
        Literal["feature-scatter", "supervised", "random"],
        Field(description="Table 3a: away from the batch's features, up the labels' loss, or anywhere."),
    ] = "feature-scatter"
    steps: Annotated[int, Field(ge=1, le=100, description="T of Algorithm 1; Sec. 5: 1.")] = 1
    step_size: Annotated[Budget | None, Field(description="Algorithm 1 steps by epsilon, the default.")] = (
        None
    )
    label_smoothing: Annotated[
        float, Field(ge=0, le=0.5, description="Probability taken from the true class; Sec. 5: 0.5.")
    ] = 0.5


class FeatureScattering(Method[Parameters]):
    """Feature scattering by optimal transport."""

    Parameters = Parameters
    paper = Paper(
        authors="Zhang & Wang",
        title="Defense Against Adversarial Attacks Using Feature Scattering-based Adversarial Training",
        venue="NeurIPS",
        year=2019,
    )

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Smoothed cross-entropy on the perturbed batch (eq. 7)."""
        with evaluating(network):
            perturbed = self.perturb(network, images, labels, noise)
        smoothing = torch_smoothing(self.parameters.label_smoothing, network.classes)
        return cross_entropy(network(perturbed), labels, label_smoothing=smoothing)

    def perturb(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """The batch to train on, by one of the schemes of Table 3a.

        Args:
            network: In eval mode.
            images: (n, c, h, w).
            labels: (n,); feature scattering does not look at them.
            noise: For the random start, which every scheme shares.

        Returns:
            (n, c, h, w), detached.
        """
        p = self.parameters
        if p.perturbation == "feature-scatter":
            return self.scatter(network, images, noise)
        region = LInfBall(p.epsilon)
        start: Tensor = region.random(images, noise)
        if p.perturbation == "random":
            return start
        oracle = TorchOracle(network, network.classes)
        supervised: Tensor = ascend(
            oracle, start, images, labels, region, steps=p.steps, step_size=self.step_size
        )
        return supervised

    def scatter(self, network: Network, images: Tensor, noise: Noise) -> Tensor:
        """Perturb the batch so that its features move as far from the clean ones as ε allows (eq. 6).

        Args:
            network: In eval mode.
            images: (n, c, h, w).
            noise: For the random start.

        Returns:
            (n, c, h, w), detached.
        """
        region = LInfBall(self.parameters.epsilon)
        scattered: Tensor = region.random(images, noise)
        with torch.no_grad():
            clean = network(images)
        for _ in range(self.parameters.steps):
            leaf = scattered.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.distance(clean, network(leaf)), leaf)
            scattered = region.step(scattered, gradient, self.step_size, images)
        return scattered

    @property
    def step_size(self) -> float:
        """How far one step of the perturbation goes, in image units."""
        p = self.parameters
        return p.epsilon if p.step_size is None else p.step_size

    def distance(self, clean: Tensor, scattered: Tensor) -> Tensor:
        """D(μ, ν) of eq. 4, between the features of the clean images and of the perturbed, both (n, d)."""
        return matching_distance(clean, scattered, self.parameters)


METHOD = FeatureScattering
