"""What an attack showed the model on its way, for whoever wants to watch it step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.attacks.arrays import to_numpy
from holdfast.attacks.loss import AnyLoss
from holdfast.attacks.oracle import Array, GradientAnswer, Oracle


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
        queries: How many there were.
        every: Each how many-th was kept.
        iterates: Those.
    """

    queries: int
    every: int
    iterates: list[Iterate]


class TracingOracle:
    """An oracle that remembers the first image of what it is asked about, in bounded memory.

    Where it runs out of room, it forgets every second one, and remembers half as many from then on.

    Args:
        oracle: The model; its further attributes are this one's too.
        gradients: Remember questions for a gradient, or else those for logits.
        most: Images to remember at most, at least 1.
    """

    def __init__(self, oracle: Oracle, *, gradients: bool, most: int) -> None:
        if most < 1:
            raise ValueError(f"a trace keeps at least one image, not {most}")
        self._oracle = oracle
        self._gradients = gradients
        self._most = most
        self._every = 1
        self._queries = 0
        self._kept: list[Iterate] = []

    def __getattr__(self, name: str) -> Any:
        """Whatever else the oracle says of itself, e.g. that it is dynamic."""
        return getattr(self._oracle, name)

    @property
    def classes(self) -> int:
        """How many classes the model tells apart."""
        return self._oracle.classes

    @property
    def trace(self) -> Trace:
        """What was remembered so far."""
        return Trace(self._queries, self._every, list(self._kept))

    def logits(self, images: Array) -> Array:
        """See :meth:`holdfast.attacks.oracle.Oracle.logits`."""
        logits = self._oracle.logits(images)
        if not self._gradients:
            self._remember(images, logits, None)
        return logits

    def gradient(
        self,
        images: Array,
        labels: Array,
        loss: AnyLoss,
        targets: Array | None = None,
        originals: Array | None = None,
    ) -> GradientAnswer:
        """See :meth:`holdfast.attacks.oracle.Oracle.gradient`."""
        answer = self._oracle.gradient(images, labels, loss, targets, originals)
        if self._gradients:
            self._remember(images, answer.logits, answer.loss)
        return answer

    def _remember(self, images: Array, logits: Array, loss: Array | None) -> None:
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
                image=np.array(to_numpy(images[0, ...]), dtype=np.float32),
                logits=np.array(to_numpy(logits[0, ...]), dtype=np.float32),
                loss=None if loss is None else float(loss[0]),
            )
        )
