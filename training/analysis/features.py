"""A network's features and predictions for many images, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.models.network import Network, evaluating


@dataclass(frozen=True)
class Features:
    """What a network makes of n images.

    Attributes:
        vectors: φ(x), float32 (n, d).
        logits: Float32 (n, classes).
    """

    vectors: NDArray[np.float32]
    logits: NDArray[np.float32]

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The predicted class of each image, (n,)."""
        predicted: NDArray[np.int64] = self.logits.argmax(1)
        return predicted


@torch.no_grad()
def features_of(network: Network, images: NDArray[np.float32], *, batch_size: int = 256) -> Features:
    """Features and logits of images, in eval mode, one forward pass each.

    Args:
        network: Of a run (:func:`training.checkpoint.load_network`) or of a bundle
            (:func:`training.rebuild.rebuild`).
        images: (n, c, h, w), float32 in [0, 1], clean or adversarial; at least one.
        batch_size: Images at a time.

    Raises:
        ValueError: There are no images.
    """
    if not len(images):
        raise ValueError("there are no images to find the features of")
    device = next(network.parameters()).device
    vectors, logits = [], []
    with evaluating(network):
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size])).to(device)
            found = network.features(batch)
            vectors.append(found.cpu().numpy())
            logits.append(network.classify(found).cpu().numpy())
    return Features(np.concatenate(vectors), np.concatenate(logits))
