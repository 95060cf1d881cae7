"""The match rate of MAT's Table 1: whether images near one another in feature space are classified alike.

    E_x [ dom(C(x)) = f(x) ],   C(x) = argmin_C dist(C, x),   dom(C) = argmax_i m(C)_i            (Sec. 1.2)

with m(C)_i the number of members of cluster C that are predicted to be of class i. The clusters are those
that Ward's method (Ward 1963) finds in the features of clean images; images under attack are then looked up
in them. The paper says neither how many clusters there are nor what the distance to one is: here they are as
many as classes unless said otherwise, and the distance is Euclidean, to the cluster's mean, whose squares
Ward's method adds up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering

from holdfast.errors import UsageError


@dataclass(frozen=True)
class Clusters:
    """Clusters of features, each with the class that most of its members are predicted to be of.

    Attributes:
        means: (k, d).
        dominant: (k,), dom(C); of classes with equally many members the first.
        sizes: (k,), how many members each has.
    """

    means: NDArray[np.float64]
    dominant: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def ward(
        cls, features: NDArray[np.float32], predictions: NDArray[np.int64], count: int | None = None
    ) -> Clusters:
        """Cluster by Ward's method; time and memory grow with the square of the images.

        Args:
            features: φ(x) of clean images, (n, d).
            predictions: The class that the network gives each, (n,).
            count: How many clusters; as many as classes are predicted, if it is not said.

        Raises:
            UsageError: There are fewer images than clusters.
        """
        count = len(np.unique(predictions)) if count is None else count
        if not 1 <= count <= len(features):
            raise UsageError(f"{len(features)} images cannot be put into {count} clusters.")
        if len(features) == 1:
            members = np.zeros(1, dtype=np.int64)
        else:
            members = AgglomerativeClustering(n_clusters=count, linkage="ward").fit_predict(features)
        groups = [members == cluster for cluster in range(count)]
        return cls(
            means=np.stack([features[group].mean(0, dtype=np.float64) for group in groups]),
            dominant=np.array([np.bincount(predictions[group]).argmax() for group in groups]),
            sizes=np.array([group.sum() for group in groups]),
        )

    def closest(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """C(x), the number of the cluster whose mean is nearest, (n,), for features (n, d)."""
        wide = features.astype(np.float64)
        # ‖φ − m‖² without ‖φ‖², which is the same for all clusters.
        distances = (self.means**2).sum(1) - 2 * wide @ self.means.T
        nearest: NDArray[np.int64] = distances.argmin(1)
        return nearest

    def match_rate(self, features: NDArray[np.float32], predictions: NDArray[np.int64]) -> float:
        """The share of images whose class is that of the closest cluster, from 0 to 1.

        Args:
            features: φ(x), (n, d), of clean images or of images under attack; at least one.
            predictions: (n,).
        """
        return float((self.dominant[self.closest(features)] == predictions).mean())
