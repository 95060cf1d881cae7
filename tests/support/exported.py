"""A bundle as ``holdfast export`` makes it, beside the network that it was made of."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.bundle import Bundle
from training.models import Network

SHAPE = (1, 9, 9)


@dataclass(frozen=True)
class Exported:
    """A network for images of ``SHAPE`` and its bundle."""

    network: Network
    bundle: Bundle
