"""Data sets, and their batches on the device.

``load("cifar10")`` reads a whole data set into memory as a ``Dataset``; ``Batches`` turns one of its splits
into augmented batches. Importing this package needs no torch; ``Batches`` is imported from
``training.data.loader``, which needs torch.
"""

from __future__ import annotations

from training.data.dataset import Augmentation, Dataset, Split
from training.data.errors import DataError
from training.data.registry import default_root, load, names

__all__ = ["Augmentation", "DataError", "Dataset", "Split", "default_root", "load", "names"]
