"""Training methods as somebody else would write them, outside the package."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from holdfast.attacks.noise import Noise
from training.methods import Method, MethodParameters
from training.models.network import Network

NUMBER = 7


class Parameters(MethodParameters):
    """One number."""

    weight: float = 1.0


class Weighted(Method[Parameters]):
    """Cross-entropy times a number."""

    Parameters = Parameters
    paper = None

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Of the images as they are."""
        return self.parameters.weight * cross_entropy(network(images), labels)


class Unfinished(Method[Parameters]):
    """It has no loss."""

    Parameters = Parameters
    paper = None


class Bare(Method[Parameters]):
    """It does not say what it takes."""

    paper = None

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """None."""
        raise NotImplementedError
