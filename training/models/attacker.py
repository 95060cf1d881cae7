"""The attacker of L2L: a residual network from images and gradients to perturbations, at full resolution."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

from torch import Tensor, nn


class AttackerBlock(nn.Module):
    """Two 3x3 convolutions, each after batch norm without weights and PReLU, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        first, second = nn.Conv2d(inputs, outputs, 3, 1, 1), nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.residual = nn.Sequential(
            nn.BatchNorm2d(inputs, affine=False),
            nn.PReLU(),
            first,
            nn.BatchNorm2d(outputs, affine=False),
            nn.PReLU(),
            second,
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1)
        nn.init.xavier_uniform_(first.weight, gain=sqrt(2))
        nn.init.xavier_uniform_(second.weight, gain=sqrt(2))
        nn.init.xavier_uniform_(self.shortcut.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h, w)."""
        out: Tensor = self.residual(x) + self.shortcut(x)
        return out


class ResidualAttacker(nn.Module):
    """The attacker of Jiang et al.'s published program: four blocks between two convolutions, then tanh.

    Args:
        inputs: Channels that it is shown, e.g. an image's and its gradient's.
        outputs: Channels of an image.
        base: Channels of the first convolution, 64 in the paper; the blocks have 2, 4, 2 and 1 times as many.
    """

    def __init__(self, inputs: int, outputs: int, base: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(inputs, base, 3, 1, 1, bias=False), nn.BatchNorm2d(base, eps=1e-3), nn.ReLU()
        )
        widths = [base, 2 * base, 4 * base, 2 * base, base]
        self.blocks = nn.Sequential(*(AttackerBlock(a, b) for a, b in pairwise(widths)))
        self.head = nn.Sequential(
            nn.BatchNorm2d(base, affine=False), nn.Conv2d(base, outputs, 3, 1, 1), nn.Tanh()
        )

    def forward(self, x: Tensor) -> Tensor:
        """What it is shown, (n, inputs, h, w), to perturbations over the budget, (n, outputs, h, w)."""
        perturbation: Tensor = self.head(self.blocks(self.stem(x)))
        return perturbation
