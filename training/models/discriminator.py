"""ATLD's discriminator: from latent vectors to a manifold logit and class logits (ATLD eq. 7)."""

from __future__ import annotations

import re
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import relu

from holdfast.errors import UsageError


class Discriminator(nn.Module):
    """D_W, with one output for the manifold and C for the classes (ATLD eq. 7, after ACGAN).

    Args:
        body: Latent vectors (n, inputs) to vectors (n, width).
        width: The length of the body's vectors.
        classes: C.
    """

    def __init__(self, body: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, 1 + classes)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Judge latent vectors.

        Args:
            latents: (n, inputs).

        Returns:
            The logit of P(adversarial), (n,), of which the paper's D⁰ is the sigmoid, and the logits of the
            classes, (n, C).
        """
        outputs: Tensor = self.head(self.body(latents))
        return outputs[:, 0], outputs[:, 1:]


class MLPBody(nn.Sequential):
    """Hidden layers with ReLU, all of one width; no batch norm, so that it has but one mode."""

    def __init__(self, inputs: int, depth: int, width: int) -> None:
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        super().__init__(*layers)
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)


class VectorBlock(nn.Module):
    """A wide residual network's block on an image of one pixel."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm1d(inputs)
        self.linear1 = nn.Linear(inputs, outputs, bias=False)
        self.norm2 = nn.BatchNorm1d(outputs)
        self.linear2 = nn.Linear(outputs, outputs, bias=False)
        self.shortcut = None if inputs == outputs else nn.Linear(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) to (n, outputs)."""
        active = relu(self.norm1(x))
        skip = x if self.shortcut is None else self.shortcut(active)
        out: Tensor = self.linear2(relu(self.norm2(self.linear1(active)))) + skip
        return out


class VectorWideResNetBody(nn.Module):
    """A wide residual network on vectors, each an image of one pixel.

    ATLD's program feeds its WRN-28-5 with vectors shaped (n, inputs, 1, 1). Of a 3x3 kernel only the centre
    then meets anything but padding, strides do nothing, and nor does pooling. What is left, the same function
    of the same trained weights, is linear layers: a ninth of the numbers.

    Args:
        depth: 6n + 4.
        widen: The factor on the widths 16, 32 and 64.
        inputs: The length of a vector.

    Raises:
        ValueError: ``depth`` is not 6n + 4.
    """

    def __init__(self, depth: int, widen: int, inputs: int) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"a wide residual network's depth is 6n + 4, at least 10, not {depth}")
        widths = [16, *(factor * widen for factor in (16, 32, 64) for _ in range((depth - 4) // 6))]
        self.stem = nn.Linear(inputs, widths[0], bias=False)
        self.blocks = nn.Sequential(*(VectorBlock(before, after) for before, after in pairwise(widths)))
        self.norm = nn.BatchNorm1d(widths[-1])
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear):
                # He's initialisation by fan-out, of the kernels whose centres these are.
                taps = 1 if name.endswith("shortcut") else 9
                nn.init.normal_(layer.weight, std=(2 / (taps * layer.out_features)) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (n, inputs) to (n, 64 · widen)."""
        return relu(self.norm(self.blocks(self.stem(x))))


def build_discriminator(architecture: str, *, inputs: int, classes: int) -> Discriminator:
    """Build a discriminator with fresh weights, drawn from torch's global generator.

    Args:
        architecture: ``wrn-<depth>-<widen>`` with depth 6n + 4, e.g. the papers' ``wrn-28-5``, or
            ``mlp-<hidden layers>-<width>``, e.g. ``mlp-2-256``.
        inputs: The length of a latent vector.
        classes: C.

    Raises:
        UsageError: There is no such architecture.
    """
    try:
        if match := re.fullmatch(r"wrn-(\d+)-([1-9]\d*)", architecture):
            widen = int(match[2])
            return Discriminator(VectorWideResNetBody(int(match[1]), widen, inputs), 64 * widen, classes)
        if match := re.fullmatch(r"mlp-([1-9]\d*)-([1-9]\d*)", architecture):
            width = int(match[2])
            return Discriminator(MLPBody(inputs, int(match[1]), width), width, classes)
    except ValueError as error:
        raise UsageError(f"Discriminator {architecture!r} cannot be built: {error}.") from None
    raise UsageError(
        f"There is no discriminator {architecture!r}.",
        hint="Write wrn-<depth>-<widen> or mlp-<layers>-<width>, e.g. wrn-28-5, mlp-2-256.",
    )
