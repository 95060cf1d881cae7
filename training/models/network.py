"""What every network here is: normalisation first, then features, then a classifier of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """(x − mean) / std per channel, so that callers and attacks stay in [0, 1].

    Args:
        mean: One number per channel, in [0, 1] units.
        std: One positive number per channel, in [0, 1] units.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images, same shape."""
        return (images - self.mean) / self.std


class Network(nn.Module):
    """An image classifier: ``forward`` is ``classify(features(x))``.

    Args:
        normalise: The first layer.
        body: Normalised images (n, c, h, w) to f(x), (n, width): all up to the last linear layer.
        width: The length of a feature vector.
        classes: How many classes there are.
        head: f(x) to logits (n, classes); a linear layer if there is none.
        embedding: A linear layer from what the body gives to f(x), for heads that need features of either
            sign: those of the bodies here have been through a ReLU.
    """

    def __init__(
        self,
        normalise: Normalise,
        body: nn.Module,
        width: int,
        classes: int,
        head: nn.Module | None = None,
        embedding: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.body = body
        self.embedding = embedding
        self.head = nn.Linear(width, classes) if head is None else head
        self.width = width
        self.classes = classes
        #: The type that the body computes in while training, e.g. ``torch.bfloat16``; features are float32.
        self.compute_dtype: torch.dtype | None = None

    def features(self, images: Tensor) -> Tensor:
        """f(x), (n, width), of images (n, c, h, w) in [0, 1]."""
        features: Tensor
        if self.compute_dtype is None:
            features = self.body(self.normalise(images))
        else:
            with torch.autocast(images.device.type, self.compute_dtype):
                features = self.body(self.normalise(images))
            features = features.float()
        return features if self.embedding is None else self.embedding(features)

    def classify(self, features: Tensor) -> Tensor:
        """The logits, (n, classes), of feature vectors (n, width)."""
        logits: Tensor = self.head(features)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """The logits, (n, classes), of images (n, c, h, w) in [0, 1]."""
        return self.classify(self.features(images))


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode inside, the mode it had before outside: attacks run against the model as it is served."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def initialise(network: nn.Module) -> None:
    """He et al.'s initialisation for convolutions, one and zero for batch norm, zero biases."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
