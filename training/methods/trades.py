"""TRADES (Zhang et al. 2019, "Theoretically Principled Trade-off between Robustness and Accuracy").

    min_θ E { L(f_θ(x), y) + β · max_{‖x' − x‖ <= ε} KL(p_θ(x) ‖ p_θ(x')) }        (eq. 5; β = 1/λ)

    Algorithm 1, for each batch:
        x' <- x + 0.001 · N(0, I)                                          KL has no gradient at x itself
        repeat K times:  x' <- P(x' + η₁ · sign(∇_{x'} KL(p(x) ‖ p(x'))))
        θ <- θ − η₂ ∇_θ mean { L(f(x), y) + β · KL(p(x) ‖ p(x')) }         through both p(x) and p(x')

The network is in eval mode while x' is sought and in train mode for the outer loss, as in the authors'
program. There the clean and the adversarial batch have statistics of their own each, as they are two forward
passes; ``forwards: joint`` sends both through in one pass, which normalises them together. (Their
program computes p(x) once for each term, so that the running statistics see the clean batch twice.)
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from holdfast.attacks.ball import ball
from holdfast.attacks.noise import Noise
from holdfast.units import Budget
from training.methods.method import Method, MethodParameters, Paper
from training.models.network import Network, evaluating


class Parameters(MethodParameters):
    """The defaults are the paper's for CIFAR-10 (Sec. 5), in this project's budget: the paper's is 0.031."""

    norm: Literal["linf", "l2"] = "linf"
    epsilon: Budget = 8 / 255
    steps: Annotated[int, Field(ge=1, le=100, description="K of Algorithm 1; Sec. 5: 10.")] = 10
    step_size: Annotated[Budget, Field(description="η₁ of Algorithm 1; Sec. 5: 0.007.")] = 0.007
    beta: Annotated[float, Field(ge=0, description="1/λ of eq. 5; Sec. 5: 6.")] = 6.0
    start_noise: Annotated[
        float, Field(gt=0, description="Deviation of the start around x; Algorithm 1: 0.001.")
    ] = 0.001
    forwards: Annotated[
        Literal["separate", "joint"],
        Field(description="Whether the outer loss normalises clean and adversarial batch apart or together."),
    ] = "separate"


class TRADES(Method[Parameters]):
    """Accuracy on clean images, plus constancy of the prediction around them."""

    Parameters = Parameters
    paper = Paper(
        authors="Zhang, Yu, Jiao, Xing, El Ghaoui & Jordan",
        title="Theoretically Principled Trade-off between Robustness and Accuracy",
        venue="ICML",
        year=2019,
    )

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Cross-entropy on the clean batch, and β times the divergence that the attack found."""
        with evaluating(network):
            adversarial = self.attack(network, images, noise)
        if self.parameters.forwards == "joint":
            clean, moved = network(torch.cat([images, adversarial])).chunk(2)
        else:
            clean, moved = network(images), network(adversarial)
        return cross_entropy(clean, labels) + self.parameters.beta * divergence(clean, moved) / len(images)

    def attack(self, network: Network, images: Tensor, noise: Noise) -> Tensor:
        """Ascend the divergence from the clean prediction; no label is looked at.

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
            clean = network(images)
        adversarial: Tensor = images + p.start_noise * noise.normal(images)
        for _ in range(p.steps):
            leaf = adversarial.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(divergence(clean, network(leaf)), leaf)
            adversarial = region.step(adversarial, gradient, p.step_size, images)
        return adversarial


def divergence(clean: Tensor, moved: Tensor) -> Tensor:
    """Σ_i KL(p_i ‖ p'_i), from the logits of clean and of perturbed images, each (n, classes)."""
    return kl_div(log_softmax(moved, 1), log_softmax(clean, 1), reduction="sum", log_target=True)


METHOD = TRADES
