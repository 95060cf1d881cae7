"""Networks by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from holdfast.errors import UsageError
from holdfast.manifest import Head
from training.models.head import CosineHead, as_linear, centres_of
from training.models.network import Network, Normalise, initialise
from training.models.plain import mat_vgg, small_cnn
from training.models.preact_resnet import PreActResNet18Body
from training.models.wide_resnet import WideResNetBody

__all__ = [
    "ARCHITECTURES",
    "CosineHead",
    "Network",
    "Normalise",
    "as_linear",
    "build",
    "centres_of",
]

#: The names that recipes use. Any other ``wrn-<depth>-<width>`` with depth 6n + 4 works too.
ARCHITECTURES = (
    "wrn-28-10",
    "wrn-34-10",
    "wrn-28-4",
    "wrn-16-4",
    "wrn-16-2",
    "preact-resnet-18",
    "mat-vgg",
    "small-cnn",
)


def build(
    architecture: str,
    *,
    classes: int,
    channels: int,
    size: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    head: Head = "linear",
    embedding: int | None = None,
    scale: float = 1.0,
    **arguments: Any,
) -> Network:
    """Build a network with fresh weights, drawn from torch's global generator.

    Args:
        architecture: One of :data:`ARCHITECTURES`.
        classes: How many classes to tell apart.
        channels: Channels of the images.
        size: Height and width of the images.
        mean: Per channel, in [0, 1] units.
        std: Per channel, in [0, 1] units.
        head: What makes logits of features.
        embedding: The length of a feature vector, where a linear layer stands between the body and the head.
            A cosine head always has one, as long as the body's vectors unless said otherwise: most centres
            have negative coordinates, and what comes out of a body's ReLU has none.
        scale: The factor on the cosines of a cosine head.
        arguments: The architecture's own, e.g. ``base=16`` for a narrow PreActResNet-18.

    Raises:
        UsageError: There is no such architecture, or it does not take these arguments or images.
    """
    if len(mean) != channels or len(std) != channels:
        raise UsageError(
            f"{channels} channels need as many means and deviations, not {len(mean)}, {len(std)}."
        )
    try:
        body, width = _body(architecture, channels, size, arguments)
    except (TypeError, ValueError) as error:
        raise UsageError(f"Architecture {architecture!r} cannot be built: {error}.") from None
    if embedding is not None and embedding < 1:
        raise UsageError(f"An embedding has at least 1 dimension, not {embedding}.")
    if head == "cosine":
        embedding = embedding or width
    elif scale != 1:
        raise UsageError("Only a cosine head has a scale.", hint="Set model.head=cosine.")
    projection = nn.Linear(width, embedding) if embedding else None
    width = embedding or width
    classifier = CosineHead(width, classes, scale) if head == "cosine" else None
    network = Network(Normalise(mean, std), body, width, classes, classifier, projection)
    initialise(network)
    return network


def _body(
    architecture: str, channels: int, size: tuple[int, int], arguments: dict[str, Any]
) -> tuple[nn.Module, int]:
    body: WideResNetBody | PreActResNet18Body | nn.Module
    if match := re.fullmatch(r"wrn-(\d+)-(\d+)", architecture):
        body = WideResNetBody(int(match[1]), int(match[2]), channels, **arguments)
    elif architecture == "preact-resnet-18":
        body = PreActResNet18Body(channels, **arguments)
    elif architecture == "mat-vgg":
        body = mat_vgg(channels, size, **arguments)
    elif architecture == "small-cnn":
        body = small_cnn(channels, size, **arguments)
    else:
        raise UsageError(
            f"There is no architecture {architecture!r}.", hint=f"There are: {', '.join(ARCHITECTURES)}."
        )
    width: int = body.width
    return body, width
