"""Which class a targeted attack aims at."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from holdfast.attacks.arrays import to_numpy
from holdfast.attacks.noise import ImageNoise
from holdfast.attacks.oracle import Array
from holdfast.attacks.parameters import AttackParameters

Target = Annotated[
    int | Literal["least-likely", "random"] | None,
    Field(
        description="The class to reach, by its number; least-likely: the one that the model thinks least "
        "of; random: any other, by the seed. Without it, any wrong class will do."
    ),
]


class TargetableParameters(AttackParameters):
    """Of an attack that can aim at a class."""

    target: Target = None


def choose(target: Target, logits: Array, labels: Array, noise: ImageNoise) -> np.ndarray | None:
    """The target class of each image, (n,) on the host; None where any wrong class will do.

    Args:
        target: What was asked for.
        logits: (n, classes), the model's answer to the clean images.
        labels: (n,).
        noise: For random targets.

    Raises:
        ValueError: There is no class of that number.
    """
    if target is None:
        return None
    scores, truth = to_numpy(logits), to_numpy(labels)
    classes = scores.shape[1]
    if target == "least-likely":
        scores = scores.copy()
        scores[np.arange(len(truth)), truth] = np.inf  # never the label itself
        least: np.ndarray = scores.argmin(1)
        return least
    if target == "random":
        other: np.ndarray = (truth + 1 + noise.integers(classes - 1)[:, 0]) % classes
        return other
    if not 0 <= target < classes:
        raise ValueError(f"target: there is no class {target}; the model has classes 0 to {classes - 1}")
    return np.full(len(truth), target, dtype=np.int64)
