"""Bilateral adversarial training (Wang & Zhang 2019, "Bilateral Adversarial Training: Towards Fast Training
of More Robust Models Against Adversarial Attacks"). Image and label are both perturbed; for each batch:

    v_k = ∂L/∂y_k = −log p_k(x)                              how much the loss minds mass on class k
    y'_k = ε_y · (v_k − v_MC + γ) / Σ_{j≠c} (v_j − v_MC + γ)                    for k ≠ c (Sec. 4.1)
    y'_c = 1 − ε_y,   with ε_y such that y'_c = β · max_{k≠c} y'_k
    x' = P(x + u + ε · sign(∇_x log p_MC(x + u))),   u ~ U(−ε, ε)                             (Sec. 4.2)
    θ <- θ − γ_θ ∇_θ L(x', y'; θ)

c is the true class and MC the most confusing one, the likeliest of the others, with the smallest v_k: the
image goes one targeted step towards it, while the label's mass goes to the classes that the network thinks
least likely. Where all v_k are equal, y' is label smoothing by ε_y. MC and y' are found on the clean image.

The network is in eval mode while both are crafted, as in the authors' program, which β and γ are from too.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, one_hot

from holdfast.attacks.ball import LInfBall
from holdfast.attacks.loss import Loss
from holdfast.attacks.noise import Noise
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.units import Budget
from training.methods.method import Method, MethodParameters, Paper
from training.models.network import Network, evaluating


class Parameters(MethodParameters):
    """The paper's values for CIFAR-10; its second model there was trained within 4/255."""

    epsilon: Budget = 8 / 255
    steps: Annotated[int, Field(ge=1, le=100, description="The paper takes one.")] = 1
    step_size: Annotated[Budget | None, Field(description="By default epsilon, as in the paper.")] = None
    label_ratio: Annotated[
        float, Field(gt=0, description="β: the true class keeps this many times the largest other mass.")
    ] = 9.0
    label_floor: Annotated[
        float, Field(gt=0, description="γ: leaves some mass to the most confusing class too.")
    ] = 0.01


class Bilateral(Method[Parameters]):
    """One targeted step on the image, a closed form on the label."""

    Parameters = Parameters
    paper = Paper(
        authors="Wang & Zhang",
        title="Bilateral Adversarial Training: "
        "Towards Fast Training of More Robust Models Against Adversarial Attacks",
        venue="ICCV",
        year=2019,
    )

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Cross-entropy of the perturbed images with the perturbed labels."""
        p = self.parameters
        with evaluating(network):
            with torch.no_grad():
                clean = network(images)
            adversarial = self.attack(network, images, labels, most_confusing(clean, labels), noise)
        targets = perturb_labels(clean, labels, ratio=p.label_ratio, floor=p.label_floor)
        return cross_entropy(network(adversarial), targets)

    def attack(
        self, network: Network, images: Tensor, labels: Tensor, targets: Tensor, noise: Noise
    ) -> Tensor:
        """Go towards the target classes from a random start (R-FGSM where there is one step).

        Args:
            network: In eval mode.
            images: (n, c, h, w).
            labels: (n,).
            targets: (n,) classes to reach.
            noise: For the start.

        Returns:
            (n, c, h, w), detached.
        """
        p = self.parameters
        region = LInfBall(p.epsilon)
        oracle = TorchOracle(network, network.classes)
        adversarial: Tensor = region.random(images, noise)
        for _ in range(p.steps):
            answer = oracle.gradient(adversarial, labels, Loss.TARGETED_CROSS_ENTROPY, targets)
            step_size = p.epsilon if p.step_size is None else p.step_size
            adversarial = region.step(adversarial, answer.gradient, step_size, images)
        return adversarial


def most_confusing(logits: Tensor, labels: Tensor) -> Tensor:
    """The likeliest class but the true one, (n,), from logits (n, classes) and labels (n,)."""
    return logits.scatter(1, labels[:, None], -torch.inf).argmax(1)


def perturb_labels(logits: Tensor, labels: Tensor, *, ratio: float, floor: float) -> Tensor:
    """The adversarial label of each image (Sec. 4.1).

    Args:
        logits: Of the clean images, (n, classes).
        labels: (n,).
        ratio: β.
        floor: γ.

    Returns:
        (n, classes), each row a distribution.
    """
    true = one_hot(labels, logits.shape[1]).bool()
    v = -log_softmax(logits, 1)
    least = v.masked_fill(true, torch.inf).amin(1, keepdim=True)
    weights = (v - least + floor).masked_fill(true, 0)
    share = weights / weights.sum(1, keepdim=True)
    # y'_c = 1 − ε_y = β · ε_y · max share
    mass = 1 / (1 + ratio * share.amax(1, keepdim=True))
    return torch.where(true, 1 - mass, mass * share)


METHOD = Bilateral
