"""A split of labelled images into training and test that is the same on every machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.data.draws import Stream, permutation
from training.data.errors import DataError


def split_by_class(
    labels: npt.NDArray[np.int64], test_fraction: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Hold out a share of every class.

    Args:
        labels: int64 ``(n,)``.
        test_fraction: Share of each class to hold out; at least one image of a class is held out and at
            least one is kept.
        seed: Which images are held out.

    Returns:
        Indices of the training images and of the test images, each ascending.

    Raises:
        DataError: A class has fewer than two images.
    """
    test = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise DataError(
                f"Class {label} has {len(members)} image; splitting needs two or more.",
                hint="Add images, or lay the split out yourself as train/<class>/ and test/<class>/.",
            )
        held_out = min(max(round(len(members) * test_fraction), 1), len(members) - 1)
        order = permutation(len(members), seed=seed, stream=Stream.SPLIT, index=int(label))
        test[members[order[:held_out]]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)
