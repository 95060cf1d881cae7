"""Scikit-learn's scanned digits: 1,797 grey images of 8x8 pixels that are always there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from holdfast.errors import MissingExtraError
from training.data.dataset import Dataset, Split
from training.data.options import Options
from training.data.splitting import split_by_class

CLASSES = tuple("0123456789")


def read(name: str, root: Path, options: Options) -> Dataset:  # noqa: ARG001 (they come with the package)
    """Read the digits, holding out a share of each class.

    Their 17 grey levels 0 to 16 become ``round(level * 255 / 16)``. They are not augmented: a mirrored digit
    is another sign, and at 8x8 pixels every digit fills its image.

    Raises:
        MissingExtraError: Scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise MissingExtraError("scikit-learn", "train", "The data set 'digits'") from None
    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = np.asarray(bunch.target, dtype=np.int64)
    train, test = split_by_class(labels, options.test_fraction, options.seed)
    whole = Split(images, labels)
    return Dataset(
        name=name,
        train=whole.take(train),
        test=whole.take(test),
        classes=CLASSES,
        note="Scikit-learn's copy of the UCI optical digits (its test part); split here, by class.",
    )
