"""What became of each image under one attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from holdfast.attacks import flags
from holdfast.attacks.flags import Flag

Bools = npt.NDArray[np.bool_]

#: Flags about a share of the images: worked out again once all images are there.
_SUMMED = ("zero_gradient", "lost_by_rounding", "black_box_beats_white_box")


@dataclass(frozen=True)
class Outcome:
    """One attack on n images.

    Attributes:
        clean: (n,) whether the model is right before the attack.
        right: (n,) whether it is right afterwards.
        success: (n,) whether the attack reached its own aim; for a targeted one that is its target.
        lost: (n,) whether the success is gone in 8 bits.
        linf: (n,) ‖x' − x‖∞ in image units.
        l2: (n,) ‖x' − x‖₂ in image units.
        forwards: Forward passes in all.
        backwards: Backward passes in all.
        gradients: Images that were attacked by gradient; of an ensemble, once for each such attack.
        zeros: Of these, those at which more than half of the gradients were exactly zero while they held.
        blind: How many images each attack of an ensemble fooled that sees no gradient.
        raised: Other flags.
        seconds: Time spent.
    """

    clean: Bools
    right: Bools
    success: Bools
    lost: Bools
    linf: npt.NDArray[np.float32]
    l2: npt.NDArray[np.float32]
    forwards: int = 0
    backwards: int = 0
    gradients: int = 0
    zeros: int = 0
    blind: dict[str, int] = field(default_factory=dict)
    raised: tuple[Flag, ...] = ()
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.right)

    @property
    def accuracy(self) -> float:
        """The share of images that the model is still right about."""
        return float(self.right.mean())

    def distances(self, norm: str) -> npt.NDArray[np.float32]:
        """The norms of the perturbations found for images that the model is right about as they are.

        Args:
            norm: ``linf`` or ``l2``.
        """
        found: npt.NDArray[np.float32] = (self.linf if norm == "linf" else self.l2)[self.clean & self.success]
        return found

    def flags(self) -> list[Flag]:
        """Why not to believe the outcome."""
        successes = int((self.success & self.clean).sum())
        return [
            *flags.zero_gradient(self.zeros, self.gradients),
            *self.raised,
            *flags.left_to_black_box(self.blind, len(self)),
            *flags.lost_by_rounding(int(self.lost.sum()), successes),
        ]


def join(parts: Sequence[Outcome]) -> Outcome:
    """One outcome of several that follow one another."""
    raised = {flag.name: flag for part in parts for flag in part.raised}
    blind: dict[str, int] = {}
    for part in parts:
        for name, count in part.blind.items():
            blind[name] = blind.get(name, 0) + count
    return Outcome(
        clean=np.concatenate([part.clean for part in parts]),
        right=np.concatenate([part.right for part in parts]),
        success=np.concatenate([part.success for part in parts]),
        lost=np.concatenate([part.lost for part in parts]),
        linf=np.concatenate([part.linf for part in parts]),
        l2=np.concatenate([part.l2 for part in parts]),
        forwards=sum(part.forwards for part in parts),
        backwards=sum(part.backwards for part in parts),
        gradients=sum(part.gradients for part in parts),
        zeros=sum(part.zeros for part in parts),
        blind=blind,
        raised=tuple(raised.values()),
        seconds=sum(part.seconds for part in parts),
    )


def kept_flags(raised: Sequence[Flag]) -> tuple[Flag, ...]:
    """The flags of one batch that hold for all, whatever the other batches show."""
    return tuple(flag for flag in raised if flag.name not in _SUMMED)
