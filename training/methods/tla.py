"""Triplet loss adversarial training (TLA; Mao et al. 2019, "Metric Learning for Adversarial Robustness").

PGD moves an image's features h(x) towards a false class. TLA adds to adversarial training a metric that pulls
the features of an attacked image, the anchor a, to a clean image of its class, the positive p, and away from
the nearest clean image of another class, the negative n:

    D(a, b) = 1 − |a · b| / (‖a‖₂ ‖b‖₂)
    L_trip = mean_i [ D(h(x'_i), h(x_p)) − D(h(x'_i), h(x_n)) + α ]₊
    L_norm = mean_i ( ‖h(x'_i)‖₂ + ‖h(x_p)‖₂ + ‖h(x_n)‖₂ )
    min_θ  mean_i L(f(x'_i), y_i) + λ₁ · L_trip + λ₂ · L_norm                                     (Sec. 4)

h is the layer before the last linear one, and x' comes from PGD on the cross-entropy in eval mode. As in the
authors' program for CIFAR-10 there are two triplets for each anchor: its positive is its own clean image in
one, another image of its class, drawn at random, in the other. Positives and negatives are found in the
batch; theirs come from ten times as many images, in eval mode. Attacked and clean batch pass the network
apart, in train mode.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, relu

from holdfast.attacks.noise import Noise
from training.methods.method import Method, Paper
from training.methods.pgd_at import InnerAttack, attack
from training.models.network import Network, evaluating


class Parameters(InnerAttack):
    """The defaults are those of the authors' program for CIFAR-10."""

    margin: Annotated[float, Field(ge=0, le=1, description="α.")] = 0.03
    triplet_weight: Annotated[float, Field(ge=0, description="λ₁.")] = 2.0
    norm_weight: Annotated[float, Field(ge=0, description="λ₂.")] = 1e-3
    positives: Annotated[
        Literal["own", "class", "both"],
        Field(description="The anchor's own clean image, another of its class, or a triplet with each."),
    ] = "both"


class TripletLossAdversarialTraining(Method[Parameters]):
    """PGD adversarial training with a triplet loss on the features."""

    Parameters = Parameters
    paper = Paper(
        authors="Mao, Zhong, Yang, Vondrick & Ray",
        title="Metric Learning for Adversarial Robustness",
        venue="NeurIPS",
        year=2019,
    )

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Cross-entropy of the attacked batch, plus the triplets' and norms' terms."""
        with evaluating(network):
            adversarial = attack(network, images, labels, self.parameters, noise)
        anchors, clean = network.features(adversarial), network.features(images)
        metric = self.metric(anchors, clean, labels, noise)
        return cross_entropy(network.classify(anchors), labels) + metric

    def metric(self, anchors: Tensor, clean: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """λ₁ · L_trip + λ₂ · L_norm, summed over the kinds of positives.

        Args:
            anchors: Features of the attacked images, (n, d).
            clean: Features of the clean images, (n, d), in the same order.
            labels: (n,).
            noise: Draws the positives of the class.
        """
        p = self.parameters
        distances = angular_distances(anchors, clean)
        negatives, there_is_one = hardest_negatives(distances.detach(), labels)
        own = torch.arange(len(labels), device=labels.device)
        kinds = {"own": own, "class": class_positives(labels, noise, like=distances)}
        chosen = list(kinds.values()) if p.positives == "both" else [kinds[p.positives]]
        norms = clean.norm(dim=1)
        total = anchors.new_zeros(())
        for positives in chosen:
            hinge = relu(distances[own, positives] - distances[own, negatives] + p.margin) * there_is_one
            length = anchors.norm(dim=1) + norms[positives] + norms[negatives]
            total = total + p.triplet_weight * hinge.mean() + p.norm_weight * length.mean()
        return total


def angular_distances(anchors: Tensor, others: Tensor) -> Tensor:
    """D of every anchor (n, d) to every other (m, d): (n, m), in [0, 1]."""
    return 1 - (normalize(anchors) @ normalize(others).T).abs()


def hardest_negatives(distances: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """For each anchor the nearest image of another class.

    Args:
        distances: (n, n), from anchors to clean images of one batch.
        labels: (n,).

    Returns:
        Their indices (n,), and whether there is one, (n,) booleans: not in a batch of a single class.
    """
    same = labels[:, None] == labels[None]
    return distances.masked_fill(same, torch.inf).argmin(1), ~same.all(1)


def class_positives(labels: Tensor, noise: Noise, *, like: Tensor) -> Tensor:
    """For each image another of its class at random, (n,); itself where the batch has none.

    Args:
        labels: (n,).
        noise: Draws them.
        like: (n, n) floats: shape and device of the draw.
    """
    draw: Tensor = noise.uniform(like, 0.0, 1.0)
    draw = draw.masked_fill(labels[:, None] != labels[None], -torch.inf)
    return draw.fill_diagonal_(-1.0).argmax(1)


METHOD = TripletLossAdversarialTraining
