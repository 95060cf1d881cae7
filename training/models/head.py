"""The classifier of fixed class centres: cosines in place of a linear layer (MAT eq. 5, Sec. 3.3)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from holdfast.centers import cosine_logits, max_mahalanobis_centres
from holdfast.errors import UsageError
from training.models.network import Network


class CosineHead(nn.Module):
    """Logits ``scale`` · cos(φ, μ_k), in [−scale, scale], with Max-Mahalanobis centres that never move.

    MAT classifies by these cosines (eq. 5). For programs that want a linear layer it multiplies φ by the
    centres instead, h = W φ (Sec. 3.3, :func:`as_linear`): the classes are the same, but those logits grow
    with ‖φ‖, so that their softmax says as much of ‖φ‖ as of the image. The cosines are what is served.

    Args:
        width: d, the length of φ.
        classes: L.
        scale: A factor on all cosines; no class depends on it, nor does any attack on the margin.
    """

    centres: Tensor

    def __init__(self, width: int, classes: int, scale: float = 1.0) -> None:
        super().__init__()
        if scale <= 0:
            raise UsageError(f"The scale of a cosine head is positive, not {scale}.")
        centres = torch.from_numpy(max_mahalanobis_centres(classes, width)).float()
        # Saved with the weights: a network is its centres, whatever a later search for them would find.
        self.register_buffer("centres", centres)
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, d) to logits (n, L)."""
        logits: Tensor = cosine_logits(features, self.centres, self.scale)
        return logits


def centres_of(network: Network, method: str) -> Tensor:
    """The network's unit class centres, (L, d).

    Args:
        network: With a cosine head.
        method: What needs them, for the message.

    Raises:
        UsageError: The network has no centres.
    """
    if not isinstance(network.head, CosineHead):
        raise UsageError(
            f"{method} trains towards fixed class centres, and the network's head is a linear layer.",
            hint="Set model.head=cosine.",
        )
    return network.head.centres


def as_linear(network: Network, norm: float = 1.0) -> Network:
    """The same classifier with a linear layer: h = W φ with the centres for W, no bias (MAT Sec. 3.3).

    Args:
        network: With a cosine head; it is left as it was.
        norm: C, the length of the centres in W.

    Returns:
        A copy, in the mode of the network, with the same class for every image.

    Raises:
        UsageError: The network has no centres.
    """
    centres = centres_of(network, "The transformation of MAT's Sec. 3.3")
    linear = nn.Linear(network.width, network.classes).to(centres)
    with torch.no_grad():
        linear.weight.copy_(norm * centres)
        nn.init.zeros_(linear.bias)
    transformed = copy.deepcopy(network)
    transformed.head = linear.requires_grad_(False)
    return transformed
