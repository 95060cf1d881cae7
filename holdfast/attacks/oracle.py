"""The gradient oracle: all that an attack may ask of a model, whatever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from holdfast.attacks.loss import AnyLoss
from holdfast.attacks.parameters import Cost
from holdfast.errors import HoldfastError

#: A float32 NCHW batch or a vector, in numpy or torch; attacks are written on the array API standard.
Array = Any


@dataclass(frozen=True)
class GradientAnswer:
    """What is known of a batch once it was asked for a gradient.

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
    ``dynamic = True``; one whose answers are made of several answers of another, by ``questions``; and one
    that runs its network more often than once for an answer, by a method ``passes``: see :func:`questions`
    and :func:`passes`.
    """

    @property
    def classes(self) -> int:
        """How many classes the model tells apart."""

    def logits(self, images: Array) -> Array:
        """The logits, (n, classes)."""

    def gradient(
        self,
        images: Array,
        labels: Array,
        loss: AnyLoss,
        targets: Array | None = None,
        originals: Array | None = None,
    ) -> GradientAnswer:
        """Logits, loss and input gradient.

        Args:
            images: (n, channels, height, width).
            labels: (n,), the true classes.
            loss: What is maximised.
            targets: (n,), the classes that a targeted loss aims at.
            originals: The images that ``images`` were made from; given where ``loss.needs_originals``.

        Raises:
            UnsupportedLossError: The model has no such loss.
        """


#: What logits of a plain network cost, and what its gradient does.
FORWARD, BOTH = Cost(forwards=1), Cost(forwards=1, backwards=1)


def questions(oracle: Oracle) -> int:
    """Images that the model is shown for one answer of an oracle: 1 unless it says otherwise."""
    return int(getattr(oracle, "questions", 1))


def passes(oracle: Oracle, loss: AnyLoss | None = None) -> Cost:
    """The passes of the network that one answer of an oracle costs.

    Args:
        oracle: Whose ``passes(loss)`` says it; without it, a forward pass, and a backward one for a gradient.
        loss: Whose gradient is asked for; ``None`` where only the logits are.
    """
    said = getattr(oracle, "passes", None)
    if said is not None:
        found: Cost = said(loss)
        return found
    return FORWARD if loss is None else BOTH


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
