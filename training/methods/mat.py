"""Manifold-Aware Training (MAT; "Manifold-Aware Training: Increase Adversarial Robustness with Feature
Clustering", under review at ICLR 2021).

Each class has a fixed centre μ_k in feature space, all as far apart as can be (``holdfast/centers.py``); an
image is of the class whose centre its features φ point to most (eq. 5). With CD(a, b) = 1 − cos(a, b):

    L_FTC(x, y)  = CD(φ(x), μ_y)                                        feature to center (eq. 4)
    L_SO(x, y)   = ‖∇_φ L_FTC‖²                                         second order, in closed form (eq. 6)
    L_BIBO(x)    = max_{x' ∈ B_ε(x)} CD(φ(x), φ(x'))                    bounded input, bounded output (eq. 8)
    min_θ E { L_FTC + α · L_SO + β · L_BIBO }                                                     (eq. 9)

Table 2's four combinations are α = 0 or not, β = 0 or not. No gradient of L_FTC is propagated for L_SO: it is
known. L_BIBO is sought by PGD "as in the second term of TRADES", so, like there: from x + 0.001 · N(0, I),
because CD has no gradient at x itself, in eval mode; the outer gradient flows through φ(x) and φ(x') both, in
train mode. The paper says neither that nor anything of α, β, the length of φ, the optimiser or the steps. C,
the length of the centres, cancels in all of these losses.

L_SO alone is no defence. It is (1 − cos²) / ‖φ‖², and a network can lower it by making φ long, which lowers
every gradient that an attack sees and nothing else: the paper's own figure for SO without BIBO falls from
79.92 % to 1.27 % under the attack that knows the loss (Table 4). What holds is BIBO.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from holdfast.attacks.ball import ball
from holdfast.attacks.noise import Noise
from holdfast.attacks.torch_mat import bibo, ftc, so
from holdfast.units import Budget
from training.methods.method import Method, MethodParameters, Paper
from training.models.head import centres_of
from training.models.network import Network, evaluating


class Parameters(MethodParameters):
    """α, β and the inner PGD. None is in the paper: the PGD is TRADES', α and β are found in docs/methods."""

    alpha: Annotated[float, Field(ge=0, description="α of eq. 9, on SO; 0 leaves it out.")] = 0.01
    beta: Annotated[float, Field(ge=0, description="β of eq. 9, on BIBO; 0 leaves it out.")] = 1.0
    norm: Literal["linf", "l2"] = "linf"
    epsilon: Annotated[Budget, Field(description="ε of eq. 8.")] = 8 / 255
    steps: Annotated[int, Field(ge=1, le=100, description="Of the PGD for eq. 8; TRADES: 10.")] = 10
    step_size: Annotated[Budget, Field(description="Of the PGD for eq. 8; TRADES: 0.007.")] = 0.007
    start_noise: Annotated[
        float, Field(gt=0, description="Deviation of its start around x; TRADES: 0.001.")
    ] = 0.001
    forwards: Annotated[
        Literal["separate", "joint"],
        Field(description="Whether the outer loss normalises clean and perturbed batch apart or together."),
    ] = "separate"


@dataclass(frozen=True)
class Terms:
    """The three losses of one batch, each a mean over its images; None for one that is left out."""

    ftc: Tensor
    so: Tensor | None
    bibo: Tensor | None


class MAT(Method[Parameters]):
    """Features near their class's centre, and constant around each image."""

    Parameters = Parameters
    paper = Paper(
        authors="Anonymous",
        title="Manifold-Aware Training: Increase Adversarial Robustness with Feature Clustering",
        venue="under review at ICLR",
        year=2021,
    )

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """L_FTC + α · L_SO + β · L_BIBO (eq. 9)."""
        terms = self.terms(network, images, labels, noise)
        loss = terms.ftc
        if terms.so is not None:
            loss = loss + self.parameters.alpha * terms.so
        return loss if terms.bibo is None else loss + self.parameters.beta * terms.bibo

    def terms(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Terms:
        """The losses of eqs. 4, 6 and 8 for one batch; the arguments are :meth:`loss`'s."""
        p = self.parameters
        centres = centres_of(network, "MAT")
        moved = None
        if not p.beta:
            clean = network.features(images)
        else:
            with evaluating(network):
                perturbed = self.attack(network, images, noise)
            if p.forwards == "joint":
                clean, moved = network.features(torch.cat([images, perturbed])).chunk(2)
            else:
                clean, moved = network.features(images), network.features(perturbed)
        return Terms(
            ftc=ftc(clean, labels, centres).mean(),
            so=so(clean, labels, centres).mean() if p.alpha else None,
            bibo=bibo(moved, clean).mean() if moved is not None else None,
        )

    def attack(self, network: Network, images: Tensor, noise: Noise) -> Tensor:
        """Solve the maximisation of eq. 8 by PGD; no label is looked at.

        Args:
            network: In eval mode.
            images: (n, c, h, w).
            noise: For the start.

        Returns:
            (n, c, h, w), detached.
        """
        p = self.parameters
        region = ball(p.norm, p.epsilon)
        with torch.no_grad():
            clean = network.features(images)
        perturbed: Tensor = images + p.start_noise * noise.normal(images)
        for _ in range(p.steps):
            leaf = perturbed.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(bibo(network.features(leaf), clean).sum(), leaf)
            perturbed = region.step(perturbed, gradient, p.step_size, images)
        return perturbed


METHOD = MAT
