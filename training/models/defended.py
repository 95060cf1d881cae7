"""A classifier with its discriminator: one network that classifies an image and judges it."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from training.models.discriminator import Discriminator
from training.models.network import Network

#: What a discriminator judges: f(x), the vector before the last linear layer, or the logits.
Latent = Literal["features", "logits"]


class DefendedNetwork(Network):
    """A network that also says how likely an image is adversarial.

    It shares the classifier's layers, and its ``state_dict`` is the classifier's with the discriminator's
    tensors under ``discriminator.``.

    Args:
        network: The classifier.
        discriminator: Of the classifier's latent vectors.
        latent: Which vectors those are.
    """

    def __init__(self, network: Network, discriminator: Discriminator, latent: Latent) -> None:
        super().__init__(network.normalise, network.body, network.width, network.classes)
        for name, layer in network.named_children():
            setattr(self, name, layer)
        self.compute_dtype = network.compute_dtype
        self.discriminator = discriminator
        self.latent: Latent = latent

    def manifold_logit(self, images: Tensor) -> Tensor:
        """The logit of P(adversarial), (n,), of images (n, c, h, w) in [0, 1]."""
        return self._judge(self.features(images))

    def classify_and_judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, (n, classes), and the manifold logit, (n,), by one forward pass."""
        features = self.features(images)
        return self.classify(features), self._judge(features)

    def _judge(self, features: Tensor) -> Tensor:
        manifold: Tensor = self.discriminator(latents_of(self, features, self.latent))[0]
        return manifold


def latents_of(network: Network, features: Tensor, latent: Latent) -> Tensor:
    """The latent vectors that a discriminator is given.

    Args:
        network: The classifier.
        features: f(x), (n, width).
        latent: Which vectors.

    Returns:
        (n, width) for features, (n, classes) for logits.
    """
    return features if latent == "features" else network.classify(features)
