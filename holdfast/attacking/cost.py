"""What an attack will cost, before it is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from holdfast.attacking.parameters import Chosen
from holdfast.attacks.arrays import like, to_numpy
from holdfast.attacks.loss import Loss
from holdfast.attacks.oracle import Array, NoGradientError, Oracle
from holdfast.attacks.parameters import TWICE, announced

_ROUNDS = 3

#: Seconds, from any start.
Clock = Callable[[], float]


@dataclass(frozen=True)
class CostEstimate:
    """One attack's cost at most.

    Passes are those of a plain model, one for each question. A model that runs more of them for an answer
    takes longer for it, which is in the measured seconds.

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


@dataclass(frozen=True)
class Speed:
    """What a model's passes take, as they were measured.

    Attributes:
        forward: Seconds for one image's logits: of a plain model, a forward pass.
        gradient: Seconds for one image's gradient: of a plain model, a forward and a backward pass; where
            there is no gradient, forward's.
        batch_size: Of the batches that it was measured in.
    """

    forward: float
    gradient: float
    batch_size: int


def measure(oracle: Oracle, images: Array, *, clock: Clock = time.perf_counter) -> Speed:
    """Measure a model's passes.

    Args:
        oracle: The model that attacks are crafted on.
        images: A batch of the size that the attacks will have, as the oracle takes them.
        clock: Seconds, from any start; :func:`cpu_clock` for what has to wait for a core while others work.
    """
    labels = like(np.zeros(len(images), dtype=np.int64), images)
    # What is on an accelerator is there when it has come to the host, and not before.
    forward = _time(lambda: to_numpy(oracle.logits(images)), clock)
    try:
        gradient = _time(
            lambda: to_numpy(oracle.gradient(images, labels, Loss.CROSS_ENTROPY).gradient), clock
        )
    except NoGradientError:  # which an attack that asks for one will say
        gradient = forward
    return Speed(forward / len(images), gradient / len(images), batch_size=len(images))


def reckon(speed: Speed, classes: int, count: int, chosen: Chosen, *, transfer: bool = False) -> CostEstimate:
    """What an attack will take at most.

    Args:
        speed: Of the model that it is crafted on.
        classes: Of the model.
        count: Images in all.
        chosen: The attack.
        transfer: Whether it is crafted on another model than the one under attack.
    """
    cost = announced(chosen.parameters, classes, eot=chosen.eot, transfer=transfer)
    whole, rest = divmod(count, speed.batch_size)
    twice = whole * min(TWICE, speed.batch_size) + min(TWICE, rest)
    forwards = count * cost.forwards + twice
    backwards = count * cost.backwards
    return CostEstimate(
        attack=chosen.attack.name,
        forwards=cost.forwards,
        backwards=cost.backwards,
        forwards_in_all=forwards,
        seconds=backwards * speed.gradient + max(0, forwards - backwards) * speed.forward,
        seconds_per_forward=speed.forward,
        seconds_per_gradient=speed.gradient,
        batch_size=speed.batch_size,
    )


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
    speed = measure(oracle if source is None else source, images)
    return [reckon(speed, oracle.classes, count, each, transfer=source is not None) for each in chosen]


def cpu_clock(threads: int) -> Clock:
    """A clock of this process's work: what it takes when nothing else wants the cores that it computes on.

    Args:
        threads: That share the work.
    """
    return lambda: time.process_time() / threads


def _time(call: Callable[[], object], clock: Clock) -> float:
    """Seconds; the first call, which sets memory up, does not count."""
    call()
    seconds = []
    for _ in range(_ROUNDS):
        start = clock()
        call()
        seconds.append(clock() - start)
    return float(np.median(seconds))
