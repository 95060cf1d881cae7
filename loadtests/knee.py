"""Where a server is full: the highest load that it still answers in time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.histogram import within
from loadtests.ledger import Ledger


@dataclass(frozen=True)
class Limits:
    """Until when a server is not full.

    Attributes:
        p99: Milliseconds.
        fail_ratio: The share of requests that may fail, be refused, or get no answer.
        pattern: The names of the requests that count.
    """

    p99: float
    fail_ratio: float
    pattern: str = "*"


@dataclass(frozen=True)
class Period:
    """A level of load and when it was held.

    Attributes:
        load: Users, or arrivals per second.
        began: Seconds since the epoch, after the level was reached and had settled.
        ended: Seconds since the epoch.
    """

    load: float
    began: float
    ended: float


@dataclass(frozen=True)
class Level:
    """What a level of load came to.

    Attributes:
        load: Users, or arrivals per second.
        seconds: How long it was measured.
        requests: Requests that were to begin in that time.
        per_second: Answers to them within the limit on the p99, per second: what the server was good for.
        p50: Milliseconds; infinite where that many never had an answer, None where there was no request.
        p99: Milliseconds, likewise.
        lost: The share that failed, was refused, or had no answer.
        within: Whether that is within the limits.
    """

    load: float
    seconds: float
    requests: int
    per_second: float
    p50: float | None
    p99: float | None
    lost: float
    within: bool

    def as_json(self) -> dict[str, Any]:
        """Plain values; None for a latency without end."""
        return {
            **vars(self),
            "p50": self.p50 if self.p50 is not None and math.isfinite(self.p50) else None,
            "p99": self.p99 if self.p99 is not None and math.isfinite(self.p99) else None,
        }


def measure(ledger: Ledger, period: Period, limits: Limits) -> Level | None:
    """What a level came to; None where it was too short to hold one window, or nothing was asked."""
    seconds = ledger.seconds(period.began, period.ended)
    cell = ledger.total(limits.pattern, period.began, period.ended)
    requests = max(cell.begun, cell.ended)
    if not seconds or not requests:
        return None
    lost = (cell.failed + cell.unanswered + cell.waiting + cell.refused) / requests
    p99 = cell.quantile(0.99)
    return Level(
        load=period.load,
        seconds=seconds,
        requests=requests,
        per_second=within(cell.latencies, limits.p99) / seconds,
        p50=cell.quantile(0.5),
        p99=p99,
        lost=lost,
        within=p99 is not None and p99 <= limits.p99 and lost <= limits.fail_ratio,
    )


@dataclass(frozen=True)
class Knee:
    """The highest level within the limits below which none is over them.

    Attributes:
        level: None where the lowest was over them already.
        beyond: The next one, which is over the limits; None where the load never went that far, and the
            server
            can take more than it was asked for.
    """

    level: Level | None
    beyond: Level | None


def find_knee(levels: Sequence[Level]) -> Knee | None:
    """The knee of some levels, None where there is no level.

    A level above one that is over the limits does not count, even if it is within them: where that happens,
    the server is at its limit, and was lucky.
    """
    if not levels:
        return None
    found: Level | None = None
    for level in sorted(levels, key=lambda each: each.load):
        if not level.within:
            return Knee(found, level)
        found = level
    return Knee(found, None)
