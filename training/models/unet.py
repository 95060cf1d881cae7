"""A UNet from images and a latent vector to images: FS-GAN's generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from holdfast.errors import UsageError
from training.models.network import initialise

#: Of the leaky ReLUs, as in L2L-DA's generator (Jang et al. 2019), which FS-GAN builds on.
_SLOPE = 0.2


class UNet(nn.Module):
    """The layout of Ronneberger et al. 2015 (MICCAI) for small images, told apart by a latent vector.

    Each level has two 3x3 convolutions, with batch norm, and halves the image; on the way up an image is
    enlarged to the size of its level and joined with what that level had on the way down. As in L2L-DA the
    latent goes through two linear layers, and to every level on the way down as constant channels.

    Args:
        inputs: Channels of the images that go in.
        outputs: Channels of those that come out.
        latent: Length of the latent vector.
        width: Channels of the first level; each further one has twice as many.
        levels: How often the image is halved.
    """

    def __init__(self, inputs: int, outputs: int, *, latent: int, width: int = 64, levels: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        self.code = nn.Sequential(
            nn.Linear(latent, width), nn.LeakyReLU(_SLOPE), nn.Linear(width, width), nn.LeakyReLU(_SLOPE)
        )
        self.down = nn.ModuleList(
            _block(before + width, after)
            for before, after in zip([inputs, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            _block(widths[level + 1] + widths[level], widths[level]) for level in reversed(range(levels))
        )
        self.last = nn.Conv2d(width, outputs, 3, 1, 1)
        self.levels = levels
        initialise(self)

    def forward(self, images: Tensor, latent: Tensor) -> Tensor:
        """Images (n, inputs, h, w) and latents (n, latent) to (n, outputs, h, w), of any value.

        Raises:
            UsageError: The images are too small to be halved so often.
        """
        if min(images.shape[2:]) < 2**self.levels:
            raise UsageError(
                f"Images of {images.shape[2]}x{images.shape[3]} pixels cannot be halved {self.levels} times.",
                hint="Give the generator fewer levels.",
            )
        code = self.code(latent)[:, :, None, None]
        x, passed = images, []
        for level, block in enumerate(self.down):
            if level:
                passed.append(x)
                x = max_pool2d(x, 2)
            x = block(torch.cat([x, code.expand(-1, -1, *x.shape[2:])], dim=1))
        for block in self.up:
            beside = passed.pop()
            x = block(torch.cat([interpolate(x, size=beside.shape[2:]), beside], dim=1))
        out: Tensor = self.last(x)
        return out


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(_SLOPE),
    )
