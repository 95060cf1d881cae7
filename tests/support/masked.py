"""A network whose gradient is zero everywhere, though it is as easy to fool as it was."""

from __future__ import annotations

from torch import Tensor, nn


class Quantised(nn.Module):
    """A network that sees its images in ``levels`` grey levels only.

    Rounding has no slope, so that every gradient is zero: the plainest of all masks.
    """

    def __init__(self, network: nn.Module, levels: int = 16) -> None:
        super().__init__()
        self.network = network
        self.steps = levels - 1

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.network((images * self.steps).round() / self.steps)
        return logits
