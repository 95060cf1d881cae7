"""Plain convolutional networks: the VGG of MAT's MNIST experiments, and a small one for 8x8 digits."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class VGGBody(nn.Module):
    """Groups of 3x3 convolutions with batch norm, each ending in 2x2 max pooling, then one hidden layer.

    MAT names a VGG for MNIST and gives no layout; this is VGG's pattern (Simonyan & Zisserman 2015) at the
    depth that 28x28 images allow.

    Args:
        channels: Channels of the images.
        size: Height and width of the images; each group halves them, rounding down.
        groups: The widths of the convolutions, group by group.
        width: The length of the feature vector.

    Raises:
        ValueError: The images are too small to be halved so often.
    """

    def __init__(
        self, channels: int, size: tuple[int, int], groups: Sequence[Sequence[int]], width: int
    ) -> None:
        super().__init__()
        height, breadth = size[0] >> len(groups), size[1] >> len(groups)
        if not height or not breadth:
            raise ValueError(f"{size[0]}x{size[1]} images cannot be halved {len(groups)} times")
        layers: list[nn.Module] = []
        for group in groups:
            for outputs in group:
                layers += [
                    nn.Conv2d(channels, outputs, 3, 1, 1, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                ]
                channels = outputs
            layers.append(nn.MaxPool2d(2))
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(channels * height * breadth, width), nn.ReLU())
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (n, c, h, w) to features (n, width)."""
        features: Tensor = self.hidden(self.convolutions(x))
        return features


def mat_vgg(channels: int, size: tuple[int, int], width: int = 256) -> VGGBody:
    """The VGG for MNIST: six convolutions in three groups."""
    return VGGBody(channels, size, groups=[(32, 32), (64, 64), (128, 128)], width=width)


def small_cnn(channels: int, size: tuple[int, int], width: int = 64) -> VGGBody:
    """Three convolutions in two groups: enough for scikit-learn's 8x8 digits, and quick in tests."""
    return VGGBody(channels, size, groups=[(16,), (32, 32)], width=width)
