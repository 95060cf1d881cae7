"""Which evidence a network gives of whether an image is natural, beside its logits."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from training.models.defended import DefendedNetwork
from training.models.head import CosineHead
from training.models.network import Network


def evidence_of(network: Network) -> Literal["discriminator", "centre"] | None:
    """What kind of evidence the network gives; None where it gives none."""
    if isinstance(network, DefendedNetwork):
        return "discriminator"
    return "centre" if isinstance(network.head, CosineHead) else None


def classify_with_evidence(network: Network, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits (n, classes) and the score of each image (n,), by one forward pass.

    The score of a discriminator is P(adversarial); of class centres it is the cosine between the features and
    the centre of the class that is predicted.

    Args:
        network: In eval mode.
        images: (n, c, h, w) in [0, 1].
    """
    if isinstance(network, DefendedNetwork):
        logits, manifold = network.classify_and_judge(images)
        return logits, torch.sigmoid(manifold)
    logits = network(images)
    if isinstance(network.head, CosineHead):
        return logits, logits.amax(1) / network.head.scale
    return logits, None
