"""How long requests took, in little memory: counted in ranges that each are a twelfth wider than the last."""

from __future__ import annotations

import math
from collections.abc import Iterable

#: Ranges for each doubling. A quantile is off by 4.5 % of itself at most.
_PER_DOUBLING = 8
_SHORTEST = 1e-5


class Latencies:
    """Counts of durations. Not safe for several threads."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Count one."""
        place = int(math.log2(max(seconds, _SHORTEST) / _SHORTEST) * _PER_DOUBLING)
        self._counts[place] = self._counts.get(place, 0) + 1

    def merge(self, other: Latencies) -> None:
        """Count all of another."""
        for place, count in other._counts.items():
            self._counts[place] = self._counts.get(place, 0) + count

    def quantiles(self, shares: Iterable[float]) -> list[float | None]:
        """The seconds that these shares of all did not exceed; ``None`` where there were none."""
        total, ordered = sum(self._counts.values()), sorted(self._counts.items())
        return [_find(ordered, total * share) for share in shares]


def _find(ordered: list[tuple[int, int]], rank: float) -> float | None:
    seen = 0
    for place, count in ordered:
        seen += count
        if seen >= rank:
            return float(_SHORTEST * 2 ** ((place + 0.5) / _PER_DOUBLING))
    return None
