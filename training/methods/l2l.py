"""Learning to defend by learning to attack (L2L; Jiang, Chen, Shi, Dai & Zhao 2021, a preprint since 2018).
The inner maximisation of adversarial training is left to a second network, the attacker g:

    min_θ max_φ E L(f_θ(x + δ), y),    δ = ε · g_φ(A(x, y, θ)),    g in (−1, 1) by a tanh

    A = x                             Naive L2L  (``gradient: false``)
    A = (x, ∇_x L(f_θ(x), y))         Grad L2L   (``steps: 1``, the default)
    g again, at x + δ with the gradient there, δ <- clip(δ + ε · g, −ε, ε)      2-Step L2L (``steps: 2``)

For each batch φ takes a step up and θ one down. As in the authors' program the gradient is shown divided by
its largest absolute value in the batch and not differentiated through; φ is in train mode for its own step,
in eval mode for θ's; the attacker takes its step against the classifier in eval mode. For the classifier's
step their classifier is in train mode while its gradient is shown; here it is in eval mode, as it is attacked
once it is served. θ goes first there, φ here: over many batches the same turns.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from holdfast.attacks.noise import Noise
from holdfast.units import Budget
from training.methods.companion import Companion
from training.methods.method import Method, MethodParameters, Paper
from training.models.attacker import ResidualAttacker
from training.models.network import Network, evaluating


class Parameters(MethodParameters):
    """The defaults are those of the authors' program, in this project's budget: theirs is 0.031."""

    epsilon: Budget = 8 / 255
    steps: Annotated[int, Field(ge=1, le=10, description="Times that the attacker is applied.")] = 1
    gradient: Annotated[
        bool, Field(description="Whether the attacker is shown the classifier's gradient.")
    ] = True
    attacker_base: Annotated[
        int, Field(ge=1, description="Channels of the attacker's first convolution.")
    ] = 64
    attacker_learning_rate: Annotated[float, Field(gt=0, description="Of Adam.")] = 1e-3
    attacker_weight_decay: Annotated[float, Field(ge=0)] = 2e-4


class LearningToLearn(Method[Parameters]):
    """A classifier against a network that learns to attack it."""

    Parameters = Parameters
    paper = Paper(
        authors="Jiang, Chen, Shi, Dai & Zhao",
        title="Learning to Defend by Learning to Attack",
        venue="AISTATS",
        year=2021,
    )

    def companions(self, network: Network) -> dict[str, Companion]:
        """The attacker, at a learning rate of its own that stays as it is."""
        p = self.parameters
        channels = network.normalise.mean.shape[1]
        attacker = ResidualAttacker(channels * (1 + p.gradient), channels, p.attacker_base)
        optimiser = torch.optim.Adam(
            attacker.parameters(), p.attacker_learning_rate, weight_decay=p.attacker_weight_decay
        )
        self.attacker = Companion(attacker, optimiser)
        return {"attacker": self.attacker}

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Cross-entropy of what the attacker makes, after the attacker has taken its step."""
        del noise
        with evaluating(network):
            attacked = self.perturb(network, images, labels)
            self.attacker.descend(-cross_entropy(network(attacked), labels))
            with evaluating(self.attacker.network), torch.no_grad():
                adversarial = self.perturb(network, images, labels)
        return cross_entropy(network(adversarial), labels)

    def perturb(self, network: Network, images: Tensor, labels: Tensor) -> Tensor:
        """Let the attacker move the images.

        Args:
            network: In the mode that it is attacked in.
            images: (n, c, h, w).
            labels: (n,).

        Returns:
            (n, c, h, w), differentiable in the attacker's weights.
        """
        p = self.parameters
        moved, delta = images, torch.zeros_like(images)
        for _ in range(p.steps):
            shown = [moved, input_gradient(network, moved, labels)] if p.gradient else [moved]
            step = p.epsilon * self.attacker.network(torch.cat(shown, 1))
            delta = (delta + step).clamp(-p.epsilon, p.epsilon)
            moved = (images + delta).clamp(0, 1)
        return moved


def input_gradient(network: Network, images: Tensor, labels: Tensor) -> Tensor:
    """∇_x L(f(x), y) over its largest absolute value in the batch, (n, c, h, w), detached."""
    with torch.enable_grad():
        leaf = images.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(network(leaf), labels), leaf)
    return gradient / gradient.abs().max().clamp_min(torch.finfo(gradient.dtype).tiny)


METHOD = LearningToLearn
