"""What an attack gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from holdfast.attacks.arrays import namespace
from holdfast.attacks.flags import Flag
from holdfast.attacks.oracle import Array


@dataclass(frozen=True)
class AttackResult:
    """The outcome of one attack on a batch of n images.

    Attributes:
        images: The adversarial images, same shape and kind of array as those attacked, in [0, 1] and within
            the budget. Where nothing was found, the attack's last attempt; for an attack that minimises, and
            for an image that the model got wrong anyway, the image itself.
        success: (n,) bool; the model's class is not the label (or is the target, for a targeted attack).
        survives_rounding: (n,) bool; the same once ``images`` are rounded to 8 bits a channel.
        logits_before: (n, classes), the model's answer to the original images.
        logits: (n, classes), the model's answer to ``images``.
        linf: (n,) ‖x' − x‖∞ reached, in image units.
        l2: (n,) ‖x' − x‖₂ reached, in image units.
        targets: (n,) the classes to reach; None for an untargeted attack.
        queries: (n,) on the host: how many images the model was shown on behalf of each.
        forwards: All forward passes of networks: those of the ``queries``, and those of asking about each of
            the first :data:`holdfast.attacks.parameters.TWICE` images once more, to see whether the model
            answers the same. That is about the model, and in no image's ``queries``. A query is one pass of
            a plain model, and two of one that transforms its images by a gradient of its own.
        backwards: All backward passes, those that the model itself takes while it answers included.
        gradients: Images that were attacked by gradient; of an ensemble, once for each such attack.
        zero_gradients: Of these, those at which more than half of the gradients were exactly zero, or no
            number, while they held.
        fooled_by: (n,) str on the host, which attack of an ensemble fooled each image; empty for images that
            hold or were wrong from the start, and for an attack that is no ensemble.
        seed: Of all that was random.
        seconds: Wall time.
        unanswered: Answers of the model with a NaN in them; such an answer fools nobody.
        flags: Why not to believe the outcome; empty where nothing looked wrong.
    """

    images: Array
    success: Array
    survives_rounding: Array
    logits_before: Array
    logits: Array
    linf: Array
    l2: Array
    targets: Array | None
    queries: np.ndarray
    forwards: int
    backwards: int
    gradients: int
    zero_gradients: int
    fooled_by: np.ndarray
    seed: int
    seconds: float
    unanswered: int = 0
    flags: list[Flag] = field(default_factory=list)


def join(parts: Sequence[AttackResult]) -> AttackResult:
    """The results of one attack on the batches of a set, at least one, as that on the set; without flags."""
    if len(parts) == 1:
        return parts[0]
    xp = namespace(parts[0].images)

    def joined(name: str) -> Array:
        return xp.concat([getattr(part, name) for part in parts])

    return AttackResult(
        images=joined("images"),
        success=joined("success"),
        survives_rounding=joined("survives_rounding"),
        logits_before=joined("logits_before"),
        logits=joined("logits"),
        linf=joined("linf"),
        l2=joined("l2"),
        targets=None if parts[0].targets is None else joined("targets"),
        queries=np.concatenate([part.queries for part in parts]),
        forwards=sum(part.forwards for part in parts),
        backwards=sum(part.backwards for part in parts),
        gradients=sum(part.gradients for part in parts),
        zero_gradients=sum(part.zero_gradients for part in parts),
        fooled_by=np.concatenate([part.fooled_by for part in parts]),
        unanswered=sum(part.unanswered for part in parts),
        seed=parts[0].seed,
        seconds=0.0,
    )
