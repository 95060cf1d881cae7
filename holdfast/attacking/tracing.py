"""What an attack showed the model on its way, for whoever wants to watch it step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.attacks.arrays import to_numpy
from holdfast.attacks.oracle import Array


@dataclass(frozen=True)
class Iterate:
    """One image that the model was shown.

    Attributes:
        query: Which one it was, from 0, among those that are counted here.
        image: (channels, height, width) in [0, 1].
        logits: (classes,), what the model said of it.
        loss: What the attack ascends, where it asked for a gradient.
    """

    query: int
    image: NDArray[np.float32]
    logits: NDArray[np.float32]
    loss: float | None


@dataclass(frozen=True)
class Trace:
    """Some of the images of one attack on one image, evenly spread over its way.

    Attributes:
        queries: How many there were; one for each image, however many are asked about at once.
        every: Each how many-th was kept.
        iterates: Those.
    """

    queries: int
    every: int
    iterates: list[Iterate]


class Tracer:
    """Remembers, in bounded memory, what an attack shows to a model of the first of its images.

    Where it runs out of room, it forgets every second one, and remembers half as many from then on. It is the
    ``watch`` of :func:`holdfast.attacks.attack`.

    Args:
        gradients: Remember what a gradient was asked of, or else what only logits were.
        most: Images to remember at most, at least 1.
    """

    def __init__(self, *, gradients: bool, most: int) -> None:
        if most < 1:
            raise ValueError(f"a trace keeps at least one image, not {most}")
        self._gradients = gradients
        self._most = most
        self._every = 1
        self._queries = 0
        self._kept: list[Iterate] = []

    @property
    def trace(self) -> Trace:
        """What was remembered so far."""
        return Trace(self._queries, self._every, list(self._kept))

    def __call__(self, images: Array, numbers: np.ndarray, logits: Array, loss: Array | None) -> None:
        """Be told of a question; see :data:`holdfast.attacks.problem.Watch`."""
        if (loss is not None) is self._gradients:
            for row in np.flatnonzero(numbers == 0):
                self._remember(images, logits, loss, int(row))

    def _remember(self, images: Array, logits: Array, loss: Array | None, row: int) -> None:
        query, self._queries = self._queries, self._queries + 1
        if query % self._every:
            return
        if len(self._kept) == self._most:
            self._every *= 2
            self._kept = [iterate for iterate in self._kept if iterate.query % self._every == 0]
            if query % self._every:
                return
        self._kept.append(
            Iterate(
                query=query,
                image=np.array(to_numpy(images[row, ...]), dtype=np.float32),
                logits=np.array(to_numpy(logits[row, ...]), dtype=np.float32),
                loss=None if loss is None else float(loss[row]),
            )
        )
