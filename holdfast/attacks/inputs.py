"""What an attack is given, held to what the engine and every oracle take for granted."""

from __future__ import annotations

import numpy as np

from holdfast.attacks.arrays import namespace, to_numpy
from holdfast.attacks.oracle import Array, Oracle


def check_images(images: Array) -> None:
    """Refuse what is no batch of images.

    A model answers images that nobody could send, and fooling it with them says nothing of it.

    Raises:
        ValueError: They are not float32 (n, channels, height, width) in [0, 1], or there are none.
    """
    if images.ndim != 4:
        raise ValueError(f"images are (n, channels, height, width), not {tuple(images.shape)}")
    xp = namespace(images)
    if images.dtype != xp.float32:
        raise ValueError(f"images are float32 in [0, 1], not {images.dtype}")
    if images.shape[0] == 0:
        raise ValueError("there are no images to attack")
    low, high = float(xp.min(images)), float(xp.max(images))
    if not (low >= 0 and high <= 1):  # of NaN too
        raise ValueError(f"images are in [0, 1], not from {low:.4g} to {high:.4g}")


def check_classes(name: str, classes: Array, images: Array, oracle: Oracle) -> Array:
    """Classes of images, as int64: of narrower types torch takes some for masks, and sums may not fit.

    Args:
        name: What to call them.
        classes: (n,).
        images: (n, c, h, w).
        oracle: The model that tells the classes apart.

    Raises:
        ValueError: There is not one for each image, they are no integers, or the model has no such class, or
            one class only, which no image leaves.
    """
    if oracle.classes < 2:
        raise ValueError(f"a model of {oracle.classes} class cannot be fooled: it has no other answer")
    xp = namespace(classes)
    if tuple(classes.shape) != (images.shape[0],):
        raise ValueError(f"{name} have the shape {tuple(classes.shape)}, not {(int(images.shape[0]),)}")
    if not xp.isdtype(classes.dtype, "integral"):
        raise ValueError(f"{name} are integers, not {classes.dtype}")
    values = to_numpy(classes)
    if values.min() < 0 or values.max() >= oracle.classes:
        raise ValueError(
            f"{name} are classes 0 to {oracle.classes - 1}, not {values.min()} to {values.max()}"
        )
    return classes if classes.dtype == xp.int64 else xp.astype(classes, xp.int64)


def answered(logits: Array) -> np.ndarray:
    """Which rows of logits (n, classes) hold no NaN: (n,) bool on the host."""
    xp = namespace(logits)
    found: np.ndarray = ~np.isnan(to_numpy(xp.max(logits, axis=1)))
    return found
