"""PreActResNet-18 (He et al. 2016b) for small images: no stem pooling, four groups of two blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from training.models.wide_resnet import WideBlock


class PreActResNet18Body(nn.Module):
    """PreActResNet-18 up to its feature vector of 8 · ``base`` numbers.

    Args:
        channels: Channels of the images.
        base: Channels of the first group; 64 in the paper.
    """

    def __init__(self, channels: int, base: int = 64) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, base, 3, 1, 1, bias=False)
        widths = [base, base, 2 * base, 4 * base, 8 * base]
        self.groups = nn.ModuleList(
            nn.Sequential(
                WideBlock(widths[i], widths[i + 1], stride=1 if i == 0 else 2),
                WideBlock(widths[i + 1], widths[i + 1], stride=1),
            )
            for i in range(4)
        )
        self.norm = nn.BatchNorm2d(widths[4])
        self.width = widths[4]

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (n, c, h, w) to features (n, 8 · base)."""
        x = self.stem(x)
        for group in self.groups:
            x = group(x)
        return torch.mean(relu(self.norm(x)), dim=(2, 3))
