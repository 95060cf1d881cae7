"""Pictures that show what an attack did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.images import encode_png


@dataclass(frozen=True)
class PerturbationPicture:
    """A perturbation made visible.

    Attributes:
        image: (channels, height, width) in [0, 1]; mid-grey, 0.5, where nothing was changed, lighter where a
            value was raised and darker where it was lowered.
        scale: How many times larger than life the perturbation is shown.
    """

    image: NDArray[np.float32]
    scale: float

    def png(self) -> bytes:
        """As a PNG file that says its scale in its description."""
        words = f"Perturbation, {self.scale:g} times larger than life; mid-grey is no change."
        return encode_png(self.image, {"Description": words})


def perturbation_picture(
    original: NDArray[np.float32], adversarial: NDArray[np.float32], extent: float | None = None
) -> PerturbationPicture:
    """Show x' − x around mid-grey, scaled so that ±``extent`` fills the whole range.

    Args:
        original: x, (channels, height, width) in [0, 1].
        adversarial: x', of the same shape.
        extent: The largest change that there can be, in image units: epsilon in L∞, so that pictures of one
            budget compare. By default the largest that there is, for norms that do not bound it usefully.

    Returns:
        The picture; where nothing was changed and no extent given, plain grey at the scale 1.

    Raises:
        ValueError: The shapes differ, or the extent is negative.
    """
    if original.shape != adversarial.shape:
        raise ValueError(f"the images have the shapes {original.shape} and {adversarial.shape}")
    if extent is not None and extent < 0:
        raise ValueError(f"extent is not negative, and {extent} is")
    difference = adversarial.astype(np.float64) - original
    full = float(np.abs(difference).max()) if extent is None else extent
    scale = 0.5 / full if full > 0 else 1.0
    shown = np.clip(0.5 + scale * difference, 0.0, 1.0).astype(np.float32)
    return PerturbationPicture(shown, scale)
