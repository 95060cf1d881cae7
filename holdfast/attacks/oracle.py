"""The gradient oracle: all that an attack may ask of a model, whatever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from holdfast.attacks.loss import AnyLoss
from holdfast.errors import HoldfastError

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
    """A model under attack. Images are float32 NCHW in [0, 1]; labels and targets are integer vectors.

    An oracle of a model that takes gradients while it answers (a test-time defence) says so by an attribute
    ``dynamic = True``; one whose answer costs several passes of the model, by ``passes``.
    """

    @property
    def classes(self) -> int:
        """How many classes the model tells apart."""

    def logits(self, images: Array) -> Array:
        """The logits, (n, classes): one forward pass."""

    def gradient(
        self,
        images: Array,
        labels: Array,
        loss: AnyLoss,
        targets: Array | None = None,
        originals: Array | None = None,
    ) -> GradientAnswer:
        """Logits, loss and input gradient: one forward and one backward pass.

        Args:
            images: (n, channels, height, width).
            labels: (n,), the true classes.
            loss: What is maximised.
            targets: (n,), the classes that a targeted loss aims at.
            originals: The images that ``images`` were made from; given where ``loss.needs_originals``.

        Raises:
            UnsupportedLossError: The model has no such loss.
        """


def passes(oracle: Oracle) -> int:
    """The passes of the model that one answer of an oracle costs: 1 unless it says otherwise."""
    return int(getattr(oracle, "passes", 1))


class UnsupportedLossError(ValueError):
    """The model has not got what the loss looks at."""


class NoGradientError(UnsupportedLossError, HoldfastError):
    """The model has no gradient to ascend: it can be attacked by scores and decisions only.

    Args:
        model: Its name.
    """

    def __init__(self, model: str) -> None:
        HoldfastError.__init__(
            self,
            f"{model} was exported without a gradient: attack it by scores or decisions, e.g. with square",
        )
