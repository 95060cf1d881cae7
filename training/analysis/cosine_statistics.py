"""The cosine between features and the centre of the class that is predicted: MAT's Table 5 (Sec. 4.5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.centers import cosine_similarity


@dataclass(frozen=True)
class CosineStatistics:
    """Mean and deviation of the cosine, class by class and over classes.

    "For each class, the mean and standard deviation were computed to quantify the level of clustering within
    class and over different classes, respectively." The table gives one mean ± deviation for each network,
    which leaves two readings of the deviation. Its figures allow one: ten classes' means, of which none is
    above 1, cannot be 0.993 ± 0.035 (0.021 at most), but the cosines within each class can.

    Attributes:
        classes: The classes that any image is predicted to be of, ascending, (k,).
        images: How many images are predicted to be of each, (k,).
        means: The mean cosine within each, (k,).
        deviations: The standard deviation within each, (k,).
    """

    classes: NDArray[np.int64]
    images: NDArray[np.int64]
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """The classes' means, averaged: what the table gives."""
        return float(self.means.mean())

    @property
    def deviation(self) -> float:
        """The deviations within the classes, averaged: what the table gives after ±."""
        return float(self.deviations.mean())

    @property
    def deviation_over_classes(self) -> float:
        """The deviation of the classes' means: the other reading."""
        return float(self.means.std())

    def __str__(self) -> str:
        """As the table has it, e.g. ``0.993±0.035``."""
        return f"{self.mean:.3f}±{self.deviation:.3f}"


def cosine_statistics(
    features: NDArray[np.float32], predictions: NDArray[np.int64], centres: NDArray[np.float32]
) -> CosineStatistics:
    """Measure how closely features cluster around the centre of their predicted class.

    Args:
        features: φ(x), (n, d), of clean images or of images under attack; at least one.
        predictions: (n,).
        centres: μ, (L, d), of any length.
    """
    own = cosine_similarity(features.astype(np.float64), centres.astype(np.float64))
    cosines = own[np.arange(len(features)), predictions]
    classes, images = np.unique(predictions, return_counts=True)
    groups = [cosines[predictions == label] for label in classes]
    return CosineStatistics(
        classes=classes,
        images=images,
        means=np.array([group.mean() for group in groups]),
        deviations=np.array([group.std() for group in groups]),
    )
