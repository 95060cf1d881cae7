"""What the attacks of an ensemble leave to one another."""

from __future__ import annotations

from itertools import takewhile

import numpy as np

from holdfast.attacks.catalogue import attack_of
from holdfast.attacks.parameters import AttackParameters


def left_over(parameters: AttackParameters, fooled_by: np.ndarray) -> dict[str, int]:
    """How many images each attack without gradients fooled of those that all attacks by gradient had left.

    Those are the attacks behind the last one by gradient. What one before it fools, that one might have
    fooled too, and was not asked to.

    Args:
        parameters: Of the ensemble, or of an attack that is none.
        fooled_by: (n,) str, which of its attacks fooled each image.
    """
    kinds = takewhile(lambda kind: kind.access != "gradient", map(attack_of, reversed(parameters.members)))
    counts = {kind.name: int(np.sum(fooled_by == kind.name)) for kind in kinds}
    return {name: count for name, count in sorted(counts.items()) if count}
