"""What an attack gives back, and the signs that it should not be believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from array_api_compat import array_namespace

from holdfast.attacks.ball import l2_norm, linf_norm
from holdfast.attacks.oracle import Array, Counted

#: Called with the number of steps done and the number of steps in all.
Progress = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""
    del done, total


@dataclass(frozen=True)
class AttackResult:
    """The outcome of one attack on one batch.

    Attributes:
        images: The adversarial images, same shape and kind of array as those attacked.
        success: (n,) bool; the model's class is not the label (or is the target, for a targeted attack).
        logits: (n, classes), the model's answer to ``images``.
        linf: (n,) ‖x' − x‖∞ reached, in image units.
        l2: (n,) ‖x' − x‖₂ reached, in image units.
        forwards: Forward passes spent, summed over images.
        backwards: Backward passes spent, summed over images.
        flags: Why not to believe the outcome, in words; empty where nothing looked wrong.
    """

    images: Array
    success: Array
    logits: Array
    linf: Array
    l2: Array
    forwards: int
    backwards: int
    flags: list[str] = field(default_factory=list)


def conclude(
    oracle: Counted,
    original: Array,
    adversarial: Array,
    labels: Array,
    targets: Array | None,
    flags: list[str],
) -> AttackResult:
    """Ask the model about the adversarial images once more, and measure what was done to them."""
    xp = array_namespace(original)
    logits = oracle.logits(adversarial)
    predicted = xp.argmax(logits, axis=1)
    success = predicted == targets if targets is not None else predicted != labels
    difference = adversarial - original
    return AttackResult(
        images=adversarial,
        success=success,
        logits=logits,
        linf=linf_norm(difference),
        l2=l2_norm(difference),
        forwards=oracle.forwards,
        backwards=oracle.backwards,
        flags=flags,
    )


def zero_gradient_flag(zeros: int, total: int) -> list[str]:
    """The flag for a gradient that vanished on a share of the images that were still to be fooled."""
    if total == 0 or zeros / total < 0.02:
        return []
    return [
        f"zero gradient on {zeros / total:.0%} of the images not yet fooled: gradient attacks "
        "are blind there, so do not read their failure as robustness"
    ]


def to_numpy(array: Array) -> np.ndarray:
    """A numpy copy of an array of either kind."""
    return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
