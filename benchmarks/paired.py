"""Comparing things on a machine whose speed drifts: take turns, and compare within a turn.

A machine may get half as fast within minutes, for reasons that it does not tell. So no side is measured by
itself: all sides are measured once a round, one after the other, and what is quoted is the median over the
rounds of the ratio of two sides in the same round. A drift that is slow against a round cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import floor, log10
from typing import Any, TypeVar

import numpy as np

Side = TypeVar("Side", bound=Hashable)
Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Spread:
    """What a figure was over the rounds.

    Attributes:
        median: The figure to quote.
        low: The lower quartile over the rounds.
        high: The upper quartile.
        values: The figure in each round.
    """

    median: float
    low: float
    high: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of a figure that was measured once a round.

        Raises:
            ValueError: There is no round.
        """
        if not len(values):
            raise ValueError("a figure needs at least one round")
        low, median, high = np.percentile(values, (25, 50, 75)).tolist()
        return cls(median, low, high, tuple(float(value) for value in values))

    def as_json(self) -> dict[str, Any]:
        """For the results' file."""
        return asdict(self)

    def show(self, *, scale: float = 1.0) -> str:
        """The median with the quartiles beside it, all as precise as three digits of the median are.

        >>> Spread.of([1.0, 1.1, 1.3]).show()
        '1.10 (1.05 – 1.20)'
        """
        size = abs(scale * self.median)
        digits = max(0, 2 - floor(log10(size))) if size else 2
        median, low, high = (f"{scale * value:,.{digits}f}" for value in (self.median, self.low, self.high))
        return median if len(self.values) == 1 else f"{median} ({low} – {high})"


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """The ratio of two sides in each round.

    Args:
        numerators: One side's figure in each round.
        denominators: The other side's in the same rounds; not zero.

    Raises:
        ValueError: The two were not measured in the same rounds.
    """
    if len(numerators) != len(denominators):
        raise ValueError(f"{len(numerators)} rounds of one side and {len(denominators)} of the other")
    return Spread.of([above / below for above, below in zip(numerators, denominators, strict=True)])


def alternate(sides: Mapping[Side, Callable[[], Measured]], rounds: int) -> Iterator[tuple[Side, Measured]]:
    """Measure every side once a round, A B C A B C …, and yield each measurement as it is there."""
    for _ in range(rounds):
        for side, measure in sides.items():
            yield side, measure()
