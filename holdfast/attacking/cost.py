"""What an attack will cost, before it is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from holdfast.attacking.parameters import Chosen
from holdfast.attacks.loss import Loss
from holdfast.attacks.oracle import Oracle
from holdfast.attacks.parameters import TWICE, announced

_ROUNDS = 3


@dataclass(frozen=True)
class CostEstimate:
    """One attack's cost at most.

    Attributes:
        attack: Its name.
        forwards: Forward passes for one image, those before a backward pass and the engine's own included.
        backwards: Backward passes for one image.
        forwards_in_all: For all images, and for those that are asked about twice in each batch.
        seconds: For all images.
        seconds_per_forward: Of one image, as it was measured.
        seconds_per_gradient: Of one image's forward and backward pass, as it was measured.
        batch_size: Of the batches that it was measured in.
    """

    attack: str
    forwards: int
    backwards: int
    forwards_in_all: int
    seconds: float
    seconds_per_forward: float
    seconds_per_gradient: float
    batch_size: int

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def estimate(
    oracle: Oracle, images: np.ndarray, count: int, chosen: Sequence[Chosen], source: Oracle | None = None
) -> list[CostEstimate]:
    """Measure the model's passes, and reckon what each attack will take.

    Args:
        oracle: The model under attack.
        images: A batch of the size that the attack will have.
        count: Images in all.
        chosen: The attacks.
        source: What the images are crafted on, if another; its passes count then.
    """
    crafting = oracle if source is None else source
    labels = np.zeros(len(images), dtype=np.int64)
    forward = _measure(lambda: crafting.logits(images)) / len(images)
    gradient = _measure(lambda: crafting.gradient(images, labels, Loss.CROSS_ENTROPY)) / len(images)
    whole, rest = divmod(count, len(images))
    twice = whole * min(TWICE, len(images)) + min(TWICE, rest)
    estimates = []
    for each in chosen:
        cost = announced(each.parameters, oracle.classes, eot=each.eot, transfer=source is not None)
        forwards = count * cost.forwards + twice
        backwards = count * cost.backwards
        estimates.append(
            CostEstimate(
                attack=each.attack.name,
                forwards=cost.forwards,
                backwards=cost.backwards,
                forwards_in_all=forwards,
                seconds=backwards * gradient + max(0, forwards - backwards) * forward,
                seconds_per_forward=forward,
                seconds_per_gradient=gradient,
                batch_size=len(images),
            )
        )
    return estimates


def _measure(call: Callable[[], object]) -> float:
    """Seconds; the first call, which sets memory up, does not count."""
    call()
    seconds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))
