"""The Max-Mahalanobis centre loss (MMC; Pang et al. 2020, "Rethinking Softmax Cross-Entropy Loss for
Adversarial Robustness"): MAT's closest relative, and its baseline.

Each class has a fixed centre μ_k of length C in feature space, all as far apart as can be
(``holdfast/centers.py``), and features are drawn to it by their Euclidean distance:

    L_MMC(x, y) = ½ ‖φ(x) − μ_y‖²                                                         (MAT eq. 2)

An image is of the class whose centre is nearest; all centres being as long, that is the one that φ points to
most, so that the logits served are the same cosines as MAT's. With adversarial training a share λ of the loss
is on PGD examples of the batch:

    min_θ E { (1 − λ) · L_MMC(x, y) + λ · L_MMC(x', y) }

As in the authors' program (P2333/Max-Mahalanobis-Training) x' ascends the cross-entropy of the logits
−‖φ − μ_k‖²; with ``targeted`` it goes for a class drawn at random, the label itself among them.
``attack_loss: mmc`` ascends L_MMC instead, which is what brought a network trained without adversarial
examples below 0.5 % (Tramèr et al. 2020): the softmax of such distances soon leaves no gradient. The program
omits the ½ of L_MMC, and crafts x' in train mode; we do it in eval mode.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from holdfast.attacks.ball import ball
from holdfast.attacks.noise import Noise
from training.methods.method import Method, Paper
from training.methods.pgd_at import InnerAttack
from training.models.head import centres_of
from training.models.network import Network, evaluating


class Parameters(InnerAttack):
    """Those of the authors' program, with our budget: theirs is 8/256, in steps of 2/256."""

    norm_of_centres: Annotated[float, Field(gt=0, description="C, the length of the centres; 10.")] = 10.0
    adversarial: Annotated[
        float, Field(ge=0, le=1, description="λ, the share of adversarial examples in the loss; 0: none.")
    ] = 0.0
    steps: Annotated[int, Field(ge=1, le=100)] = 10
    targeted: Annotated[bool, Field(description="Aim at a class drawn at random, as the program can.")] = (
        False
    )
    attack_loss: Annotated[
        Literal["cross-entropy", "mmc"],
        Field(description="What x' ascends: the program's softmax of distances, or L_MMC itself."),
    ] = "cross-entropy"


class MMC(Method[Parameters]):
    """Features at their class's centre."""

    Parameters = Parameters
    paper = Paper(
        authors="Pang, Xu, Dong, Du, Chen & Zhu",
        title="Rethinking Softmax Cross-Entropy Loss for Adversarial Robustness",
        venue="ICLR",
        year=2020,
    )

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """(1 − λ) · L_MMC of the clean batch + λ · L_MMC of the adversarial one."""
        share = self.parameters.adversarial
        centres = self.centres(network)
        loss = labels.new_zeros((), dtype=torch.float32)
        if share:
            with evaluating(network):
                adversarial = self.attack(network, images, labels, noise)
            loss = loss + share * mmc(network.features(adversarial), labels, centres).mean()
        if share < 1:
            loss = loss + (1 - share) * mmc(network.features(images), labels, centres).mean()
        return loss

    def attack(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """PGD from a random start, or from the images.

        Args:
            network: In eval mode.
            images: (n, c, h, w).
            labels: (n,).
            noise: For the random start and the random targets.

        Returns:
            (n, c, h, w), detached.
        """
        p = self.parameters
        region, centres = ball(p.norm, p.epsilon), self.centres(network)
        adversarial: Tensor = region.random(images, noise) if p.random_start else images
        aims = _random_classes(labels, network.classes, noise) if p.targeted else labels
        # Towards the class that is aimed at, away from the label.
        sign = -1.0 if p.targeted else 1.0
        for _ in range(p.steps):
            leaf = adversarial.detach().requires_grad_()
            features = network.features(leaf)
            if p.attack_loss == "mmc":
                ascended = mmc(features, aims, centres).sum()
            else:
                ascended = cross_entropy(distance_logits(features, centres), aims, reduction="sum")
            (gradient,) = torch.autograd.grad(sign * ascended, leaf)
            adversarial = region.step(adversarial, gradient, p.step_size, images)
        return adversarial

    def centres(self, network: Network) -> Tensor:
        """μ, (L, d), of length C.

        Raises:
            UsageError: The network's head has no centres.
        """
        return self.parameters.norm_of_centres * centres_of(network, "MMC")


def mmc(features: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """½ ‖φ − μ_y‖² of each image.

    Args:
        features: φ, (n, d).
        labels: (n,).
        centres: μ, (L, d).

    Returns:
        (n,).
    """
    losses: Tensor = 0.5 * (features - centres[labels]).square().sum(1)
    return losses


def distance_logits(features: Tensor, centres: Tensor) -> Tensor:
    """−‖φ − μ_k‖² for all classes, (n, L), from features (n, d) and centres (L, d): the program's logits."""
    return -torch.square(features.unsqueeze(1) - centres).sum(2)


def _random_classes(labels: Tensor, classes: int, noise: Noise) -> Tensor:
    drawn: Tensor = noise.uniform(labels.to(torch.float32), 0.0, float(classes))
    return drawn.long().clamp_max(classes - 1)


METHOD = MMC
