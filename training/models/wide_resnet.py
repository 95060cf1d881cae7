"""Wide residual networks (Zagoruyko & Komodakis 2016): the networks of FS, FS-GAN and ATLD."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, beside an identity or a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        active = relu(self.norm1(x))
        # Where the shape changes, the shortcut leaves after the activation, as in the authors' code.
        skip = x if self.shortcut is None else self.shortcut(active)
        out: Tensor = self.conv2(relu(self.norm2(self.conv1(active)))) + skip
        return out


class WideResNetBody(nn.Module):
    """WRN-d-k up to its feature vector: three groups of (d − 4) / 6 blocks, 16k, 32k and 64k channels wide.

    Raises:
        ValueError: ``depth`` is not 6n + 4.
    """

    def __init__(self, depth: int, widen: int, channels: int) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"a wide residual network's depth is 6n + 4, at least 10, not {depth}")
        blocks = (depth - 4) // 6
        widths = [16, 16 * widen, 32 * widen, 64 * widen]
        self.stem = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        groups = []
        for group in range(3):
            inputs, outputs = widths[group], widths[group + 1]
            first = WideBlock(inputs, outputs, stride=1 if group == 0 else 2)
            groups.append(
                nn.Sequential(first, *(WideBlock(outputs, outputs, stride=1) for _ in range(blocks - 1)))
            )
        self.groups = nn.ModuleList(groups)
        self.norm = nn.BatchNorm2d(widths[3])
        self.width = widths[3]

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (n, c, h, w) to features (n, 64k)."""
        x = self.stem(x)
        for group in self.groups:
            x = group(x)
        return torch.mean(relu(self.norm(x)), dim=(2, 3))
