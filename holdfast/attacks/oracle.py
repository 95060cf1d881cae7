"""The gradient oracle: all that an attack may ask of a model, whatever runs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from holdfast.attacks.loss import Loss

#: A float32 NCHW batch or a vector, in numpy or torch; attacks are written on the array API standard.
Array = Any


@dataclass(frozen=True)
class GradientAnswer:
    """What one forward and one backward pass give.

    Attributes:
        logits: (n, classes).
        loss: (n,), what the attacker maximises.
        gradient: (n, channels, height, width), of each image's own loss with respect to that image.
    """

    logits: Array
    loss: Array
    gradient: Array


class Oracle(Protocol):
    """A model under attack. Images are float32 NCHW in [0, 1]; labels and targets are integer vectors."""

    @property
    def classes(self) -> int:
        """How many classes the model tells apart."""

    def logits(self, images: Array) -> Array:
        """The logits, (n, classes): one forward pass."""

    def gradient(
        self, images: Array, labels: Array, loss: Loss, targets: Array | None = None
    ) -> GradientAnswer:
        """Logits, loss and input gradient: one forward and one backward pass.

        Args:
            images: (n, channels, height, width).
            labels: (n,), the true classes.
            loss: What is maximised.
            targets: (n,), the classes that a targeted loss aims at.
        """


@dataclass
class Counted:
    """An oracle that counts, per image, the passes that went through it."""

    oracle: Oracle
    forwards: int = field(default=0, init=False)
    backwards: int = field(default=0, init=False)

    @property
    def classes(self) -> int:
        """How many classes the model tells apart."""
        return self.oracle.classes

    def logits(self, images: Array) -> Array:
        """See :meth:`Oracle.logits`."""
        self.forwards += images.shape[0]
        return self.oracle.logits(images)

    def gradient(
        self, images: Array, labels: Array, loss: Loss, targets: Array | None = None
    ) -> GradientAnswer:
        """See :meth:`Oracle.gradient`."""
        self.forwards += images.shape[0]
        self.backwards += images.shape[0]
        return self.oracle.gradient(images, labels, loss, targets)
