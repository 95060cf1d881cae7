"""What a data set is once it has been read: two splits of uint8 images, and facts about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from training.data.errors import DataError

_CHUNK = 2048  # images at a time when counting pixels, to keep the scratch memory small


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels in a fixed order.

    Args:
        images: uint8 ``(n, channels, height, width)``.
        labels: int64 ``(n,)``.
        exact: bool ``(n,)``, False where an image is only a close copy of the published one; None where
            every image is the original.

    Raises:
        DataError: Shapes or types are not as above.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    exact: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise DataError(
                f"Images are uint8 (n, channels, height, width), not {self.images.dtype} {self.images.shape}."
            )
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != np.int64:
            raise DataError(
                f"Labels are int64 ({len(self.images)},), one for each image, "
                f"not {self.labels.dtype} {self.labels.shape}."
            )
        if self.exact is not None and (self.exact.shape != self.labels.shape or self.exact.dtype != np.bool_):
            raise DataError(
                f"The exact mask is bool ({len(self.images)},), one for each image, "
                f"not {self.exact.dtype} {self.exact.shape}."
            )

    def __len__(self) -> int:
        return len(self.images)

    def only_exact(self) -> Split:
        """The images that are bit for bit the published ones: what figures are reported on."""
        if self.exact is None or self.exact.all():
            return self
        return self.take(np.flatnonzero(self.exact))

    def take(self, indices: npt.NDArray[np.integer] | slice) -> Split:
        """The images at ``indices``, in that order."""
        exact = None if self.exact is None else self.exact[indices]
        return Split(self.images[indices], self.labels[indices], exact)


@dataclass(frozen=True)
class Augmentation:
    """What may be done to a training image without changing its class.

    Args:
        crop: Pixels of zero padding around the image before a crop of its own size; 0 for no crop.
        flip: Whether the image may be mirrored left to right.
    """

    crop: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.crop < 0:
            raise DataError(f"The crop padding is a number of pixels, 0 or more, not {self.crop}.")

    def __bool__(self) -> bool:
        return self.crop > 0 or self.flip


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, whole, in memory.

    Args:
        name: The name it was loaded by.
        train: What is trained on.
        test: What is reported on; ``test.only_exact()`` where some images are close copies.
        classes: Class names; a label is an index into them.
        augmentation: What is done to training images unless a recipe says otherwise.
        note: Where the arrays come from and how far to trust them, for the model card.

    Raises:
        DataError: The splits differ in shape, one is empty, or a label names no class.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    augmentation: Augmentation = field(default_factory=Augmentation)
    note: str = ""

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise DataError(f"{self.name}: a data set has two or more classes of different names.")
        for which, split in (("train", self.train), ("test", self.test)):
            if not len(split):
                raise DataError(f"{self.name}: the {which} split is empty.")
            if split.images.shape[1:] != self.train.images.shape[1:]:
                raise DataError(
                    f"{self.name}: test images are {split.images.shape[1:]} and training images "
                    f"{self.train.images.shape[1:]}; they must have one shape (channels, height, width)."
                )
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= len(self.classes):
                raise DataError(
                    f"{self.name}: {which} labels run from {low} to {high}; with {len(self.classes)} classes "
                    f"they must lie in 0 to {len(self.classes) - 1}."
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """One image's shape, ``(channels, height, width)``."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the training images, in [0, 1] units."""
        return self._moments[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel over all training pixels, in [0, 1] units.

        At least one grey level (1/255), so that a constant channel can still be divided by it.
        """
        return self._moments[1]

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the SHA-256 of both splits' images and labels: what a run and a card saw.

        Two data sets with the same digest hold the same images and labels in the same order, whatever their
        names and wherever they were read from.
        """
        sha = hashlib.sha256()
        for split in (self.train, self.test):
            for array in (split.images, split.labels.astype("<i8")):
                sha.update(f"{array.dtype.kind}{array.shape}".encode())
                sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()[:16]

    @cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        # Counting grey levels keeps the sums whole numbers: the result does not depend on any order of
        # summation, so the normalisation a network is built with is the same on every machine.
        images, levels = self.train.images, np.arange(256)
        means, deviations = [], []
        for channel in range(images.shape[1]):
            counts = np.zeros(256, dtype=np.int64)
            for start in range(0, len(images), _CHUNK):
                pixels = images[start : start + _CHUNK, channel]
                counts += np.bincount(pixels.ravel(), minlength=256)
            total, first, second = (int((counts * levels**power).sum()) for power in (0, 1, 2))
            variance = (total * second - first * first) / (total * total)
            means.append(first / total / 255)
            deviations.append(max(variance**0.5, 1.0) / 255)
        return tuple(means), tuple(deviations)
